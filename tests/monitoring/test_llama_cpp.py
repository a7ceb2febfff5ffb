"""Alerts on llama-server's own signals, beside a server of vLLM: each fires where it should."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from compiler.plan.lowering.operations import server_metrics
from tests.monitoring.promtool import Moment, Samples, check_moment, run_promtool, series, write_monitoring
from tests.unit.gguf_samples import beside_vllm
from tests.unit.plan_samples import monitored, two_on_one_gpu, with_service

LABELS = {"stack": "duo", "service": "general"}
SLOTS = 2


@cache
def plan() -> Plan:
    """`coder` on vLLM and `general` on llama.cpp, with a key that Prometheus has to show."""
    made = with_service(beside_vllm(), "general", concurrency=SLOTS, max_num_seqs=SLOTS)
    metrics = server_metrics(engine.host for engine in made.engines.values())
    return replace(made, monitoring=monitored(two_on_one_gpu(), metrics=metrics).monitoring)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monitoring(plan(), tmp_path_factory.mktemp("both"))


def of(name: str, service: str = "general") -> str:
    place = {"stack": "duo", "node": plan().node.name, "service": service, "revision": "stable"}
    return series(name, instance=service, **place)


def own(**values: str) -> Samples:
    return {of(f"llamacpp:{name}"): sequence for name, sequence in values.items()}


UP = {of("up"): "1x60"}
# A counter that begins again with each start.
THRICE, TWICE = "0+9x5 0+9x5 0+9x5 0+9x5", "0+9x5 0+9x5 0+9x20"
START = 60 + plan().service("general").timeouts.start // 60
CASES: dict[str, tuple[str, Samples, int, bool]] = {
    "down for good": ("ServerDown", {of("up", "coder"): "1x120", of("up"): "0x120"}, START, True),
    "of the other engine": ("ServerDown", {of("up", "coder"): "0x120", of("up"): "1x120"}, START, False),
    "does not answer": ("ServerUnreachable", {of("up"): "0x20"}, 5, True),
    "without --metrics": ("MetricsMissing", UP, 7, True),
    "with metrics": ("MetricsMissing", {**UP, **own(requests_processing="0x60")}, 7, False),
    "vLLM's metrics are not its own": (
        "MetricsMissing",
        {**UP, series("vllm:num_requests_running", instance="general", **LABELS): "0x60"},
        7,
        True,
    ),
    "a third restart": ("ServerRestarts", own(prompt_tokens_total=THRICE), 23, True),
    "an upgrade and back": ("ServerRestarts", own(prompt_tokens_total=TWICE), 23, False),
    "more wait than run": ("QueueLong", own(requests_deferred="3x60", requests_processing="2x60"), 12, True),
    "as many wait as run": ("QueueLong", own(requests_deferred="2x60", requests_processing="2x60"), 12, False),
}


@pytest.mark.parametrize("case", CASES)
def test_an_alert_fires_where_it_should(case: str, folder: Path, tmp_path: Path) -> None:
    alert, samples, minute, fires = CASES[case]
    check_moment(folder / "rules.yml", samples, Moment(alert, LABELS, minute, fires), tmp_path)


def test_prometheus_takes_the_files(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    text = (folder / "prometheus.yml").read_text()
    assert plan().secrets.api_key is not None
    text = text.replace(str(plan().secrets.api_key), str(key)).replace("rules.yml", str(folder / "rules.yml"))
    (tmp_path / "prometheus.yml").write_text(text)
    done = run_promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
