"""Whether the machines that one entry of a spec counts can each have a name of its own."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.nodes.counted import LONGEST, MOST_NODES, clashing_entries, counted_names, is_too_long
from compiler.spec.reading.load import SpecFile
from compiler.units import counted


def check_counted(file: SpecFile) -> Iterator[Diagnostic]:
    """Entries that stand uncounted, and why."""
    waiting = {name: node.count for name, node in file.spec.nodes.items() if node.count and _is_written(file, name)}
    total = sum(node.count or 1 for node in file.spec.written_nodes.values())
    if waiting and total > MOST_NODES:
        yield _too_many(file, max(waiting, key=lambda name: waiting[name] or 0), total)
        return
    yield from _check_addresses(file)
    clashes = clashing_entries(file.spec.nodes)
    for name, count in waiting.items():
        if count and is_too_long(name, count):
            yield _too_long(file, name, count)
        elif name in clashes:
            yield _clash(file, name, clashes[name])


def _check_addresses(file: SpecFile) -> Iterator[Diagnostic]:
    """A list of addresses has one for each machine."""
    for entry, node in file.spec.written_nodes.items():
        given, count = len(node.addresses), node.count or 1
        if given > 1:
            message = f"{given} addresses for {counted(count, 'machine')}"
            help_ = Help("write that of the first, and the others count on from it; or as many as there are machines")
            yield Diagnostic("E0240", message, file.at("nodes", entry, "address"), helps=(help_,))


def _is_written(file: SpecFile, name: str) -> bool:
    """Whether a node stands in the file under its own name: those that were counted out do not."""
    return name in file.document.data["nodes"]


def _too_many(file: SpecFile, name: str, total: int) -> Diagnostic:
    message = f"the stack would have {total} nodes, {total - MOST_NODES} more than the {MOST_NODES} of one stack"
    left = (file.spec.nodes[name].count or 1) - (total - MOST_NODES)
    where = ("nodes", name, "count")
    edit = (Edit(where, left),) if left > 0 else ()
    text = f"write `count: {left}`, and the others in a stack of their own" if edit else "write several stacks"
    return Diagnostic("E0240", message, file.at(*where), helps=(Help(text, edit),))


def _too_long(file: SpecFile, name: str, count: int) -> Diagnostic:
    last = counted_names(name, count)[-1]
    message = f"`{last}` would be a name of {len(last)} letters, and a node's has {LONGEST} at most"
    help_ = Help(f"give the entry a name of {LONGEST - len(last) + len(name)} letters at most")
    return Diagnostic("E0240", message, file.at_key("nodes", name), helps=(help_,))


def _clash(file: SpecFile, name: str, other: str) -> Diagnostic:
    count = file.spec.nodes[name].count or 1
    message = f"one of the {count} machines of `{name}` would be called `{other}`, as another node is"
    if not _is_written(file, other):
        help_ = Help("give one of the entries another name")
        return Diagnostic("E0240", message, file.at_key("nodes", name), helps=(help_,))
    notes = (f"`{other}` stands at {file.at_key('nodes', other).span}",)
    help_ = Help(f"remove `{other}`, if it is one of them", (Edit(("nodes", other), None),))
    return Diagnostic("E0240", message, file.at("nodes", name, "count"), notes, (help_,))
