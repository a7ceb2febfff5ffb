"""Modules by other names, of which towers have hundreds: `dataclasses.replace` takes long for so many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from compiler.checkpoints.architecture import Experts, Linear, Module, Table, Vector

_BUT_NAME: Mapping[type[Module], Callable[[Module], tuple[Any, ...]]] = {
    kind: attrgetter(*(each.name for each in fields(kind)[1:])) for kind in (Linear, Vector, Table, Experts)
}

_FUSED = [each.name for each in fields(Linear)[1:]].index("fused")


def nameless(module: Module) -> tuple[Any, ...]:
    """All that a module says of itself but its name, which comes first: in the order in which its class takes it."""
    return _BUT_NAME[type(module)](module)


def named(module: Module, name: str, fused: str | None = None) -> Module:
    """The module by another name.

    Args:
        fused: what a projection that is fused with others is called with them, then.
    """
    values = nameless(module)
    if fused is not None:
        values = (*values[:_FUSED], fused, *values[_FUSED + 1 :])
    return type(module)(name, *values)
