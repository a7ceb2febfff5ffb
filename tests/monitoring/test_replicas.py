"""Alerts of a service with replicas: one that is down, some, and all."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from tests.monitoring.promtool import Moment, Samples, check_moment, run_promtool, series, write_monitoring
from tests.unit.plan_samples import monitored, two_on_one_gpu, with_service

SERVICE = {"stack": "duo", "service": "coder"}
FIRST, SECOND = {**SERVICE, "replica": "coder"}, {**SERVICE, "replica": "general"}


@cache
def plan() -> Plan:
    """Both servers are of one service; the second starts after the first, with which it shares a GPU."""
    made = with_service(monitored(two_on_one_gpu()), "coder", replicas=2)
    return with_service(made, "general", replicas=2, replica_of="coder", served_name="coder")


def up(first: str, second: str) -> Samples:
    place = {"node": plan().node.name, "revision": "stable", **SERVICE}
    return {
        series("up", instance=name, replica=name, **place): values
        for name, values in (("coder", first), ("general", second))
    }


START = 300 // 60 + max(plan().service(name).timeouts.start for name in ("coder", "general")) // 60
CASES: dict[str, tuple[str, dict[str, str], Samples, int, bool]] = {
    "one is down": ("ServerDown", FIRST, up("0x120", "1x120"), START + 2, True),
    "and the other is not": ("ServerDown", SECOND, up("0x120", "1x120"), START + 2, False),
    "the second waits for the first": ("ServerDown", SECOND, up("0x120", "0x120"), START + 2, False),
    "one of two": ("ReplicasMissing", SERVICE, up("1x120", "0x120"), START + 2, True),
    "one of two still starts": ("ReplicasMissing", SERVICE, up("1x120", "0x120"), START - 1, False),
    "both answer": ("ReplicasMissing", SERVICE, up("1x120", "1x120"), START + 2, False),
    "none answers": ("NoReplicaAnswers", SERVICE, up("0x120", "0x120"), 5, True),
    "one is enough": ("NoReplicaAnswers", SERVICE, up("1x120", "0x120"), START + 2, False),
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monitoring(plan(), tmp_path_factory.mktemp("replicas")) / "rules.yml"


@pytest.mark.parametrize("case", CASES)
def test_an_alert_fires_where_it_should(case: str, rules: Path, tmp_path: Path) -> None:
    alert, labels, samples, minute, fires = CASES[case]
    check_moment(rules, samples, Moment(alert, labels, minute, fires), tmp_path)


def test_prometheus_takes_the_rules(rules: Path) -> None:
    done = run_promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr
