"""Ask vLLM's real parser about command lines. Each line of stdin is a JSON list of words after `vllm serve`, each line
of stdout a JSON object: `{"error": null}`, or why the words were refused.

Building the parser takes seconds and a command line milliseconds, so one process answers for many. Runs with the
Python of `.engine/cpu`; PYTHONPATH holds the repository and, for a release that is not installed there, its files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from tools.extract_flags import serve_parser

Validate = Callable[[argparse.Namespace], None]


def main() -> None:
    # Whatever vLLM prints while it is imported must not be taken for an answer.
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        parser, validate = serve_parser()
    for line in sys.stdin:
        error = refusal(parser, validate, json.loads(line))
        print(json.dumps({"error": error}), file=answers, flush=True)


def refusal(parser: argparse.ArgumentParser, validate: Validate, words: list[str]) -> str | None:
    """Why vLLM would refuse these words, or None."""
    output = StringIO()
    try:
        with redirect_stderr(output), redirect_stdout(output):
            validate(parser.parse_args(words))
    except SystemExit:
        return output.getvalue().strip().splitlines()[-1]
    except Exception as error:  # the check raises errors of its own and of vLLM's modules
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
