"""Each alert fires where it should, and not where almost everything is the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.targets.monitoring import rule_file
from tests.monitoring.promtool import (
    Moment,
    Samples,
    check_description,
    check_moment,
    monitoring_of,
    series,
    team_plan,
    write_monitoring,
)

STACK, NODE = "team-96gb", "gpu01"
REVISIONS = {"coder": "stable", "general": "stable", "general-candidate": "candidate"}
BLOCKS = str(team_plan().service("coder").kv_cache.num_blocks)
GPUS = {"stack": STACK, "node": NODE, "job": "team-96gb-gpu01-gpus", "instance": "127.0.0.1:9400"}


def of(service: str, name: str, **labels: str) -> str:
    """A series of a server, with what the scrape adds."""
    place = {"stack": STACK, "node": NODE, "service": service, "revision": REVISIONS[service]}
    return series(name, instance=service, job="team-96gb-gpu01-servers", **place, **labels)


def vllm(service: str, name: str, **labels: str) -> str:
    return of(service, f"vllm:{name}", model_name=service.removesuffix("-candidate"), engine="0", **labels)


def gpu(name: str, number: str = "0") -> str:
    return series(f"DCGM_FI_DEV_{name}", gpu=number, UUID="GPU-x", **GPUS)


def latency(service: str, name: str, bound: float, share: float, slow: float) -> dict[str, str]:
    """A histogram of 1000 observations a minute: that share stays below the bound, the rest below `slow`."""
    below = f"0+{share * 1000:.0f}x60"
    return {
        vllm(service, f"{name}_bucket", le=str(bound)): below,
        vllm(service, f"{name}_bucket", le=str(slow)): "0+1000x60",
        vllm(service, f"{name}_bucket", le="+Inf"): "0+1000x60",
    }


def statuses(service: str, failed: int, of_thousand: int = 1000) -> dict[str, str]:
    path = {"handler": "/v1/chat/completions", "method": "POST"}
    answered = {of(service, "http_requests_total", status="2xx", **path): f"0+{of_thousand - failed}x60"}
    # A server that never failed has no series of failures.
    failures = {of(service, "http_requests_total", status="5xx", **path): f"0+{failed}x60"} if failed else {}
    return answered | failures


@dataclass(frozen=True, slots=True)
class Case:
    """One alert of one service or GPU, on series of an hour."""

    title: str
    alert: str
    samples: Samples
    minute: int
    fires: bool
    service: str | None = "coder"

    @property
    def moment(self) -> Moment:
        labels = {"stack": STACK} | ({"service": self.service} if self.service else {"node": NODE})
        return Moment(self.alert, labels, self.minute, self.fires)


def server_cases() -> Iterator[Case]:
    up, down = {of("coder", "up"): "1x60"}, {of("coder", "up"): "0x60"}
    start = (300 + team_plan().service("coder").timeouts.start) // 60
    yield Case("longer than any start", "ServerDown", down, start + 2, True)
    yield Case("still within a start", "ServerDown", down, start - 1, False)
    yield Case("up", "ServerDown", up, start + 2, False)
    behind = {of("general", "up"): "0x60"}
    yield Case("the one before is up", "ServerDown", up | behind, start + 2, True, "general")
    yield Case("waits for the one before", "ServerDown", down | behind, 59, False, "general")
    yield Case(
        "the one before has just come", "ServerDown", {of("coder", "up"): "0x40 1x19"} | behind, 59, False, "general"
    )
    yield Case("for three minutes", "ServerUnreachable", down, 3, True)
    yield Case("for one minute", "ServerUnreachable", down, 1, False)
    yield Case("came back", "ServerUnreachable", {of("coder", "up"): "0 0 1x20"}, 4, False)
    running = {vllm("coder", "num_requests_running"): "0x60"}
    yield Case("no metrics", "MetricsMissing", up, 7, True)
    yield Case("metrics", "MetricsMissing", up | running, 7, False)
    yield Case("down, which is another alert", "MetricsMissing", down, 7, False)
    yield Case("third restart", "ServerRestarts", restarts("10x5 20x5 30x5 40x5"), 20, True)
    yield Case("upgrade and back", "ServerRestarts", restarts("10x5 20x5 30x10"), 20, False)


def restarts(values: str) -> dict[str, str]:
    return {of("coder", "process_start_time_seconds"): values}


def load_cases() -> Iterator[Case]:
    promised = team_plan().service("coder").concurrency
    yield Case("more wait than are promised", "QueueLong", queue(promised + 1, promised), 12, True)
    yield Case("as many wait as are promised", "QueueLong", queue(promised, promised), 12, False)
    yield Case("many short ones run", "QueueLong", queue(promised + 1, promised + 1), 12, False)
    yield Case("not for long", "QueueLong", queue(promised + 1, promised), 9, False)
    yield Case("full and displacing", "KvCacheFull", cache("0.96x60", "0+1x60"), 12, True)
    yield Case("full, nobody displaced", "KvCacheFull", cache("0.96x60", "7x60"), 12, False)
    yield Case("displaced at the limit", "KvCacheFull", cache("0.95x60", "0+1x60"), 12, False)
    yield Case("nothing moves", "EngineStalled", work("2x60", "9x60", "0.4x60"), 10, True)
    yield Case("tokens come", "EngineStalled", work("2x60", "0+1x60", "0.4x60"), 10, False)
    yield Case("a long prompt fills the cache", "EngineStalled", work("2x60", "9x60", "0.1+0.01x60"), 10, False)
    yield Case("idle", "EngineStalled", work("0x60", "9x60", "0.4x60"), 10, False)
    yield Case("first request after a pause", "EngineStalled", work("0x8 2x50", "9x60", "0.4x60"), 10, False)


def queue(waiting: int, running: int) -> dict[str, str]:
    return {
        vllm("coder", "num_requests_waiting"): f"{waiting}x60",
        vllm("coder", "num_requests_running"): f"{running}x60",
    }


def cache(used: str, displaced: str) -> dict[str, str]:
    return {vllm("coder", "kv_cache_usage_perc"): used, vllm("coder", "num_preemptions_total"): displaced}


def work(running: str, iterations: str, used: str) -> dict[str, str]:
    return {
        vllm("coder", "num_requests_running"): running,
        vllm("coder", "iteration_tokens_total_count"): iterations,
        vllm("coder", "kv_cache_usage_perc"): used,
    }


def answer_cases() -> Iterator[Case]:
    first, next_ = "time_to_first_token_seconds", "inter_token_latency_seconds"
    yield Case("94 of 100 in time", "FirstTokenSlow", latency("coder", first, 5.0, 0.94, 7.5), 15, True)
    yield Case("96 of 100 in time", "FirstTokenSlow", latency("coder", first, 5.0, 0.96, 7.5), 15, False)
    yield Case("only one reading", "FirstTokenSlow", latency("coder", first, 5.0, 0.94, 7.5), 5, False)
    yield Case("94 of 100 in time", "TokensSlow", latency("coder", next_, 0.2, 0.94, 0.3), 15, True)
    yield Case("96 of 100 in time", "TokensSlow", latency("coder", next_, 0.2, 0.96, 0.3), 15, False)
    yield Case("51 of 1000 fail", "RequestErrors", statuses("coder", 51), 15, True)
    yield Case("49 of 1000 fail", "RequestErrors", statuses("coder", 49), 15, False)
    yield Case("none fails", "RequestErrors", statuses("coder", 0), 15, False)
    yield Case("one fails inside", "EngineErrors", ended(error="0 0 1x60"), 3, True)
    yield Case("failures of the past", "EngineErrors", ended(error="7x60"), 10, False)
    yield Case("one is aborted", "EngineErrors", ended(abort="0 0 1x60", error="0x60"), 3, False)
    yield Case("51 of 100 leave", "RequestsAborted", ended(abort="0+51x60", stop="0+49x60"), 15, True)
    yield Case("49 of 100 leave", "RequestsAborted", ended(abort="0+49x60", stop="0+51x60"), 15, False)
    yield Case("other blocks", "KvCacheNotAsPlanned", config("61", "16"), 7, True)
    yield Case("other block size", "KvCacheNotAsPlanned", config(BLOCKS, "32"), 7, True)
    yield Case("as planned", "KvCacheNotAsPlanned", config(BLOCKS, "16"), 7, False)


def ended(**by_reason: str) -> dict[str, str]:
    return {
        vllm("coder", "request_success_total", finished_reason=reason): values for reason, values in by_reason.items()
    }


def config(blocks: str, size: str) -> dict[str, str]:
    return {of("coder", "vllm:cache_config_info", engine="0", num_gpu_blocks=blocks, block_size=size): "1x60"}


def gpu_cases() -> Iterator[Case]:
    up, used = series("up", **GPUS), gpu("FB_USED")
    yield Case("exporter is down", "GpuMetricsMissing", {up: "0x60"}, 12, True, None)
    yield Case("exporter has other names", "GpuMetricsMissing", {up: "1x60"}, 12, True, None)
    yield Case("exporter answers", "GpuMetricsMissing", {up: "1x60", used: "9x60"}, 12, False, None)
    yield Case("fell off the bus", "GpuError", {gpu("XID_ERRORS"): "0x9 79x50"}, 10, True, None)
    yield Case("no error", "GpuError", {gpu("XID_ERRORS"): "0x60"}, 10, False, None)
    yield Case("a GPU of others", "GpuError", {gpu("XID_ERRORS", "1"): "79x60"}, 10, False, None)
    limit = -(-team_plan().devices[0].used.high // 2**20)
    yield Case("a stranger", "GpuMemoryBeyondPlan", {used: f"{limit + 1}x60"}, 7, True, None)
    yield Case("all that is planned", "GpuMemoryBeyondPlan", {used: f"{limit}x60"}, 7, False, None)


def rollout_cases() -> Iterator[Case]:
    def both(stable: int, candidate: int) -> dict[str, str]:
        return statuses("general", stable) | statuses("general-candidate", candidate)

    def first(service: str, bound: float, slow: float, share: float = 0.0) -> dict[str, str]:
        return latency(service, "time_to_first_token_seconds", bound, share, slow)

    name = "general-candidate"
    yield Case("fails 3 times as often", "CandidateErrors", both(10, 30), 15, True, name)
    yield Case("fails almost twice as often", "CandidateErrors", both(16, 30), 15, False, name)
    yield Case("the other one never fails", "CandidateErrors", both(0, 30), 15, True, name)
    yield Case("a failure now and then", "CandidateErrors", both(0, 9), 15, False, name)
    yield Case("both fail alike", "CandidateErrors", both(300, 300), 15, False, name)
    slow, fast = first(name, 2.5, 5.0), first("general", 0.5, 0.75)
    yield Case("much later", "CandidateSlow", slow | fast, 15, True, name)
    other = first("general", 1.0, 2.5)
    yield Case("almost twice as late", "CandidateSlow", first(name, 2.5, 5.0, 0.3) | other, 15, False, name)
    idle = dict.fromkeys(slow, "0x60")
    yield Case("no requests yet", "CandidateSlow", idle | fast, 15, False, name)


CASES = [*server_cases(), *load_cases(), *answer_cases(), *gpu_cases(), *rollout_cases()]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monitoring(team_plan(), tmp_path_factory.mktemp("team")) / "rules.yml"


@pytest.mark.parametrize("case", CASES, ids=[f"{case.alert}-{case.title.replace(' ', '-')}" for case in CASES])
def test_it_fires_only_where_it_should(case: Case, rules: Path, tmp_path: Path) -> None:
    check_moment(rules, case.samples, case.moment, tmp_path)


def test_every_alert_has_a_case_that_fires_and_one_that_nearly_does() -> None:
    plan = team_plan()
    names = {alert.name for alert in rule_file(plan, monitoring_of(plan)).alerts}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names


SAID = {
    "EngineErrors": (ended(error="0+1x60"), "5 requests ended with an internal error, some of them in the middle of"),
    "FirstTokenSlow": (
        latency("coder", "time_to_first_token_seconds", 5.0, 0.94, 7.5),
        "1 of 20 requests waits 5.417s or longer for its first token; the objective is 5 s.",
    ),
    "GpuError": (
        {gpu("XID_ERRORS"): "79x60"},
        "The driver's last error of it is XID 79; coder, general, general-candidate on it may hang",
    ),
    "KvCacheNotAsPlanned": (
        config("61", "16"),
        f"Its KV cache has 61 blocks of 16 tokens; the plan says {BLOCKS} of 16.",
    ),
    "RequestErrors": (statuses("coder", 51), "5.1% of its requests get a status of 500 or above; more than 5% are"),
    "ServerRestarts": (restarts("10x2 20x2 30x2 40x60"), "3 restarts within 94 minutes; more than 2 are no upgrade."),
}


@pytest.mark.parametrize("name", SAID)
def test_people_are_told_the_numbers(name: str, rules: Path, tmp_path: Path) -> None:
    samples, description = SAID[name]
    check_description(rules, samples, name, description, tmp_path)
