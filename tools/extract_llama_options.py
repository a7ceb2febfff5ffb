#!/usr/bin/env python3
"""Write every option of llama-server to compiler/engines/llama_cpp/releases/BUILD/options.json, as the program has it.

    python -m tools.extract_llama_options

Spellings, groups, environment variables, choices and defaults are read from `--help`, of which no text is kept. What an
option takes is asked of the program's own parser: `llama-server OPTION x --version` names the reader that refuses it,
stoi or stof, and answers with its version where any text will do.

Fields are left out where they say nothing: `off` (spellings that switch it off), `aliases`, `choices` (enforced by the
parser), `known` (named but not enforced), `many`, `default`, `environment`, `deprecated`, `replacements` (of one that
is removed: the parser knows it, and refuses it).
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.setup_llama_server import BUILD, SERVER

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "compiler/engines/llama_cpp/releases"
# common/arg.cpp:common_arg::to_string, b10435: where the text of an option begins.
TEXT_COLUMN = 40
# They end the program, or are about it and not its server.
NOT_OPTIONS = {"--help", "--version", "--cache-list", "--completion-bash", "--list-devices"}
_ENVIRONMENT = re.compile(r"\(env: (\w+)\)")
_BRACED = re.compile(r"[{\[<]([\w+|,-]+)[}\]>]")
_ALLOWED = re.compile(r"allowed values: ([\w, ]+?) \(default")
_BULLETS = re.compile(r"(?:^|\s)- ([a-z+-]+)(?: \((default)\))?: ")
_BUILT_IN = re.compile(r"list of built-in templates: ([\w.,\- ]+?)$")
_REMOVED = re.compile(r"the argument has been removed\. use (.*)")
_DEFAULTS = {
    "int": re.compile(r"default: (-?\d+)(?:[,);]| \(env|$)"),
    "float": re.compile(r"default: (-?\d+(?:\.\d+)?)[,)]"),
    "switch": re.compile(r"default: (true|false|enabled|disabled)[,)]"),
}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One option of the help: its spellings in their order, what stands for its value, and its text on one line."""

    group: str
    spellings: tuple[str, ...]
    placeholder: str
    text: str


def main() -> int:
    """Write the catalog, or with --check compare it."""
    arguments = _parse_arguments()
    text = render(BUILD, describe(arguments.server))
    output = CATALOG / BUILD / "options.json"
    if arguments.check:
        return compare(output, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the options of llama-server to the catalog.")
    parser.add_argument("--server", type=Path, default=SERVER, help="the program (default: that of .engine/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    return parser.parse_args()


def describe(server: Path) -> list[Json]:
    """Describe all options, sorted by name."""
    entries = [entry for entry in read_help(ask(server, "--help").stdout) if not NOT_OPTIONS & set(entry.spellings)]
    return sorted((_describe(entry, server) for entry in entries), key=lambda option: str(option["name"]))


def ask(server: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program with these words, in an empty folder and without the variables and files that it reads."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"HOME": folder, "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [server.resolve(), *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )


def read_help(text: str) -> Iterator[Entry]:
    """Read the entries of `--help`."""
    group, header, lines = "", "", list[str]()
    for line in [*text.splitlines(), "----- end -----"]:
        if not line.startswith("-"):
            lines.append(line.strip())
            continue
        if header:
            yield _entry(group, header, " ".join(lines))
        header, lines = "", []
        if line.startswith("-----"):
            group = line.strip("- ").removesuffix(" params")
        elif line[TEXT_COLUMN - 1 : TEXT_COLUMN] == " ":
            header, lines = line[:TEXT_COLUMN], [line[TEXT_COLUMN:]]
        else:
            header = line


def _entry(group: str, header: str, text: str) -> Entry:
    words = header.replace(", ", " ").split()
    spellings = [word.rstrip(",") for word in words if word.startswith("-")]
    return Entry(group, tuple(spellings), " ".join(words[len(spellings) :]), " ".join(text.split()))


def _describe(entry: Entry, server: Path) -> Json:
    off = _negative_spellings(entry)
    name = next(spelling for spelling in entry.spellings if spelling.startswith("--"))
    refusal = _refusal(entry, name, server)
    kind = _kind(entry, refusal, off)
    values = list(dict.fromkeys(_values(entry)))
    is_enforced = kind in ("string", "int-or-word") and bool(refusal)
    removed = _REMOVED.search(entry.text)
    environment = _ENVIRONMENT.search(entry.text)
    default = _default(entry, kind, values)
    if is_enforced and default is not None and default not in values:
        values = [*values, str(default)]
    facts: Json = {
        "name": name,
        "group": entry.group,
        "kind": kind,
        "many": _many(entry),
        "aliases": [spelling for spelling in entry.spellings if spelling not in (name, *off)],
        "off": sorted(off, key=lambda spelling: not spelling.startswith("--")),
        "choices": values if is_enforced else [],
        "known": [] if is_enforced else values,
        "default": default,
        "environment": environment[1] if environment else None,
        "deprecated": "DEPRECATED" in entry.text or None,
        "replacements": re.findall(r"--[\w*-]+", removed[1]) if removed else [],
    }
    return {key: value for key, value in facts.items() if value not in ("", None, [])}


def _negative_spellings(entry: Entry) -> list[str]:
    """Those that come after the ones that switch it on: `--no-…`, and a short one that begins with n."""
    spellings = entry.spellings
    if not any(spelling.replace("--no-", "--") in spellings for spelling in spellings if spelling[:5] == "--no-"):
        return []
    first = next(index for index, spelling in enumerate(spellings) if spelling.startswith("--"))
    return [spelling for spelling in spellings[first + 1 :] if spelling.startswith(("-n", "--no-"))]


def _refusal(entry: Entry, name: str, server: Path) -> str:
    """What the parser says of the value x; empty if it takes it, or if the option takes none."""
    if not entry.placeholder:
        return ""
    values = ["x"] * len(_pair(entry) or "x")
    said = re.search(r"error while handling argument \S+: (.*)", ask(server, name, *values, "--version").stderr)
    return said[1] if said else ""


def _pair(entry: Entry) -> list[str]:
    return entry.placeholder.split() if re.fullmatch(r"[A-Z]+ [A-Z]+", entry.placeholder) else []


def _kind(entry: Entry, refusal: str, off: list[str]) -> str:
    if not entry.placeholder:
        return "boolean" if off else "switch"
    if entry.placeholder in ("JSON", "SCHEMA") or "json" in refusal:
        return "json"
    if refusal == "stoi" and "'auto', or 'all'" in entry.text:
        return "int-or-word"
    return {"stoi": "int", "stoul": "int", "stoull": "int", "stof": "float"}.get(refusal, "string")


def _values(entry: Entry) -> list[str]:
    """Values that the help names; of an option that takes a file, it names what may be in it."""
    if entry.placeholder.endswith("FILE"):
        return []
    if (braced := _BRACED.fullmatch(entry.placeholder)) and re.search(r"[|,]", braced[1]):
        return [] if ".." in entry.placeholder else re.split(r"[|,]", braced[1])
    if re.fullmatch(r"[a-z0-9-]+(,[a-z0-9-]+)+", entry.placeholder):
        return entry.placeholder.split(",")
    if allowed := _ALLOWED.search(entry.text) or _BUILT_IN.search(_ENVIRONMENT.sub("", entry.text).strip()):
        return allowed[1].split(", ")
    if "either an exact number, 'auto', or 'all'" in entry.text:
        return ["auto", "all"]
    return [bullet[1] for bullet in _BULLETS.finditer(entry.text)]


def _many(entry: Entry) -> str:
    if _pair(entry):
        return "pair"
    is_list = re.search(r",\.\.|\w,\w+,", entry.placeholder) and not entry.placeholder.startswith(("{", "<0"))
    return "commas" if is_list or "comma-separated" in entry.text else ""


def _default(entry: Entry, kind: str, values: list[str]) -> bool | int | float | str | None:
    """The default that the help names in so many words; None where it depends on others or on the model."""
    if kind in ("switch", "boolean"):
        found = _DEFAULTS["switch"].search(entry.text)
        return found[1] in ("true", "enabled") if found else None
    if kind in _DEFAULTS:
        found = _DEFAULTS[kind].search(entry.text)
        return (int if kind == "int" else float)(found[1]) if found else None
    if marked := next((bullet[1] for bullet in _BULLETS.finditer(entry.text) if bullet[2]), None):
        return marked
    found = re.search(r"default: '?([\w+.-]+)'?[ ,)]", entry.text)
    return found[1] if found and (found[1] in values or found[1] == "auto") else None


def render(build: str, options: list[Json]) -> str:
    """Render the catalog with one option a line, so that a diff between builds can be read."""
    lines = ",\n".join(json.dumps(option, ensure_ascii=False) for option in options)
    return f'{{"llama_cpp": "{build}", "options": [\n{lines}\n]}}\n'


def compare(path: Path, text: str) -> int:
    """Print how the file differs from the text. 1 if it does."""
    before = path.read_text().splitlines() if path.is_file() else []
    diff = list(difflib.unified_diff(before, text.splitlines(), str(path), "as extracted", n=0, lineterm=""))
    print("\n".join(diff))
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
