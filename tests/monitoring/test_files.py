"""Prometheus takes the files as they are, and every panel's expression is one that it understands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from compiler.targets.monitoring.dashboard import dashboard
from compiler.targets.monitoring.panels import WINDOW
from tests.monitoring.promtool import monitoring_of, run_promtool, team_plan, write_monitoring
from tests.unit.plan_samples import UUIDS, monitored, one_on_cpu, one_on_two_gpus, two_on_one_gpu

PLANS = {
    "team": team_plan(),
    "duo": monitored(two_on_one_gpu()),
    "uuids": monitored(one_on_two_gpus()),
    "cpu": monitored(one_on_cpu()),
    "seldom": monitored(two_on_one_gpu(), scrape_seconds=120),
    "often": monitored(two_on_one_gpu(), scrape_seconds=5),
}


@pytest.fixture(params=PLANS.values(), ids=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    chosen: Plan = request.param
    return chosen


def test_prometheus_accepts_configuration_and_rules(plan: Plan, tmp_path: Path) -> None:
    folder = write_monitoring(plan, tmp_path)
    for name in ("prometheus.yml", "prometheus-compose.yml"):
        done = run_promtool("check", "config", "--lint=all", "--lint-fatal", folder / name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "rules found" in done.stdout


def test_prometheus_understands_every_panel(plan: Plan, tmp_path: Path) -> None:
    queries = dashboard(plan, monitoring_of(plan)).queries
    rules = [
        {"record": f"panel:{number}", "expr": query.expression.replace(WINDOW, "5m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "panels.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = run_promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_a_panel_that_prometheus_does_not_understand_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "panels.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": [{"record": "a", "expr": "sum by (x"}]}]}))
    assert run_promtool("check", "rules", path).returncode != 0


def test_a_device_is_named_as_the_plan_names_it(tmp_path: Path) -> None:
    rules = (write_monitoring(PLANS["uuids"], tmp_path) / "rules.yml").read_text()
    for uuid in UUIDS:
        assert f'DCGM_FI_DEV_XID_ERRORS{{stack="pair",node="gpu02",UUID="{uuid}"}} > 0' in rules


def test_a_service_name_with_a_dash_is_no_pattern(tmp_path: Path) -> None:
    plan = replace(PLANS["team"], stack="a-b")
    done = run_promtool("check", "rules", write_monitoring(plan, tmp_path) / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
