"""Records behave as the dataclasses of the standard library do, which their readers and `replace` know."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, replace
from typing import Any

import pytest

from compiler import records


def _classes(dataclass: Callable[..., Any]) -> tuple[type[Any], type[Any]]:
    @dataclass(frozen=True, slots=True)
    class Record:
        name: str
        sizes: tuple[int, ...] = (1,)
        more: dict[str, int] = field(default_factory=dict, hash=False)
        known: list[int] = field(default_factory=list, compare=False, repr=False)
        total: int = field(init=False, repr=False, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", sum(self.sizes))

    @dataclass(frozen=True, slots=True, eq=False)
    class Single:
        name: str

    return Record, Single


OWN, OWN_SINGLE = _classes(records.dataclass)
LIBRARY, LIBRARY_SINGLE = _classes(dataclasses.dataclass)
CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    (("a",), {}),
    (("a", (1, 2)), {"more": {"x": 1}}),
    ((), {"name": "b", "known": [1]}),
)


@dataclasses.dataclass(frozen=True)
class Other:
    name: str


@records.dataclass(frozen=True, slots=True)
class Kept:
    """Of a module, so that pickle finds it."""

    name: str
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(("given", "named"), CALLS)
def test_a_record_says_what_the_library_s_would(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    own, library = OWN(*given, **named), LIBRARY(*given, **named)
    assert repr(own) == repr(library)
    assert dataclasses.asdict(own) == dataclasses.asdict(library)
    assert [each.name for each in dataclasses.fields(own)] == [each.name for each in dataclasses.fields(library)]
    assert not hasattr(own, "__dict__")


@pytest.mark.parametrize("first", CALLS)
@pytest.mark.parametrize("second", CALLS)
def test_records_are_equal_where_the_library_s_are(first: Any, second: Any) -> None:
    own = OWN(*first[0], **first[1]), OWN(*second[0], **second[1])
    library = LIBRARY(*first[0], **first[1]), LIBRARY(*second[0], **second[1])
    assert (own[0] == own[1]) == (library[0] == library[1])
    assert (hash(own[0]) == hash(own[1])) == (hash(library[0]) == hash(library[1]))


def test_a_record_equals_none_of_another_class() -> None:
    assert Kept("a") != Other("a")
    assert Kept("a").__eq__(Other("a")) is NotImplemented
    assert OWN_SINGLE("a") != OWN_SINGLE("a"), "without `eq`, each is equal to itself alone"


def test_what_two_records_begin_with_is_not_shared() -> None:
    OWN("a").known.append(1)
    assert OWN("b").known == []


def test_a_record_cannot_be_changed() -> None:
    record = OWN("a")
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        record.name = "b"
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
        del record.name
    with pytest.raises(FrozenInstanceError):
        record.unknown = 1


def test_a_record_is_replaced_copied_and_kept() -> None:
    assert replace(OWN("a"), sizes=(1, 2)).total == 3
    assert replace(Kept("a"), sizes=(2,)) == Kept("a", (2,))
    for other in (copy.copy(Kept("a")), copy.deepcopy(Kept("a")), pickle.loads(pickle.dumps(Kept("a")))):
        assert other == Kept("a")


def test_a_call_that_lacks_a_field_is_told_of_which_class() -> None:
    with pytest.raises(TypeError, match=r"Record\.__init__\(\) missing 1 required positional argument: 'name'"):
        OWN()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        OWN("a", nothing=1)
