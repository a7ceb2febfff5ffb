"""The checks that an answer of a model must pass. The answer is untrusted text.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stack import EXIT_ENVIRONMENT, JsonObject, StackError

SHOWN = 200
# A pattern of the file can take forever on an answer that nobody foresaw.
PATTERN_SECONDS = 5
PATTERN = "import re, sys, json; p, t = json.load(sys.stdin); sys.exit(0 if re.search(p, t) else 1)"
# A busy machine takes its time to give one core's seconds; the sandbox itself needs a moment more.
CLOCK_FACTOR, CLOCK_MORE, SANDBOX_SECONDS = 3, 5, 30
# ```python … ```; an answer that ran out of tokens has no second fence.
FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


class MissingModule(Exception):  # noqa: N818 (another Python may have it)
    """This Python lacks a module; the text is its name."""


class Verdict(NamedTuple):
    """What a check found."""

    kind: str
    passed: bool
    detail: str


def judge(kind: str, argument: Any, answer: str) -> Verdict:
    """Check one answer."""
    return _CHECKS[kind](argument, without_thoughts(answer))


def without_thoughts(answer: str) -> str:
    """The answer after its reasoning, where the server has no parser that would have taken it out."""
    head, end, tail = answer.partition("</think>")
    return tail.strip() if end and head.lstrip().startswith("<think>") else answer.strip()


def _contains(wanted: list[str], answer: str) -> Verdict:
    absent = [text for text in wanted if text not in answer]
    return Verdict("contains", not absent, f"lacks {_quoted(absent)}" if absent else "")


def _not_contains(unwanted: list[str], answer: str) -> Verdict:
    present = [text for text in unwanted if text in answer]
    return Verdict("not_contains", not present, f"contains {_quoted(present)}" if present else "")


def _equals(wanted: str, answer: str) -> Verdict:
    is_equal = answer == wanted.strip()
    return Verdict("equals", is_equal, "" if is_equal else f"is not {_quoted([wanted])}")


def _regex(pattern: str, answer: str) -> Verdict:
    command = [sys.executable, "-I", "-S", "-c", PATTERN]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([pattern, answer]).encode(),
            capture_output=True,
            timeout=PATTERN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict("regex", False, f"{pattern!r} takes more than {PATTERN_SECONDS} s on this answer")  # noqa: FBT003
    if done.returncode not in (0, 1):
        return Verdict("regex", False, done.stderr.decode("utf-8", "replace")[-SHOWN:])  # noqa: FBT003
    return Verdict("regex", done.returncode == 0, "" if done.returncode == 0 else f"does not match {pattern!r}")


def _json_schema(schema: Any, answer: str) -> Verdict:
    try:
        value = json.loads(_json_text(answer))
    except (ValueError, RecursionError) as error:
        return Verdict("json_schema", False, f"is not JSON: {error}")  # noqa: FBT003
    try:
        errors = sorted(_validator(schema).iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    except Exception as error:  # a reference that leads nowhere, or a recursion without end
        return Verdict("json_schema", False, f"the schema cannot be applied: {type(error).__name__}: {error}"[:SHOWN])  # noqa: FBT003
    if not errors:
        return Verdict("json_schema", passed=True, detail="")
    first = errors[0]
    return Verdict("json_schema", False, f"{first.json_path}: {first.message}"[:SHOWN])  # noqa: FBT003


def _json_text(answer: str) -> str:
    blocks = [text for language, text in FENCE.findall(answer) if language.lower() in ("", "json")]
    return blocks[0] if blocks else answer


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a JSON schema, or None.

    Raises:
        MissingModule: this Python cannot tell.
    """
    try:
        import jsonschema  # noqa: PLC0415 (the plain Python of a server has none)
    except ImportError:
        raise MissingModule("jsonschema") from None
    try:
        type(_validator(schema)).check_schema(schema)
    except jsonschema.exceptions.SchemaError as error:
        return str(error.message)
    return None


def _validator(schema: Any) -> Any:
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    # An empty registry: a `$ref` to somewhere else is an error and no download.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def extract_code(answer: str) -> str:
    """The code of an answer: the first block marked as Python, else the first block, else all of it."""
    blocks = FENCE.findall(answer)
    marked = [text for language, text in blocks if language.lower() in ("python", "py", "python3")]
    return (marked or [text for _, text in blocks] or [answer])[0]


def _python(job: JsonObject, answer: str) -> Verdict:
    outcome = _sandboxed({**job, "answer": extract_code(answer)})
    return Verdict("python", outcome["status"] == "passed", outcome["detail"])


def try_sandbox() -> list[str]:
    """What the sandbox lacks on this machine; raises if there is none at all."""
    outcome = _sandboxed({"answer": "", "tests": "", "seconds": 10, "memory": 2**29})
    if outcome["status"] != "passed":
        raise StackError(EXIT_ENVIRONMENT, f"python checks cannot run here: {outcome['detail']}")
    return list(outcome["missing"])


def _sandboxed(job: JsonObject) -> JsonObject:
    clock = CLOCK_FACTOR * job["seconds"] + CLOCK_MORE
    program = str(Path(__file__).resolve().parent / "sandbox.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", program],
        # What the caller's environment holds, keys perhaps, the code has no need to know.
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(json.dumps({**job, "clock": clock}).encode(), clock + SANDBOX_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return {"status": "failed", "detail": f"the sandbox did not end in {clock + SANDBOX_SECONDS} s", "missing": []}
    try:
        outcome: JsonObject = json.loads(output)
    except ValueError:
        reason = errors.decode("utf-8", "replace").strip()[-SHOWN:] or f"exit code {process.returncode}"
        return {"status": "failed", "detail": f"the sandbox was ended: {reason}", "missing": []}
    return outcome


def _quoted(texts: list[str]) -> str:
    return ", ".join(repr(text[:SHOWN]) for text in texts)


_CHECKS: dict[str, Callable[[Any, str], Verdict]] = {
    "contains": _contains,
    "not_contains": _not_contains,
    "equals": _equals,
    "regex": _regex,
    "json_schema": _json_schema,
    "python": _python,
}
