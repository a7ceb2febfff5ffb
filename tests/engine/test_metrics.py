"""A real server exposes the metrics of the catalog, and Prometheus' tool reads what it says."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from compiler.catalog.metrics import Metric
from compiler.engines.vllm.host.metrics import OF_DRAFTS, load_metrics
from tests.conftest import ROOT, tool
from tests.engine.engine_process import CPU_RELEASE, PLAIN_RELEASES, engine_python, free_port, parser_environment
from tests.engine.prometheus import run_prometheus
from tests.engine.stack import STACKC, Stack, server_environment

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_extracting_again_changes_nothing(version: str) -> None:
    command = [str(engine_python()), str(ROOT / "tools/extract_metrics.py"), "--check"]
    result = subprocess.run(command, env=parser_environment(version), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def watched(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with monitoring, which has answered the smoke test's requests."""
    folder = tmp_path_factory.mktemp("watched")
    port = free_port()
    spec = folder / "tiny.yaml"
    spec.write_text(
        "stack: tiny\n"
        f"engine: {{vllm: {CPU_RELEASE}}}\n"
        "nodes: {here: {cpu: {memory: 6GiB}}}\n"
        f"services: {{tiny: {{model: {tiny_model}, context: 256, concurrency: 4, port: {port}}}}}\n"
        "monitoring: {ttft_p95_seconds: 2.5, scrape_seconds: 5}\n"
    )
    tree = folder / "tree"
    for arguments in (["lock", str(spec)], ["compile", str(spec), "--output", str(tree)]):
        command = [sys.executable, "-c", "from compiler.cli.main import main; main()", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{STACKC}: {result.stdout}{result.stderr}"
    stack = Stack(next(tree.rglob("plan.json")).parent, port, server_environment(folder))
    with stack.serve():
        smoke = stack.run("smoke-test", "--format", "json")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        checks = {check["check"]: check for check in json.loads(smoke.stdout)["checks"]}
        assert checks["rule-metrics"]["status"] == "ok"
        yield stack


@pytest.fixture(scope="module")
def exposed(watched: Stack) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", watched.port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def labels_of(text: str, series: str) -> list[dict[str, str]]:
    lines = re.findall(rf"^{re.escape(series)}(?:\{{(.*)\}})? ", text, re.MULTILINE)
    return [dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line)) for line in lines]


def test_every_metric_of_the_catalog_is_exposed_with_its_labels(exposed: str) -> None:
    metrics = load_metrics(CPU_RELEASE).metrics.values()
    # Those of drafts are asked of servers that draft, in test_drafts.py.
    for metric in (each for each in metrics if each not in OF_DRAFTS):
        for series in metric.series:
            found = labels_of(exposed, series)
            assert found, f"{series} is not exposed"
            assert set(found[0]) - {"le"} == metric.labels, series
        check_values(exposed, metric)


def check_values(exposed: str, metric: Metric) -> None:
    """The values that the catalog has for a label, and the histogram's bounds, are the server's."""
    found = labels_of(exposed, metric.series[0])
    for label, values in metric.values.items():
        assert {labels[label] for labels in found} == set(values), metric.name
    if metric.buckets:
        bounds = {float(labels["le"]) for labels in found} - {float("inf")}
        assert bounds == set(metric.buckets), metric.name


def test_failures_are_counted_under_the_label_that_the_rules_ask_for(watched: Stack, exposed: str) -> None:
    statuses = {labels["status"] for labels in labels_of(exposed, "http_requests_total")}
    # Over-long requests were refused; a failure of the server would be the third group.
    assert statuses == {"2xx", "4xx"}
    rules = YAML(typ="safe", pure=True).load((watched.tree / "monitoring/rules.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert any('http_requests_total{stack="tiny",service="tiny",status="5xx"}' in each for each in expressions)


def test_prometheus_reads_what_the_server_says(exposed: str) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    # Its advice about names and help texts is 3; what it cannot read is 1.
    assert done.returncode in (0, 3), done.stderr
    assert "error while linting" not in done.stderr


def test_prometheus_scrapes_evaluates_and_draws_the_real_server(watched: Stack, tmp_path: Path) -> None:
    """The emitted files as they are: labels, rules and panels meet on a server's own series."""
    monitoring = watched.tree / "monitoring"
    panels = json.loads((monitoring / "grafana/dashboards/tiny.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    with run_prometheus(monitoring / "prometheus.yml", tmp_path) as prometheus:
        prometheus.wait_for('rate(vllm:iteration_tokens_total_count{service="tiny"}[1m])', 60)
        (target,) = prometheus.targets()
        assert target["health"] == "up", target["lastError"]
        place = {"stack": "tiny", "node": "here", "service": "tiny", "revision": "stable"}
        assert place.items() <= target["labels"].items()
        empty = [each for each in expressions if not prometheus.query(each.replace("$__rate_interval", "1m"))]
        assert not empty, "a panel without any series"
        # A rule's first evaluation may come after the first reading.
        prometheus.wait_for("count_over_time(up[1m]) >= 4", 60)
        assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
        # The server is the planned one, and it is well.
        assert {rule["name"] for rule in prometheus.rules() if rule["state"] != "inactive"} == set()
