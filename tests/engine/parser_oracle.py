"""Ask vLLM's real parser about command lines. Each line of stdin is a JSON list of words after `vllm serve`, each line
of stdout a JSON object: `error`, why the words were refused, or null; and `values`, what each option became.

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
        answer = ask(parser, validate, json.loads(line))
        # What JSON has no word for is shown as vLLM shows it.
        print(json.dumps(answer, default=repr), file=answers, flush=True)


def ask(parser: argparse.ArgumentParser, validate: Validate, words: list[str]) -> dict[str, object]:
    """Why vLLM would refuse these words, or the value of every option that is given or not its default."""
    output = StringIO()
    try:
        with redirect_stderr(output), redirect_stdout(output):
            parsed = parser.parse_args(words)
            validate(parsed)
    except SystemExit:
        return {"error": output.getvalue().strip().splitlines()[-1], "values": {}}
    except Exception as error:  # the check raises errors of its own and of vLLM's modules
        return {"error": f"{type(error).__name__}: {error}", "values": {}}
    given = options(parser, words)
    values = {
        name: value
        for name, value in vars(parsed).items()
        if name in given.values() or value != parser.get_default(name)
    }
    return {"error": None, "values": values, "options": given}


def options(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, str]:
    """The name under which the parser keeps each option of the words."""
    known = parser._option_string_actions
    flags = (word.partition("=")[0] for word in words if word.startswith("--"))
    return {flag: known[flag].dest for flag in flags if flag in known}


if __name__ == "__main__":
    main()
