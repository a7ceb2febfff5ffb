"""The whole page of one or more stacks, as a template fills it in: words and geometry, nothing to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler import __version__
from compiler.pipeline import Explained
from compiler.plan.ir import CpuNode, Plan, Verdict
from compiler.report import capacity, traffic
from compiler.report.costs import node_figure, token_figures
from compiler.report.ledgers import DeviceView, device_view, look_of
from compiler.report.notes import Figure, Notes
from compiler.report.picture import colors_of
from compiler.report.services import ServiceRow, ServiceView, service_row, service_view
from compiler.report.timeline import Timeline, timeline
from compiler.report.traffic import Traffic
from compiler.report.usage import PartKind, device_uses

MOST_DETAILS = 40
"""Services of a page that are described in full where none is asked for by name: more nobody reads."""

MOST_ROWS = 2000
_MOST_DEVICES, _MOST_STARTS, _MOST_WAYS = 128, 100, 60


@dataclass(frozen=True, slots=True)
class NodeView:
    """One machine."""

    id: str
    name: str
    machine: str
    cost: Figure | None
    verdict: str
    fits: bool
    devices: tuple[DeviceView, ...]
    devices_left_out: int
    services: tuple[ServiceRow, ...]
    services_left_out: int
    timeline: Timeline
    traffic: Traffic
    details: tuple[ServiceView, ...]


@dataclass(frozen=True, slots=True)
class StackView:
    """One stack.

    Attributes:
        undescribed: how many services are not described in full.
    """

    id: str
    name: str
    engine: str
    nodes: tuple[NodeView, ...]
    undescribed: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a part of a bar looks like, and what it is called."""

    look: str
    name: str


@dataclass(frozen=True, slots=True)
class Page:
    """All of it. `notes`: the sources, of which the first is number 1."""

    title: str
    version: str
    stacks: tuple[StackView, ...]
    notes: tuple[str, ...]
    looks: tuple[Look, ...]
    curve_size: tuple[int, int]
    traffic_width: int


def report_page(stacks: Mapping[str, Explained], named: frozenset[str] = frozenset()) -> Page:
    """The page of stacks that compile.

    Args:
        stacks: by name, each with plans.
        named: services to describe in full; the first MOST_DETAILS where it is empty.
    """
    notes = Notes()
    views = tuple(
        _stack(f"s{index}", name, explained, named, notes) for index, (name, explained) in enumerate(stacks.items())
    )
    return Page(
        title=", ".join(list(stacks)[:3]) + (f" and {len(stacks) - 3} more" if len(stacks) > 3 else ""),  # noqa: PLR2004
        version=__version__,
        stacks=views,
        notes=notes.sources,
        looks=tuple(Look(look_of(kind), kind.value) for kind in PartKind),
        curve_size=(capacity.WIDTH, capacity.HEIGHT),
        traffic_width=traffic.WIDTH,
    )


def _stack(id_: str, name: str, explained: Explained, named: frozenset[str], notes: Notes) -> StackView:
    services = [service.name for plan in explained.plans for service in plan.services]
    described = [each for each in services if each in named] if named else services[:MOST_DETAILS]
    nodes = tuple(
        _node(f"{id_}n{index}", plan, explained, frozenset(described), notes)
        for index, plan in enumerate(explained.plans)
    )
    return StackView(id_, name, " and ".join(explained.plans[0].releases), nodes, len(services) - len(described))


def _node(id_: str, plan: Plan, explained: Explained, described: frozenset[str], notes: Notes) -> NodeView:
    colors, uses = colors_of(plan), device_uses(plan)
    node = plan.node
    cost, tokens = node_figure(plan, notes), token_figures(plan, notes)  # numbered as they are met on the page
    return NodeView(
        id=id_,
        name=node.name,
        machine="CPU" if isinstance(node, CpuNode) else node.described(),
        cost=cost,
        verdict=plan.verdict.value,
        fits=plan.verdict is Verdict.FITS,
        devices=tuple(device_view(use, colors, notes) for use in uses[:_MOST_DEVICES]),
        devices_left_out=max(0, len(uses) - _MOST_DEVICES),
        services=tuple(
            service_row(
                plan,
                each,
                (colors[each.name], f"{id_}-{each.name}" if each.name in described else ""),
                tokens[each.name],
                notes,
            )
            for each in plan.services[:MOST_ROWS]
        ),
        services_left_out=max(0, len(plan.services) - MOST_ROWS),
        timeline=timeline(plan, colors, notes, _MOST_STARTS),
        traffic=traffic.traffic(plan, colors, _MOST_WAYS),
        details=tuple(
            service_view(f"{id_}-{service.name}", plan, service, explained, colors[service.name])
            for service in plan.services
            if service.name in described
        ),
    )
