"""A machine with cards of several models is as many nodes to the solver: a server does not leave those of one model.

They keep what they share: ports, folders and a plan are the machine's, and its GPUs are numbered through.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import GPUS
from compiler.spec.nodes.counted import entry_of
from compiler.spec.nodes.models import GpusSpec, NodePart, NodeSpec

SEPARATOR = "/"
"""Between the name of a machine and the place of a part's cards in its list; no written name has one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Cards of a machine that one server may be divided over: of one model, or of one compute capability.

    Attributes:
        cards: their records, in the order of the machine's list.
        indices: of each card on the machine.
        place: of the first record in that list.
    """

    cards: tuple[GpusSpec, ...]
    indices: tuple[int, ...]
    place: int


def kinds_of(node: NodeSpec) -> tuple[Kind, ...]:
    """The cards of a machine, with those together that a server may have, in the order of their first ones."""
    found: dict[Hashable, Kind] = {}
    first = 0
    for place, gpus in enumerate(node.cards):
        alike = _capability(gpus) if node.mixed else gpus.model_copy(update={"count": 1, "uuids": ()})
        here = Kind((gpus,), tuple(range(first, first + gpus.count)), place)
        found[alike] = _joined(found[alike], here) if alike in found else here
        first += gpus.count
    return tuple(found.values())


def _joined(kind: Kind, more: Kind) -> Kind:
    return Kind((*kind.cards, *more.cards), (*kind.indices, *more.indices), kind.place)


def _capability(gpus: GpusSpec) -> str:
    """What the kernels of a card follow from; that of a card that is not known is refused by the checks."""
    known = GPUS.get(gpus.model or "")
    return gpus.compute_capability or (".".join(map(str, known.compute_capability)) if known is not None else "")


def with_parts(nodes: Mapping[str, NodeSpec]) -> dict[str, NodeSpec]:
    """Every machine with several kinds of cards in its parts, of which the first has the machine's own name."""
    return dict(part for name, node in nodes.items() for part in _parts(name, node))


def _parts(name: str, node: NodeSpec) -> Iterator[tuple[str, NodeSpec]]:
    kinds = kinds_of(node)
    if len(kinds) <= 1:
        yield name, node
        return
    largest = max(kinds, key=lambda kind: (sum(map(_memory, kind.cards)), -kind.place))
    for position, kind in enumerate(kinds):
        own = {**dict(node), "cards": kind.cards, "memory": node.memory if kind is largest else None}
        key = name if position == 0 else f"{name}{SEPARATOR}{kind.place}"
        yield key, NodePart.model_construct(**own, node=name, indices=kind.indices, whole=node)


def _memory(gpus: GpusSpec) -> int:
    """Bytes of all cards of a record; none where the checks refuse them."""
    known = GPUS.get(gpus.model or "")
    return gpus.count * (gpus.memory or (known.memory if known is not None else 0))


def machine_of_part(name: str) -> str:
    """The machine that a node or a part of one is."""
    return name.partition(SEPARATOR)[0]


def entry_of_part(name: str, node: NodeSpec) -> str:
    """The entry of a file that it is of."""
    return entry_of(machine_of_part(name), node.count)


def whole(node: NodeSpec) -> NodeSpec:
    """The machine that a part is of."""
    return node.whole if isinstance(node, NodePart) else node


def node_words(name: str, node: NodeSpec) -> str:
    """A node of the solver, for messages: the machine, or the cards of one model on it."""
    machine = f"node `{machine_of_part(name)}`"
    if not isinstance(node, NodePart):
        return machine
    numbers = ", ".join(map(str, node.indices))
    return f"GPU{'s' if len(node.indices) > 1 else ''} {numbers} of {machine}"


def index_on_machine(node: NodeSpec, device: int) -> int:
    """Of a device of a part, among all of the machine."""
    return node.indices[device] if isinstance(node, NodePart) and node.indices else device


def index_in_part(node: NodeSpec, index: int) -> int | None:
    """The reverse; None for a device of another part."""
    if not isinstance(node, NodePart):
        return index
    return node.indices.index(index) if index in node.indices else None
