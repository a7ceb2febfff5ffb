"""Read and write NAME.lock.yaml."""

from __future__ import annotations

import contextlib
import reprlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from compiler.diagnostics import Diagnostic, Help
from compiler.lock import text
from compiler.lock.models import SCHEMA_VERSION, Lock, LockedService, ModelFacts
from compiler.source.files import TooLargeError, read_file, write_changed
from compiler.source.text import check_nesting

# The largest lock seen is below 100 KiB; anything near this bound is no lock.
MAX_BYTES = 16 << 20
# Of a lock that is neither as stackc writes it nor JSON: YAML as such is read a hundred times slower, and no more than
# a few seconds are to be spent on it.
MAX_EDITED_BYTES = 256 << 10

HEADER = "# Written by `stackc lock`: DO NOT EDIT. Facts about the models of the spec beside this file.\n"
_SHOWN_PROBLEMS = 5


def read_lock(path: Path, name: str) -> tuple[Lock | None, tuple[Diagnostic, ...]]:
    """Read a lock file.

    Args:
        path: where it is.
        name: what diagnostics call it.

    Returns:
        The lock and nothing, or None and E0301 (no file) or E0303 (not a lock that this version reads).
    """
    try:
        content = read_file(path, MAX_BYTES)
    except FileNotFoundError:
        return None, (Diagnostic("E0301", f"there is no lock `{name}`", helps=(Help("run `stackc lock`"),)),)
    except TooLargeError:
        return None, (_unreadable(name, f"it is larger than {MAX_BYTES} bytes"),)
    except OSError as error:
        return None, (Diagnostic("E0104", f"the lock {name} cannot be read: {error.strerror or error}"),)
    try:
        return _validated(_load(content.decode()), name)
    except _LargeError:
        reason = f"it is not as `stackc lock` writes it, and larger than {MAX_EDITED_BYTES} bytes"
        return None, (_unreadable(name, reason),)
    except UnicodeDecodeError:
        return None, (_unreadable(name, "it is not UTF-8"),)
    except RecursionError:
        return None, (_unreadable(name, "it is nested too deeply"),)
    except (YAMLError, ValueError) as error:
        return None, (_unreadable(name, f"it is not valid YAML{_place(error)}"),)


def write_lock(path: Path, lock: Lock) -> bool:
    """Write a lock unless the file already says the same, replacing it in one step.

    Returns:
        Whether the file changed.
    """
    return write_changed(path, format_lock(lock).encode())


def format_lock(lock: Lock) -> str:
    """The text of a lock: equal locks give equal bytes, whatever the order of their maps."""
    data = {
        "schema": lock.schema_version,
        "services": {name: _service(lock.services[name]) for name in sorted(lock.services)},
        "models": {name: _model(lock.models[name]) for name in sorted(lock.models)},
    }
    if lock.images:
        data["images"] = {name: lock.images[name].model_dump() for name in sorted(lock.images)}
    return HEADER + text.format_document(data)


def _service(service: LockedService) -> dict[str, Any]:
    data = service.model_dump(exclude_defaults=True)
    adapters = {"adapters": _sorted(service.adapters)} if service.adapters else {}
    return {**data, "candidates": sorted(service.candidates), **adapters}


def _model(facts: ModelFacts) -> dict[str, Any]:
    data = facts.model_dump(exclude_defaults=True)
    data["config"] = _sorted(facts.config)
    if facts.quantization is not None:
        data["quantization"] = _sorted(facts.quantization)
    if "weights" in data:
        data["weights"] = sorted(data["weights"], key=lambda file: str(file["path"]))
    if facts.gguf is not None:
        data["gguf"] = _gguf(data["gguf"])
    if facts.tensors is not None:
        data["tensors"]["kinds"] = sorted(data["tensors"]["kinds"], key=_kind_order)
    return data


def _gguf(data: dict[str, Any]) -> dict[str, Any]:
    """Its tensors, which are many, come last, and so do those of its projector."""
    projector = {"projector": _gguf(data["projector"])} if "projector" in data else {}
    tensors = sorted(data.get("tensors", ()), key=lambda kind: (kind["name"], kind["type"], kind["shape"]))
    return {**data, "keys": _sorted(data.get("keys", {})), **projector, "tensors": tensors}


def _kind_order(kind: dict[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    return kind["name"], kind["dtype"], tuple(kind["shape"])


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


class _LargeError(Exception):
    """A text that would take too long to read."""


def _load(content: str) -> Any:
    for parse in (text.parse, text.parse_json):
        with contextlib.suppress(text.UnusualError):
            return parse(content)
    if len(content) > MAX_EDITED_BYTES:
        raise _LargeError
    check_nesting(content)
    return YAML(typ="safe", pure=True).load(content)


def _validated(data: Any, name: str) -> tuple[Lock | None, tuple[Diagnostic, ...]]:
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        shown = reprlib.repr(version)
        reason = f"its schema is {shown}, and this stackc reads {SCHEMA_VERSION}" if version else "it has no schema"
        return None, (_unreadable(name, reason),)
    try:
        return _shared(Lock.model_validate(data)), ()
    except ValidationError as error:
        problems = [_problem(item["loc"], item["msg"]) for item in error.errors(include_url=False, include_input=False)]
        return None, (_unreadable(name, "it does not have the form of a lock", problems),)


# The last facts that were read of each model.
_FACTS: dict[str, ModelFacts] = {}


def _shared(lock: Lock) -> Lock:
    """The same facts are one object, in whichever lock they stand: what is worked out from them is worked out once."""
    for name, facts in lock.models.items():
        if _FACTS.get(name) != facts:
            _FACTS[name] = facts
    return lock.model_copy(update={"models": {name: _FACTS[name] for name in lock.models}})


def _problem(location: tuple[int | str, ...], message: str) -> str:
    path = ".".join(str(part) for part in location) or "the lock"
    return f"{path}: {message[:1].lower()}{message[1:]}"


def _unreadable(name: str, reason: str, problems: list[str] | None = None) -> Diagnostic:
    notes = tuple((problems or [])[:_SHOWN_PROBLEMS])
    helps = (Help("restore it from version control, or delete it and run `stackc lock`"),)
    return Diagnostic("E0303", f"cannot read the lock `{name}`: {reason}", notes=notes, helps=helps)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark is not None else ""
