"""When an alert fires: every number of it, worked out from the plan, with its reason.

Seconds and shares are judgements where no source is named; each is one constant here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from compiler.plan.ir import DeviceLedger, Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.deployment import PREFLIGHT_SECONDS
from compiler.units import MIB

_MINUTE = 60
# A rate needs two readings; of four one may fail and another come late.
_READINGS_PER_WINDOW = 4
_SHORTEST_WINDOW = 5 * _MINUTE
_UNREACHABLE_SECONDS = 2 * _MINUTE
_QUEUE_SECONDS = 10 * _MINUTE
# An upgrade is one restart, and taking it back another; a third within the time of as many starts is a loop.
_RESTARTS = 2
_SHORTEST_LOOP = 60 * _MINUTE

GENERATING = ("chat", "completion")
"""Tasks whose answers are tokens, one after another: only they have a first one, and a time between two."""

KV_CACHE_FULL = 0.95
"""Share of the KV cache; beyond it the next long request displaces another one."""

ERROR_SHARE = 0.05
"""Of the requests of a server."""

ABORTED_SHARE = 0.5
"""Of the requests that ended. Some clients always leave early; when most do, answers come too late for them."""

CANDIDATE_FACTOR = 2.0
"""How many times worse a candidate may be than the revision that it is to replace."""

CANDIDATE_ERROR_SHARE = 0.01
"""Fewer errors than this are no reason to stop a rollout, however few the other revision has."""


@dataclass(frozen=True, slots=True)
class ServerThresholds:
    """Of one server. Times are seconds.

    Attributes:
        window: over which rates are taken.
        hold: longer than the window, so that no single request makes an alert.
        unreachable: until somebody should know. A planned start takes longer, and ends by itself.
        down: after which no start of its own is under way any more: preflight and load have had their deadlines.
        queue: requests that wait while as many run as the KV cache promises at full context.
        restarts: that are no loop yet, within `restart_window`.
        num_blocks: of the KV cache, and `block_size` tokens in each.
    """

    window: int
    hold: int
    unreachable: int
    down: int
    queue: int
    queue_seconds: int
    restarts: int
    restart_window: int
    num_blocks: int
    block_size: int


def server_thresholds(monitoring: Monitoring, service: Service) -> ServerThresholds:
    """The numbers of one server's alerts."""
    window = rate_window(monitoring)
    down = PREFLIGHT_SECONDS + service.timeouts.start
    return ServerThresholds(
        window=window,
        hold=2 * window,
        unreachable=max(_UNREACHABLE_SECONDS, 2 * monitoring.scrape_seconds),
        down=max(_UNREACHABLE_SECONDS, down),
        queue=service.concurrency,
        queue_seconds=_QUEUE_SECONDS,
        restarts=_RESTARTS,
        restart_window=max(_SHORTEST_LOOP, (_RESTARTS + 1) * down),
        num_blocks=service.kv_cache.num_blocks,
        block_size=service.kv_cache.block_size,
    )


def rate_window(monitoring: Monitoring) -> int:
    """Seconds over which rates are taken."""
    return max(_SHORTEST_WINDOW, _READINGS_PER_WINDOW * monitoring.scrape_seconds)


def server_labels(service: Service) -> tuple[tuple[str, str], ...]:
    """By which all series of one server are told from those of others: its service, and which replica it is."""
    replica = (("replica", service.name),) if service.replicas > 1 else ()
    return (("service", service.of), *replica)


def waits_for(plan: Plan, service: Service) -> tuple[str, ...]:
    """Services that start before this one, also by way of a third: while one is down, this one does not begin."""
    found: dict[str, None] = {}
    waiting = list(service.start_after)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += plan.service(name).start_after
    return tuple(found)


def memory_limit_mib(device: DeviceLedger) -> int:
    """The most that the ledger allows on a GPU, with what is reserved there for others."""
    return math.ceil(device.used.high / MIB)
