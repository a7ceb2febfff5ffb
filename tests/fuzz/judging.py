"""What must hold, whatever was asked."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.fuzz.case import Case
from tests.fuzz.running import Find, Outcome, run_command

# C0 without tab and newline, C1, separators of lines, marks and overrides of direction, halves of characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_DIAGNOSTIC = re.compile(r"^error\[(?P<code>E\d{4})\]: .*(?:\n(?P<next>.*))?", re.MULTILINE)
# They are about a file as a whole, a folder, or the world outside.
_PLACELESS = re.compile(r"E0104|E030[13]|E0309|E031[0-9]|E06\d\d")
# Of a report with many errors, and of one line of it.
_LONGEST = 256 << 10
_WIDEST = 4100
# May be negative: less memory is left over than nothing where `margin: allow` admits it, and a process may be favoured.
_SIGNED = ("slack_bytes", "Nice", "nice", "OOMScoreAdjust", "oom_score_adj")


def judge(case: Case, outcome: Outcome) -> Iterator[Find]:
    """What a command printed, and how it ended."""

    def find(kind: str, detail: str) -> Find:
        return Find(kind, detail, outcome.words)

    if outcome.error is not None:
        frames = [line.strip() for line in outcome.error.splitlines() if line.startswith("  File")]
        yield find("traceback", f"{outcome.error.splitlines()[-1][:200]} at {frames[-1] if frames else '?'}")
        return
    is_json = "json" in outcome.words and "--help" not in outcome.words
    if outcome.code not in (0, 1, 2, 3):
        yield find("exit", f"code {outcome.code}")
    elif outcome.code != 2:
        yield from (
            find(kind, detail) for kind, detail in (_json_faults(outcome) if is_json else _text_faults(outcome))
        )
    if case.has_places and not is_json and outcome.words[0] == "compile":
        yield from (find("place", text) for text in _without_place(outcome.text))
    if (match := _CONTROL.search(outcome.text)) is not None:
        yield find("control", repr(outcome.text[max(0, match.start() - 80) : match.end() + 20]))
    if outcome.words[0] != "explain" and "--check" not in outcome.words and not is_json:
        if len(outcome.text) > _LONGEST:
            yield find("long", f"{len(outcome.text)} characters")
        if (widest := max(map(len, outcome.text.splitlines()), default=0)) > _WIDEST:
            yield find("long", f"a line of {widest} characters")


def _json_faults(outcome: Outcome) -> Iterator[tuple[str, str]]:
    try:
        data = json.loads(outcome.stdout, parse_constant=_refuse)
    except ValueError as error:
        yield "artifact", f"the report for programs is no JSON: {str(error)[:100]}"
        return
    errors = [each["code"] for each in data["diagnostics"] if each["severity"] == "error"]
    if bool(errors) != (outcome.code != 0) or data["ok"] != (outcome.code == 0):
        yield "exit", f"code {outcome.code} with the errors {errors}, ok: {data['ok']}"


def _text_faults(outcome: Outcome) -> Iterator[tuple[str, str]]:
    told = _DIAGNOSTIC.search(outcome.text) is not None
    # A code's page shows examples of errors.
    if told != (outcome.code != 0) and not (outcome.words[0] == "explain" and outcome.code == 0):
        yield "exit", f"code {outcome.code}, and an error is {'' if told else 'not '}told: {outcome.text[-300:]!r}"


def _without_place(text: str) -> Iterator[str]:
    for match in _DIAGNOSTIC.finditer(text):
        if "-->" not in (match["next"] or "") and _PLACELESS.fullmatch(match["code"]) is None:
            yield match[0].splitlines()[0][:200]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"the constant {word}")


def judge_change(case: Case, outcome: Outcome, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Find]:
    """What lies in the case's folder afterwards: nothing but what the command is for, and nothing if it failed."""
    touched = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    command = outcome.words[0]
    allowed = tuple(case.touches.get(command, ()))
    for flag in ("--output", "--out"):
        if flag in outcome.words:
            allowed += (outcome.words[outcome.words.index(flag) + 1],)
    strange = [name for name in touched if not name.startswith(allowed)] if allowed else touched
    if command == "lock":
        strange += [name for name in touched if not name.endswith(".lock.yaml")]
    if strange:
        yield Find("outside", f"touched {strange[:5]}", outcome.words)
    if command == "compile" and touched and (outcome.code != 0 or "--check" in outcome.words):
        yield Find("changed", f"code {outcome.code}, and yet {touched[:5]} are others", outcome.words)
    lost = [name for name in before if name not in after and not _is_ours(name)]
    if lost and "--prune" not in outcome.words:
        yield Find("lost", f"{lost[:5]} are gone", outcome.words)


def _is_ours(name: str) -> bool:
    parts = Path(name).parts
    return len(parts) > 1 and parts[0] in ("generated", "out") and parts[1].lstrip(".").partition(".")[0] != "isos"


def judge_output(case: Case, outcome: Outcome) -> Iterator[Find]:
    """What was emitted can be read by those who will read it, and is what a check expects."""
    if "--output" in outcome.words:
        return
    for path in sorted((case.folder / "generated").rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield from (Find("artifact", f"{path.name}: {fault}", outcome.words) for fault in _faults_of(path))
    if case.rng.random() < 0.1:
        again = tuple(word for word in outcome.words if word not in ("--prune", "--format", "json"))
        checked = run_command((*again, "--check"), case.folder)
        if checked.code != 0 or checked.error is not None:
            yield Find("changed", f"--check after a compile: {(checked.error or checked.text)[-300:]!r}", outcome.words)


def _faults_of(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if (match := _CONTROL.search(text)) is not None:
        yield f"the control character {match[0]!r}"
    try:
        if path.suffix == ".json":
            yield from (f"{name} is {value}" for name, value in _negative(json.loads(text, parse_constant=_refuse)))
        elif path.suffix in (".yaml", ".yml"):
            list(YAML(typ="safe", pure=True).load_all(text))
    except (ValueError, YAMLError) as error:
        yield str(error)[:120]
    if path.name.startswith("launch-"):
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            yield done.stderr[:120]


def _negative(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _negative(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _negative(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value < 0 and key not in _SIGNED:
        yield key, value
