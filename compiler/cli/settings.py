"""What a repository says of warnings: `warnings` in a stackc.yaml, or in `[tool.stackc]` of a pyproject.toml.

It is looked for from the spec's folder upwards to the root of the repository, and no further: what lies in a home or in
/tmp is nobody's word on a spec. Without a repository only the spec's own folder and the working folder are looked at.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from compiler.diagnostics.levels import Level, Levels, Rule, level_of, warning_code
from compiler.diagnostics.render import visible

NAME = "stackc.yaml"
_TOML = "pyproject.toml"
_MAX_BYTES = 1 << 20
_KEYS = {"warnings", "deny_warnings"}


def levels_for(spec: Path) -> Levels:
    """What the nearest settings above a spec say.

    Raises:
        click.UsageError: the settings cannot be used.
    """
    return _levels_in(spec.absolute().parent, Path.cwd())


def _levels_in(folder: Path, working: Path) -> Levels:
    for place in _places(folder, working):
        for name, read in ((NAME, _yaml), (_TOML, _toml)):
            path = place / name
            if path.is_file():
                found = _read(path, read)
                if found is not None:
                    return _levels(found, name)
    return Levels()


def _places(folder: Path, working: Path) -> Iterator[Path]:
    above = [folder, *folder.parents]
    roots = [index for index, place in enumerate(above) if (place / ".git").exists()]
    if roots:
        yield from above[: roots[0] + 1]
    else:
        yield from dict.fromkeys((folder, *((working,) if working in above else ())))


def _read(path: Path, read: Any) -> Mapping[str, Any] | None:
    from compiler.source.files import read_file  # noqa: PLC0415 - most runs have no settings

    try:
        found = read(read_file(path, _MAX_BYTES).decode(), path.name)
    except (OSError, ValueError) as error:  # text that is no UTF-8 and TOML that is none are both ValueErrors
        raise _unusable(path.name, str(getattr(error, "strerror", None) or error)) from error
    if found is not None and not isinstance(found, dict):
        raise _unusable(path.name, "its settings are no mapping")
    return found


def _yaml(text: str, name: str) -> Any:
    from compiler.diagnostics import SourceText  # noqa: PLC0415
    from compiler.source.document import load_document  # noqa: PLC0415

    document, problems = load_document(SourceText(name, text))
    if document is None:
        raise ValueError(problems[0].message)
    is_spec = isinstance(document.data, dict) and "services" in document.data
    return None if is_spec else document.data


@lru_cache(maxsize=1)  # all specs of a repository have the same
def _toml(text: str, _: str) -> Any:
    if "stackc" not in text:  # as in most projects; reading it takes as long as a small spec
        return None
    return tomllib.loads(text).get("tool", {}).get("stackc")


def _levels(found: Mapping[str, Any], name: str) -> Levels:
    unknown = sorted(map(str, found.keys() - _KEYS))
    if unknown:
        raise _unusable(name, f"unknown key {unknown[0]}: there are {', '.join(sorted(_KEYS))}")
    given, denies = found.get("warnings") or {}, found.get("deny_warnings", False)
    if not isinstance(given, dict) or not isinstance(denies, bool):
        raise _unusable(name, "`warnings` maps codes to allow, warn or deny; `deny_warnings` is true or false")
    try:
        rules = {warning_code(str(code)): Rule(level_of(level), "") for code, level in given.items()}
    except ValueError as error:
        raise _unusable(name, str(error)) from error
    of = {code: Rule(rule.level, f"warnings: {{{code}: {rule.level}}} in {name}") for code, rule in rules.items()}
    return Levels(of, Rule(Level.DENY, f"deny_warnings: true in {name}") if denies else None)


def _unusable(name: str, why: str) -> click.UsageError:
    return click.UsageError(f"{name}: {visible(why)}")
