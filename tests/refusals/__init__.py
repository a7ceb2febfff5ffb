"""The engine's own refusals: where a release raises or asserts, and what keeps a start of ours from getting there.

The places are found in the release's sources (sites.py); `vllm-VERSION/*.yaml` has the answer for each of them in our
own words (table.py). A changed release moves digests and counts, so that the table says what to read again.
"""
