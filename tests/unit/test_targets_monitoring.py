"""The monitoring follows the plan: its thresholds, its targets and its names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from compiler.plan.ir import Plan
from compiler.targets.monitoring import emit_monitoring, rule_file
from compiler.targets.monitoring.dashboard import dashboard
from compiler.targets.monitoring.guide import RUNBOOKS
from compiler.targets.monitoring.panels import Dashboard, Panel, Query, Row, Unit, dashboard_json
from compiler.targets.monitoring.promql import metric_names, metrics_of
from compiler.targets.monitoring.rules import Alert, Group, RuleFile, Severity
from compiler.units import GIB, ByteRange
from tests.plain_yaml import read_yaml
from tests.unit.plan_samples import monitored, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service

PLAN = monitored(two_on_one_gpu())


def files(plan: Plan) -> dict[str, str]:
    return {str(artifact.path): artifact.text for artifact in emit_monitoring(plan)}


def load(text: str) -> Any:
    return read_yaml(text)


def alerts(plan: Plan) -> dict[tuple[str, tuple[tuple[str, str], ...]], Alert]:
    assert plan.monitoring is not None
    return {(alert.name, alert.labels): alert for alert in rule_file(plan, plan.monitoring).alerts}


def alert(plan: Plan, name: str, service: str) -> Alert:
    return next(
        found for (title, labels), found in alerts(plan).items() if title == name and ("service", service) in labels
    )


def with_rollout(plan: Plan) -> Plan:
    return with_service(plan, "general", candidate_of="coder", served_name="coder")


def with_replicas(plan: Plan) -> Plan:
    """Both servers are of one service, of which a third runs elsewhere."""
    plan = with_service(plan, "coder", replicas=3)
    return with_service(plan, "general", replica_of="coder", replicas=3, served_name="coder")


# Thresholds


def slower_start(plan: Plan) -> Plan:
    timeouts = replace(plan.service("coder").timeouts, start=5000)
    return with_service(plan, "coder", timeouts=timeouts)


def more_blocks(plan: Plan) -> Plan:
    return with_service(plan, "coder", kv_cache=replace(plan.service("coder").kv_cache, num_blocks=9000))


def larger_blocks(plan: Plan) -> Plan:
    return with_service(plan, "coder", kv_cache=replace(plan.service("coder").kv_cache, block_size=32))


def heavier_server(plan: Plan) -> Plan:
    (device,) = plan.devices
    first, second = device.servers
    row = replace(first.rows[0], bytes=ByteRange(0, GIB, 2 * GIB))
    return replace(plan, devices=(replace(device, servers=(replace(first, rows=(row, *first.rows[1:])), second)),))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda plan: monitored(plan, ttft_p95_seconds=2.5), {"FirstTokenSlow"}),
        (lambda plan: monitored(plan, inter_token_p95_seconds=0.1), {"TokensSlow"}),
        (lambda plan: with_service(plan, "coder", concurrency=3), {"QueueLong"}),
        (more_blocks, {"KvCacheNotAsPlanned"}),
        (larger_blocks, {"KvCacheNotAsPlanned"}),
        (slower_start, {"ServerDown", "ServerRestarts"}),
        (lambda plan: with_service(plan, "general", start_after=()), {"ServerDown"}),
        (heavier_server, {"GpuMemoryBeyondPlan"}),
    ],
)
def test_a_threshold_follows_its_field_of_the_plan_and_no_other(
    change: Callable[[Plan], Plan], changed: set[str]
) -> None:
    before, after = alerts(PLAN), alerts(change(PLAN))
    assert before.keys() == after.keys()
    differing = {
        name
        for (name, labels), one in before.items()
        if (one.expression, one.hold) != (after[name, labels].expression, after[name, labels].hold)
    }
    assert differing == changed


def test_the_numbers_are_those_of_the_plan() -> None:
    assert alert(PLAN, "FirstTokenSlow", "coder").expression.endswith("> 5")
    assert alert(PLAN, "QueueLong", "coder").expression.endswith(", 8)")
    assert alert(PLAN, "ServerDown", "coder").hold == 300 + 720
    assert 'num_gpu_blocks!="8193"' in alert(PLAN, "KvCacheNotAsPlanned", "coder").expression
    memory = next(found for (name, _), found in alerts(PLAN).items() if name == "GpuMemoryBeyondPlan")
    # Two servers with half a GiB outside their budgets at most, and half a GiB that is reserved.
    assert memory.expression.endswith(f"> {(46 + 30) * 1024 + 1024 + 512}")


def test_a_server_that_starts_second_is_not_missed_before_its_turn() -> None:
    assert 'min by (stack) (up{stack="duo",service=~"coder"}) == 1' in alert(PLAN, "ServerDown", "general").expression
    assert "min by" not in alert(PLAN, "ServerDown", "coder").expression


@pytest.mark.parametrize(("seconds", "window"), [(5, "5m"), (15, "5m"), (75, "5m"), (120, "8m")])
def test_a_rate_sees_at_least_four_readings(seconds: int, window: str) -> None:
    rules = files(monitored(PLAN, scrape_seconds=seconds))["monitoring/rules.yml"]
    assert set(re.findall(r"(?:rate|increase)\([^)]*\[(\w+)\]", rules)) == {window}


def test_no_share_is_compared_with_a_percentage() -> None:
    for found in alerts(with_rollout(PLAN)).values():
        if "humanizePercentage" in found.description:
            limits = [float(limit) for limit in re.findall(r"> (\d+\.?\d*)", found.expression)]
            assert limits
            assert min(limits) < 1


def test_every_alert_says_what_happened_with_numbers_and_what_to_do() -> None:
    for found in alerts(with_rollout(PLAN)).values():
        assert found.summary
        assert found.action
        assert re.search(r"\d|\{\{|No other alert", found.description), found.name


# Metrics


def test_a_rule_over_a_metric_that_nobody_has_cannot_be_made() -> None:
    assert PLAN.monitoring is not None
    metrics = metrics_of(PLAN, PLAN.monitoring)
    bad = Alert("A", "vllm:gpu_cache_usage_perc > 0.9", 0, Severity.WARNING, (), "s", "d", "a")
    with pytest.raises(KeyError, match="gpu_cache_usage_perc"):
        RuleFile("duo", (Group("g", (bad,)),), metrics)
    panel = Panel("t", Unit.SECONDS, (Query("rate(vllm:time_per_output_token_seconds_sum[5m])", ""),))
    with pytest.raises(KeyError, match="time_per_output_token_seconds_sum"):
        Dashboard("d", "t", (), (Row("r", (panel,)),), 30, metrics)


@pytest.mark.parametrize(
    ("series", "labels"),
    [
        ("vllm:num_requests_swapped", {}),
        ("vllm:num_requests_running", {"finished_reason": "stop"}),
        ("vllm:request_success_total", {"finished_reason": "stopped"}),
        ("vllm:request_success", {"finished_reason": "stop"}),
    ],
)
def test_a_selector_of_something_that_is_not_there_cannot_be_made(series: str, labels: dict[str, str]) -> None:
    assert PLAN.monitoring is not None
    with pytest.raises(KeyError):
        metrics_of(PLAN, PLAN.monitoring).select(series, labels)


def test_a_plan_for_a_release_without_a_metric_cannot_be_monitored() -> None:
    broken = monitored(PLAN, metrics=("vllm:gpu_cache_usage_perc",))
    with pytest.raises(KeyError, match=r"vLLM 0\.33\.0 has no metric"):
        emit_monitoring(broken)


def expressions(plan: Plan) -> Iterator[str]:
    assert plan.monitoring is not None
    yield from (found.expression for found in alerts(plan).values())
    yield from (query.expression for query in dashboard(plan, plan.monitoring).queries)


def test_the_smoke_test_looks_for_exactly_what_is_asked_of_servers() -> None:
    assert PLAN.monitoring is not None
    asked = {name for expression in expressions(with_rollout(PLAN)) for name in metric_names(expression)}
    # Of a server that drafts nothing the smoke test does not look for those of drafts either.
    others = {name for name in PLAN.monitoring.metrics if not name.startswith("vllm:spec_decode_")}
    assert {name for name in asked if name != "up" and not name.startswith("DCGM_")} == others


def test_a_cpu_node_has_no_gpus_to_watch() -> None:
    plan = monitored(one_on_cpu())
    assert not [name for name, text in files(plan).items() if "DCGM" in text or "dcgm" in text]
    assert not [expression for expression in expressions(plan) if "DCGM" in expression]


def test_slices_of_a_gpu_have_no_figures_by_index() -> None:
    node = replace(one_on_two_gpus().node, mig="3g.40gb")  # type: ignore[type-var]
    names = {name for name, _ in alerts(monitored(replace(one_on_two_gpus(), node=node)))}
    assert "GpuMetricsMissing" in names
    assert not {"GpuError", "GpuMemoryBeyondPlan"} & names


def test_a_server_without_generated_tokens_has_no_objectives_for_them() -> None:
    plan = with_service(PLAN, "general", task="embed")
    names = {name for name, labels in alerts(plan) if ("service", "general") in labels}
    assert not {"FirstTokenSlow", "TokensSlow"} & names
    assert "RequestErrors" in names
    titles = [panel["title"] for panel in board(plan)["panels"]]
    assert (titles.count("First token"), titles.count("Whole answer")) == (1, 2)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up == 0", {"up"}),
        ('sum by (le, a) (rate(x:y_bucket{b="c and d"}[5m])) > 1e5', {"x:y_bucket"}),
        ("a unless on (instance) b or 0 * c", {"a", "b", "c"}),
        ("histogram_quantile(0.95, sum by (le) (rate(h_bucket[5m]))) > bool 2 and d offset 5m", {"h_bucket", "d"}),
    ],
)
def test_names_in_an_expression_are_found(expression: str, names: set[str]) -> None:
    assert metric_names(expression) - {"m"} == names


# Targets


def targets(text: str) -> list[tuple[str, dict[str, str]]]:
    configs = [config for job in load(text)["scrape_configs"] for config in job["static_configs"]]
    return [(address, config["labels"]) for config in configs for address in config["targets"]]


def test_every_server_is_asked_where_it_listens() -> None:
    place = {"stack": "duo", "node": "gpu01"}
    assert targets(files(with_rollout(PLAN))["monitoring/prometheus.yml"]) == [
        ("127.0.0.1:8001", {**place, "service": "coder", "revision": "stable"}),
        ("127.0.0.1:8002", {**place, "service": "general", "revision": "candidate"}),
        ("127.0.0.1:9400", place),
    ]


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1:8001"), ("::", "[::1]:8001"), ("10.0.0.7", "10.0.0.7:8001"), ("fd00::7", "[fd00::7]:8001")],
)
def test_an_address_is_one_that_can_be_reached(host: str, address: str) -> None:
    plan = with_service(PLAN, "coder", host=host)
    assert targets(files(plan)["monitoring/prometheus.yml"])[0][0] == address


def test_in_compose_servers_are_asked_by_their_names() -> None:
    found = targets(files(PLAN)["monitoring/prometheus-compose.yml"])
    assert [address for address, _ in found] == ["coder:8001", "general:8002", "dcgm-exporter:9400"]


def test_a_reading_ends_before_the_next_one() -> None:
    (servers, _) = load(files(monitored(PLAN, scrape_seconds=5))["monitoring/prometheus.yml"])["scrape_configs"]
    assert (servers["scrape_interval"], servers["scrape_timeout"]) == ("5s", "5s")


def test_only_what_is_used_is_emitted() -> None:
    assert not emit_monitoring(two_on_one_gpu())
    bare = files(replace(monitored(PLAN, has_grafana=False), targets=("scripts", "systemd")))
    assert set(bare) == {f"monitoring/{name}" for name in ("rules.yml", "prometheus.yml", "README.md")}


def test_commands_are_those_of_the_installation() -> None:
    compose = replace(PLAN, targets=("scripts", "compose"))
    assert "journalctl -u duo-coder.service" in alert(PLAN, "EngineErrors", "coder").action
    logs = "docker compose --project-name duo logs --tail 200 coder"
    assert logs in alert(compose, "EngineErrors", "coder").action
    assert alert(compose, "MetricsMissing", "coder").action == "bin/smoke-test coder"
    assert alert(PLAN, "MetricsMissing", "coder").action == "/opt/stackc/duo/current/bin/smoke-test coder"


# Dashboard and guide


def board(plan: Plan) -> dict[str, Any]:
    assert plan.monitoring is not None
    return dashboard_json(dashboard(plan, plan.monitoring))


def test_importing_the_dashboard_again_replaces_it() -> None:
    assert board(PLAN)["uid"] == board(monitored(PLAN, ttft_p95_seconds=1.0))["uid"]
    assert board(PLAN)["uid"] != board(replace(PLAN, folder="gpu02"))["uid"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board(PLAN)["uid"])


def test_panels_do_not_cover_each_other() -> None:
    panels = board(with_rollout(PLAN))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    boxes = [panel["gridPos"] for panel in panels]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_the_objective_is_drawn_as_a_line() -> None:
    panels = [
        panel for panel in board(monitored(PLAN, ttft_p95_seconds=2.5))["panels"] if "First token" in panel["title"]
    ]
    assert panels
    for panel in panels:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["custom"]["thresholdsStyle"] == {"mode": "line"}
        assert defaults["thresholds"]["steps"][-1] == {"color": "red", "value": 2.5}


def test_every_panel_takes_the_data_source_that_the_user_chooses() -> None:
    for panel in board(PLAN)["panels"]:
        if panel["type"] != "row":
            assert panel["targets"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_a_rollout_has_a_row_that_compares() -> None:
    titles = [panel["title"] for panel in board(with_rollout(PLAN))["panels"] if panel["type"] == "row"]
    assert "general beside coder" in titles
    assert not [panel for panel in board(PLAN)["panels"] if " beside " in panel["title"]]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    found = files(PLAN)
    source = load(found["monitoring/grafana/provisioning/datasources/duo.yaml"])["datasources"][0]
    assert (source["url"], source["jsonData"]["timeInterval"]) == ("http://prometheus:9090", "15s")
    provider = load(found["monitoring/grafana/provisioning/dashboards/duo.yaml"])["providers"][0]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert json.loads(found["monitoring/grafana/dashboards/duo.json"])["title"] == "vLLM: duo"


def test_every_alert_points_to_a_section_that_is_there() -> None:
    seen = set[str]()
    for plan in (with_rollout(PLAN), with_replicas(PLAN)):
        assert_sections(plan)
        seen |= {name for name, _ in alerts(plan)}
    assert seen == set(RUNBOOKS)


def assert_sections(plan: Plan) -> None:
    found = files(plan)
    headings = {line.removeprefix("### ").lower() for line in found["monitoring/README.md"].splitlines()}
    for group in load(found["monitoring/rules.yml"])["groups"]:
        for rule in group["rules"]:
            path, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert path == "monitoring/README.md"
            assert anchor in headings


# Replicas


def test_replicas_have_one_service_and_are_told_apart_by_a_label() -> None:
    jobs = load(files(with_replicas(PLAN))["monitoring/prometheus.yml"])["scrape_configs"]
    labels = [target["labels"] for job in jobs for target in job["static_configs"] if "service" in target["labels"]]
    assert [(each["service"], each["replica"]) for each in labels] == [("coder", "coder"), ("coder", "general")]
    alone = load(files(PLAN)["monitoring/prometheus.yml"])["scrape_configs"]
    assert not [each for job in alone for each in job["static_configs"] if "replica" in each["labels"]]


def test_one_replica_that_is_down_wakes_nobody_and_all_of_them_do() -> None:
    plan = with_replicas(PLAN)
    down = alert(plan, "ServerDown", "coder")
    assert down.severity is Severity.WARNING
    assert 'replica="' in down.expression
    silent, fewer = alert(plan, "NoReplicaAnswers", "coder"), alert(plan, "ReplicasMissing", "coder")
    answering = 'sum by (stack, service, node) (up{stack="duo",service="coder",node="gpu01"})'
    assert (silent.severity, silent.expression) == (Severity.CRITICAL, f"{answering} == 0")
    assert (fewer.severity, fewer.expression) == (Severity.WARNING, f"{answering} < 2")
    assert "2 of its 3 replicas run on gpu01" in silent.description
    # A replica that starts is no replica that is missing.
    assert fewer.hold == max(each.hold for each in alerts(plan).values() if each.name == "ServerDown")


def test_a_replica_waits_for_the_one_before_it() -> None:
    down = next(each for each in alerts(with_replicas(PLAN)).values() if ("replica", "general") in each.labels)
    assert 'min by (stack) (up{stack="duo",replica=~"coder"}) == 1' in down.expression


def test_a_rollout_compares_all_replicas_of_both_revisions() -> None:
    plan = with_service(with_rollout(PLAN), "general", replicas=2, replica_of="coder-candidate")
    errors = alert(plan, "CandidateErrors", "coder-candidate")
    assert 'service="coder-candidate"' in errors.expression
    assert "replica" not in errors.expression


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert files(PLAN) == files(monitored(two_on_one_gpu()))
