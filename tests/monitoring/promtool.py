"""Asking Prometheus' own tool: whether files are valid, and whether an alert fires on given series."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring import emit_monitoring
from tests.conftest import ROOT, tool

Samples = Mapping[str, str]


@cache
def team_plan() -> Plan:
    """The plan of the shipped stack with gateway, rollout and monitoring."""
    path = ROOT / "stacks" / "team-96gb.yaml"
    compiled, found = compile_stack(path, path.name)
    assert compiled is not None, found
    return compiled.plan


def monitoring_of(plan: Plan) -> Monitoring:
    assert plan.monitoring is not None
    return plan.monitoring


def write_monitoring(plan: Plan, folder: Path) -> Path:
    """Everything below `monitoring/`, in a folder; the path of that."""
    for artifact in emit_monitoring(plan):
        path = folder / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(artifact.text, encoding="utf-8")
    return folder / "monitoring"


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """A minute at which an alert is asked for."""

    alert: str
    labels: Mapping[str, str]
    minute: int
    fires: bool


def series(name: str, **labels: str) -> str:
    """A series with its labels, as promtool reads it."""
    return f"{name}{{{','.join(f'{label}={json.dumps(value)}' for label, value in labels.items())}}}"


def check_moment(rules: Path, samples: Samples, moment: Moment, folder: Path) -> None:
    """Let the rules see one sample a minute, and ask whether the alert fires."""
    asked = series("ALERTS", alertname=moment.alert, alertstate="firing", **moment.labels)
    case = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in samples.items()],
                "promql_expr_test": [_expectation(f"count({asked})", f"{moment.minute}m", moment.fires)],
            }
        ],
    }
    path = folder / "case.json"
    path.write_text(json.dumps(case))  # JSON is YAML
    done = run_promtool("test", "rules", path)
    assert done.returncode == 0, f"{moment}\n{done.stdout}{done.stderr}"


def check_description(rules: Path, samples: Samples, alert: str, description: str, folder: Path) -> None:
    """Let an alert fire for a while, and compare what people are sent."""
    groups = YAML(typ="safe", pure=True).load(rules.read_text())["groups"]
    chosen = [rule for group in groups for rule in group["rules"] if rule["alert"] == alert]
    for rule in chosen:
        rule["annotations"] = {"description": rule["annotations"]["description"]}
    alone = folder / "alone.json"
    alone.write_text(json.dumps({"groups": [{"name": "alone", "rules": chosen}]}))
    inputs = [{"series": name, "values": values} for name, values in samples.items()]
    # An alert that is not expected is reported with all that it says.
    asked = [{"eval_time": "20m", "alertname": alert, "exp_alerts": []}]
    case = {"rule_files": [str(alone)], "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": asked}]}
    path = folder / "case.json"
    path.write_text(json.dumps(case))
    done = run_promtool("test", "rules", path)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f'description="{description}' in said, said


def _expectation(expression: str, at: str, fires: bool) -> dict[str, object]:
    samples: Sequence[object] = [{"labels": "{}", "value": 1}] if fires else []
    return {"expr": expression, "eval_time": at, "exp_samples": samples}
