"""`slurm/`: the stack as a job, of one node, or of those that one server spans.

A job asks for whole nodes: the ledger is of all that a GPU has, and GPUs are numbered as on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import GpuNode, Plan, Slurm
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import render
from compiler.targets.deployment import (
    cache_environment,
    gateway_stop_seconds,
    ready_seconds,
    search_path,
    supervised,
    supervised_gateway,
)

SLURM = PurePosixPath("slurm")

# Beside the longest stop of a server, before Slurm kills what is left.
_STOP_MARGIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class JobServer:
    """A server, and the command that runs it in the folder of its tree."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """`slurm/STACK.sbatch`.

    Attributes:
        options: of sbatch, each a word.
        start_seconds: of each server, after which its start is given up.
        nodes: that the one server spans; none where the job has one node.
        gateway: what runs it; empty without one.
    """

    stack: str
    options: tuple[str, ...]
    servers: tuple[JobServer, ...]
    start_seconds: tuple[int, ...]
    nodes: tuple[str, ...]
    gateway: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


def emit_slurm(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `slurm/`; nothing for a node with a part of what another node's job runs."""
    if plan.slurm is None or not plan.answering:
        return ()
    return (Artifact(job_path(plan), render("slurm/job.j2", job=job(plan, plan.slurm)), EXECUTABLE),)


def job_path(plan: Plan) -> PurePosixPath:
    """Where the job is."""
    return SLURM / f"{plan.stack}.sbatch"


def job(plan: Plan, slurm: Slurm) -> Job:
    """The job of a node as a document."""
    gateway = () if plan.gateway is None else supervised_gateway(".", plan.gateway)
    own = (
        ("STACKC_NGINX", plan.paths.nginx),
        ("STACKC_LITELLM", plan.paths.litellm),
        ("STACKC_STATE_DIR", plan.paths.state),
    )
    return Job(
        stack=plan.stack,
        options=tuple(_options(plan, slurm)),
        servers=tuple(JobServer(each.name, supervised(".", each)) for each in plan.services),
        start_seconds=tuple(ready_seconds(plan, each) for each in plan.services),
        nodes=_nodes(plan),
        gateway=gateway,
        environment=(
            ("PATH", search_path(plan.engine)),
            *((engine.host.program.variable, engine.program) for engine in plan.engines.values()),
            *(own if gateway else ()),
            *cache_environment(plan.paths.state, plan.engines.values()),
        ),
    )


def _nodes(plan: Plan) -> tuple[str, ...]:
    groups = (service.group for service in plan.services if service.group is not None)
    return next((tuple(member.node for member in group.members) for group in groups), ())


def _options(plan: Plan, slurm: Slurm) -> Iterator[str]:
    nodes = _nodes(plan)
    yield f"--job-name={plan.stack}{f'-{plan.folder}' if plan.folder else ''}"
    yield f"--partition={slurm.partition}"
    for name in ("account", "qos", "time", "constraint"):
        value = getattr(slurm, name)
        if value is not None:
            yield f"--{name}={value}"
    yield f"--nodes={len(nodes) or 1}"
    if plan.folder:
        # Addresses and the places of servers are those of these machines.
        yield f"--nodelist={','.join(nodes or (plan.node.name,))}"
    yield "--ntasks-per-node=1"
    if slurm.gres is not None and isinstance(plan.node, GpuNode):
        yield f"--gres={slurm.gres}:{plan.node.count}"
    yield "--exclusive"
    yield "--mem=0"
    yield f"--signal=B:TERM@{_stop_seconds(plan)}"
    yield "--output=%x-%j.log"


def _stop_seconds(plan: Plan) -> int:
    stops = [service.timeouts.stop for service in plan.services]
    stops += [] if plan.gateway is None else [gateway_stop_seconds(plan.gateway)]
    return max(stops) + _STOP_MARGIN_SECONDS
