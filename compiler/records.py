"""Frozen dataclasses that a run gets sooner: the standard library's, with the methods that are alike shared.

`dataclasses.dataclass(frozen=True)` writes six methods of each class as text and has Python compile every one of them,
which for some three hundred classes takes longer than most stacks take to be solved. Here `__init__` alone is
written. Fields, defaults and slots are the library's own, and so are `fields`, `replace` and `asdict`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]


def _quick(*, frozen: bool = False, slots: bool = False, eq: bool = True, order: bool = False) -> Callable[..., Any]:
    """What `dataclasses.dataclass` does of these options; classes that can be changed or ordered are few."""
    if order or not frozen:
        return dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, order=order)

    def made(cls: type[Any]) -> type[Any]:
        # Without one, the library would write the class's signature, which it reads off a text of the interpreter's.
        cls.__doc__ = cls.__doc__ or cls.__name__
        record: type[Any] = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        record.__init__ = _init(record)
        for name, method in (*_SHARED.items(), *(_comparing(record) if eq else ())):
            if name not in cls.__dict__:
                setattr(record, name, method)
        return record

    return made


# A checker knows the library's by its name.
if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _quick


def _init(record: type[Any]) -> Callable[..., None]:
    """Takes the fields as parameters and sets them, although nothing can be set afterwards."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    given = [each for each in _fields(record) if each.init]
    parameters = ", ".join(("self", *(_parameter(each, names) for each in given)))
    lines = [f"_set(self, {each.name!r}, {_value(each, names)})" for each in given]
    lines += ["self.__post_init__()"] if hasattr(record, "__post_init__") else []
    text = "\n ".join((f"def __init__({parameters}):", *lines, "return None"))
    exec(text, names)  # noqa: S102  names of fields are identifiers
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{record.__qualname__}.__init__"
    return init


def _parameter(each: Field[Any], names: dict[str, Any]) -> str:
    if each.default_factory is not MISSING:
        return f"{each.name}=_MISSING"
    if each.default is MISSING:
        return each.name
    names[f"_default_{each.name}"] = each.default
    return f"{each.name}=_default_{each.name}"


def _value(each: Field[Any], names: dict[str, Any]) -> str:
    if each.default_factory is MISSING:
        return each.name
    names[f"_make_{each.name}"] = each.default_factory
    return f"_make_{each.name}() if {each.name} is _MISSING else {each.name}"


def _comparing(record: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    compared = [each for each in _fields(record) if each.compare]
    values = attrgetter(*([each.name for each in compared] or ["__class__"]))
    hashed = attrgetter(*([each.name for each in compared if each.hash is not False] or ["__class__"]))

    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    yield "__eq__", equal
    yield "__hash__", lambda self: hash(hashed(self))


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in _fields(type(self)) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: Any, name: str, value: object) -> NoReturn:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in _fields(type(self))]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(_fields(type(self)), state, strict=True):
        object.__setattr__(self, each.name, value)


def _fields(record: type[Any]) -> tuple[Field[Any], ...]:
    return dataclasses.fields(record)


_SHARED: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
