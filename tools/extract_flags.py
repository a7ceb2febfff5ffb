#!/usr/bin/env python3
"""Write every option of `vllm serve` to compiler/engines/vllm/releases/VERSION/flags.json, as vLLM's own parser has it.

Run it with the Python of an engine that has vLLM's dependencies, and once more for a release of which only the Python
files are there:

    .engine/cpu/bin/python tools/extract_flags.py
    .engine/cpu/bin/python tools/extract_flags.py --source .engine/vllm-0.33.0

Only facts are taken, no help texts. Fields are left out where they say nothing: `off` (spellings that switch it off),
`aliases`, `choices` (enforced by the parser), `known` (named but not enforced), `registered` (any other is refused when
the server starts), `many`, `default`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "compiler/engines/vllm/releases"
# Where make_arg_parser lives in 0.33.0, and in 0.32.0 and earlier.
PARSER_MODULES = ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args")
# By the name of the function that reads the word; the keys are vLLM's own names.
KINDS = {
    "int": "int",
    "float": "float",
    "human_readable_int": "human-int",
    "human_readable_int_or_auto": "human-int-or-auto",
    "loads": "json",
    "parse_dataclass": "json",
    "union_dict_and_str": "json-or-string",
    "parse_reasoning_parser": "string",
}
# Their choices depend on the device of the machine that asks, here a CPU.
DEVICE_CHOICES = {"--mm-processor-device"}
Json = dict[str, Any]


def main() -> int:
    """Write the catalog of one version, or with --check compare it."""
    arguments = _parse_arguments()
    if arguments.source:
        sys.path.insert(0, str(arguments.source.resolve()))
    parser, _ = serve_parser()
    version = importlib.import_module("vllm").__version__
    output = arguments.output or CATALOG / version / "flags.json"
    text = render(version, describe(parser))
    if arguments.check:
        return _compare(output, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the options of `vllm serve` to the catalog.")
    parser.add_argument("--source", type=Path, help="a folder with vLLM's files, instead of the installed vLLM")
    parser.add_argument("--output", type=Path, help="the file to write (default: in compiler/engines/vllm/releases)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    return parser.parse_args()


def serve_parser() -> tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], None]]:
    """Build vLLM's real parser for `vllm serve`, with its check of the parsed arguments."""
    os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    module = first_module(*PARSER_MODULES)
    parser_class = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    return module.make_arg_parser(parser_class(prog="vllm serve")), module.validate_parsed_serve_args


def first_module(*names: str) -> Any:
    """The first of them that there is: releases have one thing in different places.

    Raises:
        ModuleNotFoundError: there is none.
    """
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Where a folder of the name is missing too, that is what the error names.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
    raise ModuleNotFoundError(f"none of {', '.join(names)} exists: what it held has moved")


def describe(parser: argparse.ArgumentParser) -> list[Json]:
    """Describe all options but --help, sorted by name."""
    spellings: dict[int, list[str]] = {}
    # Not action.option_strings: from 0.33.0 on, spellings that are hidden from --help are missing there.
    for spelling, action in parser._option_string_actions.items():  # noqa: SLF001
        spellings.setdefault(id(action), []).append(spelling)
    flags = [
        _describe_action(action, group.title or "", spellings[id(action)])
        for group in parser._action_groups  # noqa: SLF001
        for action in group._group_actions  # noqa: SLF001
        if action.option_strings and action.dest != "help"
    ]
    return sorted(flags, key=lambda flag: str(flag["name"]))


def _describe_action(action: argparse.Action, group: str, spellings: list[str]) -> Json:
    name = "--" + action.dest.replace("_", "-")
    if name not in spellings:
        name = next(spelling for spelling in spellings if spelling.startswith("--"))
    off = _negative_spellings(action, spellings)
    facts: Json = {
        "name": name,
        "group": group if group.endswith("Config") else "",
        "kind": _kind(action),
        "many": _many(action),
        "aliases": sorted(set(spellings) - off - {name}),
        # The first is the one to write: argparse registers `--no-X` before vLLM adds the inverse.
        "off": [spelling for spelling in spellings if spelling in off],
        "choices": [] if name in DEVICE_CHOICES else [choice for choice in action.choices or () if choice is not None],
        "known": [] if isinstance(action.metavar, str | None) else sorted(action.metavar),
        "registered": _registered(name),
        "default": _plain(action.default),
    }
    return {key: value for key, value in facts.items() if value not in ("", None, [])}


# Options whose values are names in a registry of vLLM's; an unknown one is refused only when the server starts.
REGISTRIES = {
    "--reasoning-parser": ("vllm.reasoning", "ReasoningParserManager"),
    "--tool-call-parser": ("vllm.tool_parsers", "ToolParserManager"),
}


def _registered(name: str) -> list[str]:
    if name not in REGISTRIES:
        return []
    module, manager = REGISTRIES[name]
    return sorted(getattr(importlib.import_module(module), manager).list_registered())


def _negative_spellings(action: argparse.Action, spellings: list[str]) -> set[str]:
    if not isinstance(action, argparse.BooleanOptionalAction):
        return set()
    inverses = set(getattr(action, "negative_option_strings", ()))
    return inverses | {spelling for spelling in spellings if spelling.startswith("--no-")}


def _kind(action: argparse.Action) -> str:
    if isinstance(action, argparse.BooleanOptionalAction):
        return "boolean"
    if action.nargs == 0:
        return "switch"
    reader = action.type
    # optional_type(int) and parse_type(int) are closures over the type that reads the word.
    while callable(reader) and "return_type" in (inner := _captured(reader)):
        reader = inner["return_type"]
    name = getattr(reader, "__name__", "str")
    if name in ("str", "<lambda>"):
        # An integer enum is read as text and looked up by its number.
        return "int" if isinstance(action.default, int) else "string"
    return KINDS[name]


def _captured(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


def _many(action: argparse.Action) -> str:
    """How often a value may be given: `+` words, `?` at most one word, `repeat` the option; empty for exactly one."""
    if type(action).__name__ == "_AppendAction":
        return "repeat"
    return str(action.nargs) if action.nargs in ("+", "*", "?") else ""


def _plain(default: object) -> Any:
    """Keep a default that JSON can hold; vLLM's own objects say nothing here."""
    if isinstance(default, set | tuple):
        return sorted(default)
    if default == argparse.SUPPRESS:
        return None
    return default if isinstance(default, bool | int | float | str | list | dict) else None


def render(version: str, flags: list[Json]) -> str:
    """Render the catalog with one option a line, so that a diff between versions can be read."""
    lines = ",\n".join(json.dumps(flag, ensure_ascii=False) for flag in flags)
    return f'{{"vllm": "{version}", "flags": [\n{lines}\n]}}\n'


def _compare(path: Path, text: str) -> int:
    before = path.read_text().splitlines() if path.is_file() else []
    diff = list(difflib.unified_diff(before, text.splitlines(), str(path), "as extracted", n=0, lineterm=""))
    print("\n".join(diff))
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
