"""What stands around servers of vLLM and of llama.cpp in one stack: gateway, monitoring and pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from compiler.pipeline import render_plan
from compiler.plan.ir import Monitoring, Plan
from compiler.plan.lowering.operations import server_metrics
from compiler.targets.gateway.routes import routing
from compiler.targets.monitoring import emit_monitoring, rule_file
from compiler.targets.monitoring.dashboard import dashboard
from compiler.targets.readme.emit import emit_readme
from tests.gateway.machine import gateway_plan
from tests.unit.gguf_samples import alone_on_cpu, beside_vllm, on_llama_cpp
from tests.unit.plan_samples import monitored, two_on_one_gpu, with_service


def watched(plan: Plan) -> tuple[Plan, Monitoring]:
    metrics = server_metrics(engine.host for engine in plan.engines.values())
    monitoring = monitored(two_on_one_gpu(), metrics=metrics).monitoring
    assert monitoring is not None
    monitoring = replace(monitoring, has_dcgm=False)
    return replace(plan, monitoring=monitoring), monitoring


def keyless(plan: Plan) -> Plan:
    return replace(plan, secrets=replace(plan.secrets, api_key=None))


def jobs(plan: Plan, name: str = "prometheus.yml") -> dict[str, dict[str, object]]:
    files = {each.path.name: each.text for each in emit_monitoring(watched(plan)[0])}
    return {job["job_name"]: job for job in YAML(typ="safe", pure=True).load(files[name])["scrape_configs"]}


def paths_of(plan: Plan, model: str) -> set[str]:
    assert plan.gateway is not None
    return {path for path, models in routing(plan, plan.gateway).data["paths"].items() if model in models}


def test_a_route_has_the_paths_of_its_engine() -> None:
    ranking = with_service(on_llama_cpp(gateway_plan(), "coder"), "coder", task="score")
    assert paths_of(ranking, "coder") == {"/v1/rerank", "/rerank"}
    assert "/v1/score" in paths_of(with_service(gateway_plan(), "coder", task="score"), "coder")


def test_a_rollout_to_another_engine_lets_through_what_both_serve() -> None:
    """Else a client would get 404 by chance."""
    plan = gateway_plan()
    for name in ("general", "general-candidate"):
        plan = with_service(plan, name, task="score")
    assert paths_of(on_llama_cpp(plan, "general-candidate"), "general") == {"/v1/rerank", "/rerank"}


def test_litellm_ranks_by_what_it_can_rank_with() -> None:
    plan = gateway_plan(kind="litellm")
    for name, task in (("coder", "score"), ("general", "chat")):
        plan = with_service(on_llama_cpp(plan, name), name, task=task)
    text = next(each.text for each in render_plan(plan) if str(each.path) == "gateway/litellm.yaml")
    assert "hosted_vllm/coder" in text
    assert "openai/general" in text


def test_only_servers_that_ask_for_the_key_are_shown_it() -> None:
    """vLLM's metrics are open, and its servers need not see who reads the file."""
    found = jobs(beside_vllm())
    assert set(found) == {"duo-gpu01-vllm-servers", "duo-gpu01-llama.cpp-servers"}
    authorization = found["duo-gpu01-llama.cpp-servers"]["authorization"]
    assert authorization == {"type": "Bearer", "credentials_file": beside_vllm().secrets.api_key}
    assert "authorization" not in found["duo-gpu01-vllm-servers"]
    assert not any("authorization" in job for job in jobs(keyless(beside_vllm())).values())


def test_prometheus_in_a_container_can_read_the_key() -> None:
    plan = replace(watched(beside_vllm())[0], targets=("scripts", "compose"))
    files = {str(each.path): each.text for each in render_plan(plan)}
    load = YAML(typ="safe", pure=True).load
    container = load(files["compose/compose.yaml"])["services"]["prometheus"]
    assert container["secrets"] == ["api-key"]
    assert container["user"] == "65534:0", "secrets are for group 0 to read"
    text = files["monitoring/prometheus-compose.yml"]
    assert {job.get("authorization", {}).get("credentials_file") for job in load(text)["scrape_configs"]} == {
        None,
        "/run/secrets/api-key",
    }
    alone = render_plan(keyless(plan))
    compose = next(each.text for each in alone if str(each.path) == "compose/compose.yaml")
    assert load(compose)["services"]["prometheus"]["user"] == "65534:65534"


def test_a_server_that_is_between_two_steps_has_time_to_answer() -> None:
    found = jobs(beside_vllm())
    assert found["duo-gpu01-llama.cpp-servers"]["scrape_timeout"] == "15s"
    assert found["duo-gpu01-vllm-servers"]["scrape_timeout"] == "10s"


@pytest.mark.parametrize(("plan", "count"), [(alone_on_cpu(), 1), (beside_vllm(), 2)], ids=["alone", "both"])
def test_the_panel_of_servers_asks_for_every_job(plan: Plan, count: int) -> None:
    panels = dashboard(*watched(plan)).rows[0].panels
    (query,) = next(panel for panel in panels if panel.title == "Servers that answer").queries
    asked = re.search(r'job=~?("[^"]*")', query.expression)
    assert asked is not None
    names = list(jobs(plan))
    assert len(names) == count
    assert all(re.fullmatch(json.loads(asked[1]), name) for name in names)


def test_alerts_are_made_of_the_signals_that_there_are() -> None:
    plan, monitoring = watched(beside_vllm())
    own = {
        alert.name: alert.expression
        for alert in rule_file(plan, monitoring).alerts
        if ("service", "general") in alert.labels
    }
    assert set(own) == {"ServerDown", "ServerUnreachable", "MetricsMissing", "ServerRestarts", "QueueLong"}
    assert not [name for name, expression in own.items() if "vllm:" in expression]
    assert own["ServerRestarts"].startswith("resets(llamacpp:prompt_tokens_total{")


def test_the_share_of_found_tokens_needs_no_counter_of_queries() -> None:
    rows = {row.title.partition(":")[0]: row for row in dashboard(*watched(beside_vllm())).rows}
    panels = {panel.title: panel for panel in rows["general"].panels}
    assert set(panels) == {"Requests", "Prompt tokens found in the prefix cache"}
    (query,) = panels["Prompt tokens found in the prefix cache"].queries
    assert query.expression.count("llamacpp:prompt_tokens_cached_total") == 2
    assert query.expression.count("llamacpp:prompt_tokens_total") == 1


def guide_of(plan: Plan) -> str:
    return next(each.text for each in emit_monitoring(watched(plan)[0]) if each.path.name == "README.md")


def test_the_guide_says_what_nobody_watches_and_who_asks_for_the_key() -> None:
    text = guide_of(beside_vllm())
    assert "- Whether first tokens come in time, of `general`: there is no histogram of it." in text
    assert "`/metrics` of `general` asks for the servers' key" in text
    assert "asks for no key" in guide_of(keyless(beside_vllm()))
    assert "no histogram" not in guide_of(two_on_one_gpu())
    assert "between two batches" in text
    assert "between two batches" not in guide_of(two_on_one_gpu())


def test_the_readme_tells_how_llama_server_ends() -> None:
    text = emit_readme(beside_vllm())[0].text
    rows = [line.split(" | ")[:2] for line in text.splitlines() if "| llama-server |" in line]
    assert rows == [["| 1", "llama-server"], ["| 134", "llama-server"], ["| 143", "llama-server"]]
    assert "or vLLM refused an option" in text
    assert "llama-server answers nothing of what it has begun" in text
    assert "llama-server" not in emit_readme(two_on_one_gpu())[0].text


def test_the_readme_of_llama_cpp_alone_promises_nothing_of_vllm() -> None:
    text = emit_readme(alone_on_cpu())[0].text
    for word in (
        "vLLM",
        "usually takes and",
        "A start usually takes",
        "traceback",
        "bin/bench",
        "finishes the requests",
    ):
        assert word not in text, word
    assert "python3-jsonschema" in text


@pytest.mark.parametrize("plan", [beside_vllm(), alone_on_cpu()], ids=["both", "alone"])
def test_rules_and_panels_ask_for_nothing_that_nobody_has(plan: Plan) -> None:
    """Building them refuses a metric that no engine of the plan exposes."""
    artifacts = emit_monitoring(watched(plan)[0])
    board = next(each.text for each in artifacts if each.path.suffix == ".json")
    assert json.loads(board)["panels"]


def test_the_smoke_test_is_told_to_run_where_there_is_python() -> None:
    """llama.cpp's images have none."""
    compose = ("scripts", "compose")
    text = emit_readme(replace(beside_vllm(), targets=compose))[0].text
    assert "exec coder python3 -I /opt/stackc/bin/smoke-test" in text
    assert "exec general python3" not in text
    hidden = emit_readme(replace(on_llama_cpp(gateway_plan(), "coder"), targets=compose))[0].text
    assert "The other containers have no Python" in hidden
    assert "smoke-test --gateway-only" in hidden
