"""The lock phase: ask the Hub, or read a folder, what the models of a spec are. The only phase that goes online."""

import os

# A compiler has nothing to report about its user; huggingface_hub reads this when it is imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
