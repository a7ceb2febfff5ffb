"""What vLLM's own connector does with URLs of media: `media_oracle.py`, with a question on each line of its input.

Runs with the Python of `.engine/cpu`, in the environment that a launch script gives to its server. A question is JSON,
`{"domains": […], "url": …}`; the answer is `ok`, or how the URL was refused.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    media = importlib.import_module("vllm.multimodal.media")
    for line in sys.stdin:
        question = json.loads(line)
        connector = media.MediaConnector(allowed_media_domains=question["domains"])
        try:
            connector.fetch_image(question["url"])
            sys.stdout.write("ok\n")
        except Exception as error:
            sys.stdout.write(f"{type(error).__name__}: {error}".replace("\n", " ") + "\n")


if __name__ == "__main__":
    main()
