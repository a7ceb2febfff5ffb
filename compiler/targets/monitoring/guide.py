"""`monitoring/README.md`: how to load these files, and what to do about each alert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compiler.engines.interface.host import Signal
from compiler.plan.ir import Plan
from compiler.plan.operations import Monitoring
from compiler.render.quoting import MarkdownCode
from compiler.targets.monitoring.rules import Alert, RuleFile
from compiler.targets.monitoring.shared_alerts import served_by
from compiler.targets.monitoring.thresholds import GENERATING


@dataclass(frozen=True, slots=True)
class Runbook:
    """What an alert means, and steps in the order in which they help."""

    meaning: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert with all the servers or GPUs that it watches: (what, after how long, what to do first)."""

    name: str
    severity: str
    runbook: Runbook
    watched: tuple[tuple[MarkdownCode, str, str], ...]


@dataclass(frozen=True, slots=True)
class Guide:
    """The whole file.

    Attributes:
        unwatched: objectives of the spec, each with the servers that measure nothing of the kind.
        guarded: servers whose metrics ask for the key.
    """

    stack: str
    install: str
    releases: tuple[str, ...]
    has_compose: bool
    has_grafana: bool
    has_gateway: bool
    has_dcgm: bool
    port: int
    grafana_port: int
    dcgm_port: int
    unwatched: tuple[tuple[str, str], ...]
    guarded: tuple[str, ...]
    entries: tuple[Entry, ...]


def guide(plan: Plan, monitoring: Monitoring, rules: RuleFile) -> Guide:
    """The guide as a document."""
    return Guide(
        stack=plan.stack,
        install=plan.paths.current,
        releases=plan.releases,
        has_compose="compose" in plan.targets,
        has_grafana=monitoring.has_grafana,
        has_gateway=plan.gateway is not None,
        has_dcgm=monitoring.has_dcgm,
        port=monitoring.port,
        grafana_port=monitoring.grafana_port,
        dcgm_port=monitoring.dcgm_port,
        unwatched=tuple(_unwatched(plan)),
        guarded=_guarded(plan),
        entries=tuple(_entries(plan, rules)),
    )


def _guarded(plan: Plan) -> tuple[str, ...]:
    if plan.secrets.api_key is None:
        return ()
    return tuple(each.name for each in plan.services if plan.engine_of(each).host.guards_metrics)


def _unwatched(plan: Plan) -> Iterator[tuple[str, str]]:
    for signal, what in _OBJECTIVES.items():
        names = (
            f"`{service.name}`"
            for service in plan.services
            if service.task in GENERATING and signal not in plan.engine_of(service).host.signals
        )
        if servers := ", ".join(names):
            yield what, servers


def _entries(plan: Plan, rules: RuleFile) -> Iterator[Entry]:
    engine = " or ".join(plan.titles)
    hosts = [plan.engines[name].host for name in served_by(plan)]
    for name in dict.fromkeys(alert.name for alert in rules.alerts):
        alerts = [alert for alert in rules.alerts if alert.name == name]
        watched = tuple((_subject(alert), _hold(alert), alert.action) for alert in alerts)
        runbook = _with_engine(RUNBOOKS[name], engine)
        more = tuple(step for host in hosts for step in host.manual.steps.get(name, ()))
        yield Entry(name, alerts[0].severity.value, replace(runbook, steps=(*runbook.steps, *more)), watched)


def _with_engine(runbook: Runbook, engine: str) -> Runbook:
    texts = (text.replace(_ENGINE, engine) for text in (runbook.meaning, *runbook.steps))
    return Runbook(next(texts), tuple(texts))


def _subject(alert: Alert) -> MarkdownCode:
    labels = dict(alert.labels)
    return MarkdownCode(labels.get("replica") or labels.get("service") or f"GPU {labels.get('gpu', 'exporter')}")


def _hold(alert: Alert) -> str:
    return f"after {alert.hold / 60:g} minutes" if alert.hold else "at once"


_ENGINE = "{engine}"
_OBJECTIVES = {
    Signal.FIRST_TOKEN: "Whether first tokens come in time",
    Signal.NEXT_TOKEN: "Whether further tokens come in time",
}

RUNBOOKS = {
    "ServerDown": Runbook(
        "The server has not answered for longer than any planned start of its own takes.",
        (
            "The status says whether it failed or still starts; the log's last lines say why.",
            "Preflight exits with 10 driver, 11 another GPU, 12 memory, 13 disk, 14 port, 15 model, "
            "16 {engine}'s version.",
            "No way to repair it now: install the version before.",
        ),
    ),
    "ServerUnreachable": Runbook(
        "The server does not answer. A planned restart looks the same and ends by itself; if it does not, ServerDown "
        "follows.",
        ("Nothing, if somebody has just restarted or upgraded the stack.", "Otherwise go on as with ServerDown."),
    ),
    "ReplicasMissing": Runbook(
        "Some replicas of a service have not answered for longer than a start of theirs may take.",
        (
            "The others answer, with more to do each: see the queue on the dashboard before anything is restarted.",
            "Go on as with ServerDown for each that is missing.",
        ),
    ),
    "NoReplicaAnswers": Runbook(
        "All replicas of a service on this machine are silent. What they have in common is at fault, or all of them "
        "were restarted at once.",
        (
            "Nothing, if somebody has just restarted or upgraded the stack; next time restart one after another.",
            "Look at what they share: the driver, the disk with the model, the machine's memory.",
            "Go on as with ServerDown.",
        ),
    ),
    "MetricsMissing": Runbook(
        "Something answers on the server's port, but it is not a {engine} that counts. Its other alerts are blind.",
        ("Run the smoke test: it says what is different.", "Restart the server from its unit or its container."),
    ),
    "ServerRestarts": Runbook(
        "The server became ready several times in a row, so it starts well and fails under load.",
        (
            "Look in the log for what stands before each start: out of memory, a CUDA error, a signal.",
            "Out of memory on the GPU: see GpuMemoryBeyondPlan.",
        ),
    ),
    "EngineStalled": Runbook(
        "Requests are running, and neither tokens come nor does the KV cache change. The process lives, so no "
        "supervisor restarts it.",
        (
            "Keep the log. `py-spy dump` on the engine's process shows where it hangs.",
            "With GpuError at the same time the GPU is the cause: a restart alone may not help.",
            "Restart the server; requests that run are lost.",
        ),
    ),
    "QueueLong": Runbook(
        "More requests wait than run, so each newcomer waits for at least one whole answer of another.",
        ("Find out which client sends more than usual.", "If this load is normal now, the plan is too small for it."),
    ),
    "KvCacheFull": Runbook(
        "The KV cache is full, and requests are thrown out of it and computed again: work is done twice.",
        ("As with QueueLong. Longer contexts than usual have the same effect as more requests.",),
    ),
    "FirstTokenSlow": Runbook(
        "More than 1 of 20 requests waits longer for its first token than the spec's objective allows.",
        (
            "With a queue: as with QueueLong.",
            "Without: long prompts. See whether the prefix cache still finds what it used to find.",
        ),
    ),
    "TokensSlow": Runbook(
        "Tokens of an answer come further apart than the spec's objective allows.",
        (
            "Many requests at once, or long prompts between: lower the concurrency or `max_num_batched_tokens`.",
            "Few requests: see the GPU's temperature, and who else works on it.",
        ),
    ),
    "RequestErrors": Runbook(
        "The server answers with HTTP 500 or above.",
        ("The log has the reason of each.", "A dead engine makes every request fail: restart the server."),
    ),
    "EngineErrors": Runbook(
        "Requests failed inside the engine. A streamed answer that has begun breaks off, with status 200.",
        ("The log has the reason of each.",),
    ),
    "RequestsAborted": Runbook(
        "Most requests end because the client, or a proxy between, closed the connection.",
        ("Compare time-outs of clients and proxies with the time to first token and of whole answers.",),
    ),
    "KvCacheNotAsPlanned": Runbook(
        "The server's KV cache has another size than the plan's, so it is another server: memory and capacity are not "
        "what was proven.",
        (
            "Compare the running command line with the launch script.",
            "Install the tree again and restart the server.",
        ),
    ),
    "GpuMetricsMissing": Runbook(
        "NVIDIA's exporter does not answer, or not with the metrics that the rules ask for.",
        (
            "Start it, or give it a set of counters with the names that rules.yml uses.",
            "Releases from 4.9.0 on have other names and units by default.",
        ),
    ),
    "GpuError": Runbook(
        "The driver reported an XID error. Which one decides: some are a program's fault, some a defect.",
        (
            "`dmesg | grep -i xid` shows when and which process.",
            "NVIDIA's XID catalog says whether to restart the program, to reset the GPU, or to replace it.",
            "The number stays until the driver is loaded again: silence the alert once the cause is known.",
        ),
    ),
    "GpuMemoryBeyondPlan": Runbook(
        "The GPU holds more than the ledger's upper bound for all its servers and the reserve.",
        (
            "`nvidia-smi` names the processes. A server that survived its unit is ended by its process id.",
            "If only planned servers run there, the ledger is wrong: please report it with their logs.",
        ),
    ),
    "CandidateErrors": Runbook(
        "The new revision fails much more often than the one that it is to replace.",
        ("Send all requests to the stable revision again.", "Then read the candidate's log."),
    ),
    "CandidateSlow": Runbook(
        "The new revision's first token comes much later than that of the one that it is to replace.",
        (
            "See whether it gets as many requests as planned: a cold prefix cache is slower at first.",
            "Lower its weight, or take it back.",
        ),
    ),
}
"""By the alert's name; `{engine}` stands for the titles of the stack's engines."""
