"""What several targets must agree on: places, names and deadlines that follow from the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import Engine, Gateway, GpuNode, Plan, Rollout, Service

# Without its own folder on PATH, an engine that compiles kernels does not find the `ninja` installed beside it.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_USER_LETTERS = 31
"""What systemd and useradd take at most (UT_NAMESIZE)."""

PREFLIGHT_WAIT = 120
"""Seconds for which a unit's preflight waits for memory and a port that a dying predecessor still holds."""

PREFLIGHT_SECONDS = PREFLIGHT_WAIT + 180
"""All that preflight may take: its wait, and a cold start of `vllm --version`."""

RESTART_SECONDS = 20
"""Seconds before a server that failed starts again: the driver frees the memory of its processes late."""

_GATEWAY_STOP_SECONDS = 300
# From the cut of what is still open to the supervisor's own end, and then to systemd's kill.
_GATEWAY_CUT_SECONDS = 15

START_BURST = 5
"""Starts within the limit's interval, by systemd or by hand, after which it refuses another one."""

WRONG_KEYS_PER_SECOND = 5
"""Wrong keys of one address that the gateway still answers with 401; right keys of the same address are not counted.
Guessing the shortest key that is taken (8 of 69 characters) takes a million years at that pace."""

_ADDRESS_CONNECTIONS = 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a supervisor grants one server. Each ends after the one inside it, whose message says more.

        start: the engine's own (VLLM_ENGINE_READY_TIMEOUT_S) < `poll` of bin/wait-ready < `start` of the unit
        stop:  `drain` of the server (--shutdown-timeout) < `cut` of lib/supervise < `stop`

    Attributes:
        restart: between a failure and the next start.
        burst: starts within `interval` after which there is none any more; even the slowest ones reach it. No limit
            where `interval` is 0.
    """

    poll: int
    start: int
    drain: int
    cut: int
    stop: int
    restart: int
    burst: int
    interval: int


def search_path(engine: Engine) -> str:
    """PATH of what runs on the machine itself."""
    return f"{PurePosixPath(engine.program).parent}:{_SYSTEM_PATH}"


def user_of(stack: str) -> str:
    """The system user that runs a stack's units, and no other stack's.

    A name that does not fit ends in a digest. Such names have all letters that there may be, and the others fewer, so
    that no name of one kind is one of the other.
    """
    name = f"stackc-{stack}"
    if len(name) < _USER_LETTERS:
        return name
    digest = hashlib.sha256(stack.encode()).hexdigest()[:8]
    return f"{name[: _USER_LETTERS - len(digest) - 1]}-{digest}"


def deadlines(plan: Plan, service: Service) -> Deadlines:
    """The whole chain of one server; its engine decides what the server alone needs."""
    start, stop = start_seconds(plan, service), service.timeouts.stop
    once = start + stop + RESTART_SECONDS
    return Deadlines(
        poll=ready_seconds(plan, service),
        start=start,
        drain=service.timeouts.drain,
        cut=cut_seconds(service),
        stop=stop,
        restart=RESTART_SECONDS,
        burst=START_BURST,
        # Whether all machines of a group are there is no fault of this one, so it tries again without end.
        interval=(START_BURST + 1) * once if service.group is None else 0,
    )


def cut_seconds(service: Service) -> int:
    """How long lib/supervise lets a server finish: its drain, and half of the rest for answers still on their way."""
    drain, stop = service.timeouts.drain, service.timeouts.stop
    return drain + (stop - drain) // 2


def gateway_stop_seconds(gateway: Gateway) -> int:
    """How long a gateway may take to stop: its longest answer, within reason, for it takes no new request meanwhile."""
    return min(_GATEWAY_STOP_SECONDS, max(route.read_timeout for route in gateway.routes))


def supervised(tree: str, service: Service) -> tuple[str, ...]:
    """The command that runs a server of the tree in the folder `tree`, and bounds its end."""
    options = ("--name", service.name, "--port", str(service.port), "--seconds", str(cut_seconds(service)))
    # The part of a server that spans machines runs only as long as all others do.
    joined = () if service.group is None else (f"{tree}/bin/join-group", service.name, "--")
    return (f"{tree}/lib/supervise", *options, "--", *joined, f"{tree}/bin/launch-{service.name}")


def supervised_gateway(tree: str, gateway: Gateway) -> tuple[str, ...]:
    """The same for the gateway. nginx ends its open answers on SIGQUIT and drops them on SIGTERM."""
    seconds = gateway_stop_seconds(gateway) - _GATEWAY_CUT_SECONDS
    options = ("--name", "gateway", "--port", str(gateway.port), "--seconds", str(seconds))
    signal = ("--signal", "QUIT") if gateway.kind == "nginx" else ()
    return (f"{tree}/lib/supervise", *options, *signal, "--", f"{tree}/bin/gateway", "run")


def shared_devices(plan: Plan, service: Service) -> tuple[int, ...]:
    """Devices of a service whose start locks it takes, ascending: every launcher takes its locks in this order.

    They are those on which another one runs too, and one of all there measures what is free.
    """
    if not isinstance(plan.node, GpuNode):
        return ()
    return tuple(device for device in sorted(service.devices) if _is_measured(plan, device))


def _is_measured(plan: Plan, device: int) -> bool:
    there = [service for service in plan.services if device in service.devices]
    return len(there) > 1 and any(service.measures for service in there)


def lock_wait(plan: Plan, service: Service) -> int:
    """Seconds after which every server that can hold this one's start lock is ready or has given up."""
    return sum(other.timeouts.ready for other in _neighbours(plan, service))


def _neighbours(plan: Plan, service: Service) -> tuple[Service, ...]:
    """Services joined to this one through shared devices, also by way of a third: one may wait while holding a lock."""
    joined, devices = {service.name}, set(shared_devices(plan, service))
    grown = bool(devices)
    while grown:
        found = [other for other in plan.services if other.name not in joined and devices & set(other.devices)]
        joined |= {other.name for other in found}
        devices |= {device for other in found for device in shared_devices(plan, other)}
        grown = bool(found)
    return tuple(other for other in plan.services if other.name in joined - {service.name})


def start_seconds(plan: Plan, service: Service) -> int:
    """The worst start of a service: preflight, the start lock, and the load itself."""
    return PREFLIGHT_SECONDS + lock_wait(plan, service) + service.timeouts.start


def ready_seconds(plan: Plan, service: Service) -> int:
    """How long a supervisor that began with the process waits for it; shorter than `start_seconds`."""
    return lock_wait(plan, service) + service.timeouts.ready


def cache_environment(root: str, engines: Iterable[Engine]) -> tuple[tuple[str, str], ...]:
    """Variables that send every cache of these engines below one writable folder."""
    caches = dict(each for engine in engines for each in engine.host.caches)
    return (
        ("HOME", root),
        ("HF_HOME", f"{root}/hf"),
        ("XDG_CACHE_HOME", f"{root}/cache"),
        *((variable, f"{root}/cache/{folder}") for variable, folder in caches.items()),
    )


def rollout_fingerprint(plan: Plan, rollout: Rollout) -> str:
    """What a share of the requests was decided for: the engine, both revisions, and the share that the spec gives."""
    stable, candidate = plan.service(rollout.stable), plan.service(rollout.candidate)
    revisions = (stable.revision, candidate.revision)
    parts = (plan.engine_of(stable).version, *revisions, rollout.strategy, str(rollout.weight))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def address_connections(gateway: Gateway) -> int:
    """Requests of one address at once, of which behind a proxy or a NAT many clients have one.

    An eighth of what the gateway's workers hold (4 of 4096 connections each, two for a request), or all that the
    servers run and queue together, if that is more.
    """
    return max(_ADDRESS_CONNECTIONS, gateway.connections)
