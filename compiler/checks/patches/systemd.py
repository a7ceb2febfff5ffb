"""`patches.systemd`: directives that the spec adds to a unit. They must exist, be free, and keep to their line.

A patch is checked against the oldest systemd that the units are written for: an unknown directive is only a warning
there, so the server would start without what the user asked for.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.catalog.systemd import (
    ADDITIVE,
    OWNED,
    OWNED_VARIABLES,
    SECRET_VARIABLES,
    SECTIONS,
    load_directives,
)
from compiler.checks.engines import fixed_variables
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.reading.load import SpecFile

_WHERE = ("patches", "systemd")


@dataclass(frozen=True, slots=True)
class _Given:
    """One directive of one unit's patch; `fixed` are variables that nobody may set."""

    file: SpecFile
    fixed: frozenset[str]
    unit: str
    section: str
    key: str
    value: object

    @property
    def path(self) -> tuple[str, ...]:
        return (*_WHERE, self.unit, self.section, self.key)

    @property
    def items(self) -> tuple[object, ...]:
        return tuple(self.value) if isinstance(self.value, list) else (self.value,)

    def refuse(self, message: str, *notes: str, helps: tuple[Help, ...] = ()) -> Diagnostic:
        """The finding at the directive's name, which can always be removed."""
        return Diagnostic("E0217", message, self.file.at_key(*self.path), notes, (*helps, _remove(self.path)))


def check_systemd_patches(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Each unit, section and directive exists, and what is given can be written."""
    patches = file.spec.patches.systemd
    if "systemd" not in file.spec.targets:
        return  # said by target_checks.py
    units, fixed = _units(file), fixed_variables(file, engines)
    for unit, sections in patches.items():
        if unit not in units:
            yield _unknown(file, (*_WHERE, unit), f"the stack has no unit for `{unit}`", "units", sorted(units))
            continue
        for section, directives in sections.items():
            yield from _check_section(file, (unit, units[unit]), section, directives, fixed)


def _units(file: SpecFile) -> Mapping[str, str]:
    """What can be patched, and the kind of each unit."""
    gateway = {"gateway": "service"} if file.spec.gateway is not None else {}
    return dict.fromkeys(file.spec.services, "service") | gateway | {"prefetch": "service", "target": "target"}


def _check_section(
    file: SpecFile, unit: tuple[str, str], section: str, directives: Mapping[str, object], fixed: frozenset[str]
) -> Iterator[Diagnostic]:
    name, kind = unit
    if section not in SECTIONS[kind]:
        message = f"the unit of `{name}` takes no patch in [{section}]"
        note = "what starts with the machine is decided by bin/install and `systemctl enable`"
        found = _unknown(file, (*_WHERE, name, section), message, "sections", SECTIONS[kind])
        yield (
            found
            if section != "Install"
            else Diagnostic(found.code, message, found.label, (note, *found.notes), found.helps)
        )
        return
    for key, value in directives.items():
        yield from _check_directive(_Given(file, fixed, name, section, key, value))


def _check_directive(given: _Given) -> Iterator[Diagnostic]:
    table = load_directives()
    if given.key not in table.known[given.section]:
        yield _not_there(given)
        return
    if given.key in OWNED[given.section] and given.key not in ADDITIVE:
        yield given.refuse(f"`{given.key}` is not to be given: stackc sets it from the plan")
        return
    for item in given.items:
        problem = _unwritable(given, item)
        if problem is None and given.key == "Environment":
            problem = _bad_variable(str(item), given.fixed)
        if problem is not None:
            yield given.refuse(f"`{given.key}` cannot have this value: {problem}")
            return


def _not_there(given: _Given) -> Diagnostic:
    table = load_directives()
    since = table.newer[given.section].get(given.key)
    if since is not None:
        message = f"`{given.key}` needs systemd {since}, the units are written for systemd {table.floor} and later"
        return given.refuse(message, f"systemd {table.floor} (Debian 12) would ignore the line with a warning")
    other = next((name for name, known in table.known.items() if given.key in known and name != given.section), None)
    notes = () if other is None else (f"it belongs in [{other}]",)
    nearest = [name for name in table.nearest(given.section, given.key) if name not in OWNED[given.section]]
    helps = tuple(Help(f"did you mean `{name}`?", edits) for name in nearest if (edits := _renamed(given, name)))
    return given.refuse(f"systemd {table.floor} has no `{given.key}` in [{given.section}]", *notes, helps=helps)


def _renamed(given: _Given, name: str) -> tuple[Edit, ...]:
    is_writable = isinstance(given.value, str | int) and _unwritable(given, given.value) is None
    taken = given.file.spec.patches.systemd[given.unit][given.section]
    if not is_writable or name in taken:
        return ()
    assert isinstance(given.value, str | int)  # noqa: S101  for the type checker: said by is_writable
    return Edit(given.path, None), Edit((*given.path[:-1], name), given.value)


def _unwritable(given: _Given, item: object) -> str | None:
    """Why a value cannot stand on the one line that a directive has."""
    if not isinstance(item, str | int):
        return "it must be text, a whole number, true or false, or a list of these"
    text = str(item)
    if not text and given.key in OWNED[given.section]:
        return "an empty value takes away what stackc sets"
    if not text.isprintable() or text.endswith("\\"):
        return "a directive is one line, without control characters or a backslash at its end"
    return "it begins or ends with a space" if text != text.strip() else None


def _bad_variable(assignments: str, fixed: frozenset[str]) -> str | None:
    try:
        words = shlex.split(assignments)
    except ValueError as error:
        return str(error).lower()
    for word in words:
        name, is_assigned, _ = word.partition("=")
        if not is_assigned:
            return f"`{word}` is not NAME=value"
        if name in OWNED_VARIABLES | fixed:
            return f"stackc sets {name} from the plan"
        if name in SECRET_VARIABLES:
            return f"everyone on the machine could read {name}: `secrets` takes the path of a file that holds it"
    return None


def _unknown(
    file: SpecFile, path: tuple[str, ...], message: str, what: str, known: tuple[str, ...] | list[str]
) -> Diagnostic:
    nearest = difflib.get_close_matches(path[-1], known, n=1)
    helps = tuple(Help(f"did you mean `{name}`?") for name in nearest)
    notes = (f"{what} that can be patched: {', '.join(known)}",)
    return Diagnostic("E0217", message, file.at_key(*path), notes, (*helps, _remove(path)))


def _remove(path: tuple[str, ...]) -> Help:
    return Help(f"remove `{path[-1]}`", (Edit(path, None),))
