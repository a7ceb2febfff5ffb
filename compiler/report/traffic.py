"""Which way a request goes: through the gateway and its routes, or to each server's own port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.ir import Plan, Route
from compiler.report.lines import rollout_text
from compiler.report.paint import shortened
from compiler.targets.readme.tables import entrance_address, http_address

WIDTH = 680
_ROW, _TOP = 46, 8
_BOX = 34
# Where ways begin: at the gateway's box, or at the clients'; they bend, and run straight into the servers.
_FROM_GATEWAY, _FROM_CLIENTS, _BEND, _SERVERS = 254, 70, 52, 444
# Of a font of 12 units.
_LETTERS_OF_DOOR, _LETTERS_OF_SERVER, _LETTERS_OF_NAME = 21, 31, 19


@dataclass(frozen=True, slots=True)
class Stop:
    """A server at the end of a way.

    Attributes:
        y: of its box; `middle` is where its line ends.
        path: of that line.
        label: beside the line: the model's name in requests, and its part of them.
        title: the whole of what is shortened.
    """

    name: str
    address: str
    color: int
    y: int
    middle: int
    path: str
    label: str
    title: str
    is_candidate: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """A picture of WIDTH × `height`.

    Attributes:
        door: the kind of the gateway, empty where there is none; `address` where it listens.
        door_y: of its box, `door_middle` its middle.
        sentences: rollouts and limits in words.
    """

    height: int
    door: str
    address: str
    door_y: int
    door_middle: int
    stops: tuple[Stop, ...]
    sentences: tuple[str, ...]
    left_out: int


def traffic(plan: Plan, colors: dict[str, int], most: int) -> Traffic:
    """The picture of one node."""
    ways = list(_ways(plan))
    shown = ways[:most]
    height = max(1, len(shown)) * _ROW + 2 * _TOP
    gateway = plan.gateway
    stops = tuple(_stop(plan, colors, index, way, height) for index, way in enumerate(shown))
    return Traffic(
        height=height,
        door=gateway.kind if gateway is not None else "",
        address=shortened(entrance_address(gateway, gateway.host), _LETTERS_OF_DOOR, "…") if gateway else "",
        door_y=height // 2 - _BOX // 2,
        door_middle=height // 2,
        stops=stops,
        sentences=tuple(_sentences(plan)),
        left_out=len(ways) - len(shown),
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """Requests for a name that go to a service; `part` is percent of them, where they are divided."""

    name: str
    service: str
    part: int | None = None
    is_candidate: bool = False


def _ways(plan: Plan) -> Iterator[_Way]:
    if plan.gateway is None:
        yield from (_Way(service.served_name, service.name) for service in plan.services)
        return
    for route in plan.gateway.routes:
        yield from _of_route(route)


def _of_route(route: Route) -> Iterator[_Way]:
    rollout = route.rollout
    if rollout is None:
        yield from (_Way(route.name, server) for server in route.servers)
        return
    yield from (_Way(route.name, server, 100 - rollout.weight) for server in route.servers)
    yield from (_Way(route.name, server, rollout.weight, is_candidate=True) for server in rollout.servers)


def _stop(plan: Plan, colors: dict[str, int], index: int, way: _Way, height: int) -> Stop:
    service = plan.service(way.service)
    middle = _TOP + index * _ROW + _ROW // 2
    start = _FROM_CLIENTS if plan.gateway is None else _FROM_GATEWAY
    bend, center = start + _BEND, height // 2
    part = "" if way.part is None else f" {way.part} %"
    address = http_address(service.host, service.port)
    return Stop(
        name=shortened(way.service, _LETTERS_OF_SERVER, "…"),
        address=shortened(address, _LETTERS_OF_SERVER, "…"),
        # A server of another node has its colour on the page of that node.
        color=colors.get(way.service, 0),
        y=middle - _BOX // 2,
        middle=middle,
        path=f"M{start} {center}C{start + 30} {center} {bend - 30} {middle} {bend} {middle}H{_SERVERS}",
        label=shortened(way.name, _LETTERS_OF_NAME - len(part), "…") + part,
        title=f"requests for {way.name}{part} go to {way.service} at {address}",
        is_candidate=way.is_candidate,
    )


def _sentences(plan: Plan) -> Iterator[str]:
    gateway = plan.gateway
    if gateway is None:
        yield "Clients talk to each server at its own address."
        return
    yield from (f"Rollout: {rollout_text(rollout)}." for rollout in gateway.rollouts)
    if gateway.requests_per_second is not None:
        yield f"A client may send {gateway.requests_per_second} requests a second, {gateway.burst} at once beyond that."
