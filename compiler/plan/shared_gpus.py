"""Replicas of one service that share a GPU: they start, and serve no more than one would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.diagnostics import Diagnostic, Help
from compiler.plan.ir import CpuNode, Plan
from compiler.spec.reading.load import SpecFile
from compiler.units import counted

# A device, by its node, and the replicas of one service that run on it.
_Sharing = dict[str, list[str]]


def replicas_that_share(file: SpecFile, plans: Iterable[Plan]) -> Iterator[Diagnostic]:
    """W0255 for each service that has several servers on one GPU, or on one node without any."""
    plans = tuple(plans)
    services = dict.fromkeys(each.of for plan in plans for each in plan.services if each.replicas > 1)
    for name in services:
        shared = {place: names for place, names in _places(name, plans).items() if len(names) > 1}
        if shared:
            yield _warning(file, name, shared)


def _places(service: str, plans: Iterable[Plan]) -> _Sharing:
    found: _Sharing = {}
    for plan in plans:
        for each in plan.services:
            for device in each.devices if each.of == service else ():
                place = plan.node.name if isinstance(plan.node, CpuNode) else f"{plan.node.name}:{device}"
                found.setdefault(place, []).append(each.name)
    return found


def _warning(file: SpecFile, service: str, shared: _Sharing) -> Diagnostic:
    place, names = next(iter(shared.items()))
    others = f", and so it is on {counted(len(shared) - 1, 'more GPU')}" if len(shared) > 1 else ""
    message = f"replicas of `{service}` share {place}: {', '.join(names)}{others}"
    notes = (
        "they read the same weights with the same memory, turn by turn, and hold them twice: one of them alone, with "
        "the room of both for its KV cache, serves as much",
    )
    helps = (
        Help("ask for no more `replicas` than there are GPUs beside the other services"),
        Help("keep it so where the second is to answer while the first is restarted: `--warnings W0255=allow`"),
    )
    return Diagnostic("W0255", message, file.at("services", service, "replicas"), notes, helps)
