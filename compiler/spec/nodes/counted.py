"""Machines that are alike stand in one entry of a spec: `gpu` with `count: 64` is the nodes gpu-01 to gpu-64.

Everything downstream sees nodes, each with a name of its own. Places and edits are those of the entry, which is what
the file has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.spec.nodes.models import GpusSpec, NodeSpec

MOST_NODES = 10_000
"""Of a stack: far more than one spec has services for, and few enough to be held in memory."""

# Names are parts of paths and of host names, and no longer than those that are written.
LONGEST = 41


def counted_names(entry: str, count: int) -> list[str]:
    """What the machines of an entry are called; their numbers are of one width, so that they sort as they count."""
    width = max(2, len(str(count)))
    return [f"{entry}-{number:0{width}}" for number in range(1, count + 1)]


def entry_of(node: str, count: int | None) -> str:
    """The entry that a node is of: itself, where none counts it."""
    entry, _, number = node.rpartition("-")
    return entry if count is not None and entry and number.isdigit() else node


def with_counted(nodes: dict[str, NodeSpec]) -> dict[str, NodeSpec]:
    """Every machine as a node of its own. An entry that cannot be counted out stays, for the checks to say why."""
    if len(nodes) + sum(node.count or 0 for node in nodes.values()) > MOST_NODES:
        return nodes
    return dict(_counted_out(nodes))


def _counted_out(nodes: dict[str, NodeSpec]) -> Iterator[tuple[str, NodeSpec]]:
    taken = clashing_entries(nodes)
    for entry, node in nodes.items():
        if node.count is None or entry in taken or is_too_long(entry, node.count):
            yield entry, node
            continue
        for number, name in enumerate(counted_names(entry, node.count)):
            yield name, _numbered(node, number)


def _numbered(node: NodeSpec, number: int) -> NodeSpec:
    """One of the machines of an entry: with its own of what the entry lists for all of them."""
    if not node.addresses and not any(gpus.uuids for gpus in node.cards):
        return node
    count = node.count or 1
    cards = tuple(_own(gpus, number, count) for gpus in node.cards)
    return node.model_copy(update={"cards": cards, "addresses": _addresses(node, number, count)})


def _addresses(node: NodeSpec, number: int, count: int) -> tuple[str, ...]:
    """A machine's own of the list, or so far beyond the first; what cannot be counted stays for the checks."""
    if len(node.addresses) == count:
        return (node.addresses[number],)
    if len(node.addresses) != 1:
        return node.addresses
    try:
        return (str(ipaddress.ip_address(node.addresses[0]) + number),)
    except ValueError:  # it is a name, or behind the last address there is
        return node.addresses


def _own(gpus: GpusSpec, number: int, count: int) -> GpusSpec:
    """A machine's cards; where the entry has not as many UUIDs as cards, they stay for the checks to count."""
    if len(gpus.uuids) != count * gpus.count:
        return gpus
    return gpus.model_copy(update={"uuids": gpus.uuids[number * gpus.count : (number + 1) * gpus.count]})


def clashing_entries(nodes: Mapping[str, NodeSpec]) -> dict[str, str]:
    """Entries with a count of which a machine would be called as another node is, each with that name."""
    owners: dict[str, list[str]] = {name: [name] for name in nodes}
    for entry, node in nodes.items():
        for name in counted_names(entry, node.count) if node.count is not None else ():
            owners.setdefault(name, []).append(entry)
    clashes = ((entry, name) for name, entries in owners.items() if len(entries) > 1 for entry in entries)
    return {entry: name for entry, name in clashes if nodes[entry].count is not None}


def is_too_long(entry: str, count: int) -> bool:
    """Whether the names of its machines would be longer than a name may be."""
    return len(counted_names(entry, 1)[0]) - 2 + max(2, len(str(count))) > LONGEST
