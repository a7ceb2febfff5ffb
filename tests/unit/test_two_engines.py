"""Two engines in one plan: each server gets what its own engine wants, and nothing of the other's."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.pipeline import render_plan
from compiler.plan.images import with_images
from compiler.plan.ir import Gateway, Monitoring, Plan, Route
from compiler.plan.lowering.operations import server_metrics
from compiler.render.syntax import read_systemd_words, read_unit
from compiler.targets.monitoring import rule_file
from compiler.targets.monitoring.dashboard import dashboard
from compiler.targets.readme.emit import emit_readme
from tests.plain_yaml import read_yaml
from tests.unit.other_engine import OTHER, shared_with_vllm
from tests.unit.plan_samples import PATH, monitored, two_on_one_gpu, write_tree

TARGETS = ("scripts", "systemd", "compose", "quadlet")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Everything that is emitted for the two, by path, but for the library."""
    artifacts = render_plan(replace(shared_with_vllm(), targets=TARGETS))
    return {str(each.path): each.text for each in artifacts if not str(each.path).startswith("lib/")}


def variables(text: str) -> dict[str, str]:
    values = read_unit(text).values("Service", "Environment")
    words = [word for value in values for word in read_systemd_words(value, is_command=False)]
    return dict(word.split("=", 1) for word in words)


def test_a_unit_runs_the_program_of_its_own_engine(texts: dict[str, str]) -> None:
    general, coder = (variables(texts[f"systemd/duo-{name}.service"]) for name in ("general", "coder"))
    assert general["STACKC_OTHER"] == OTHER.program
    assert general["PATH"].startswith("/opt/other/bin:")
    assert general["OTHER_CACHE"] == "/var/lib/stackc/duo/cache/other"
    assert not [name for name in general if "VLLM" in name]
    assert "STACKC_VLLM" in coder
    assert "STACKC_OTHER" not in coder
    assert "Other server general" in texts["systemd/duo-general.service"]


def test_the_download_finds_the_programs_of_both(texts: dict[str, str]) -> None:
    assert {"STACKC_VLLM", "STACKC_OTHER"} <= variables(texts["systemd/duo-prefetch.service"]).keys()


def test_a_launch_script_calls_the_program_in_its_own_way(texts: dict[str, str]) -> None:
    script = texts["bin/launch-general"]
    assert '"${STACKC_OTHER:-other-server}" -m "$model"\n' in script
    assert "OTHER_OFFLINE=1" in script
    assert "OTHER_DOOR=0" in script.partition("fixed=(")[2].partition(")")[0]
    assert "VLLM" not in script


def test_a_container_has_the_image_and_the_files_of_its_own_engine(texts: dict[str, str]) -> None:
    services = read_yaml(texts["compose/compose.yaml"])["services"]
    assert services["general"]["image"] == "other:1"
    assert services["coder"]["image"] == two_on_one_gpu().engine.image
    sources = [each["source"] for each in services["general"]["volumes"]]
    assert "/srv/general.jinja" in sources
    assert {"other-cache", "hf-cache"} <= set(sources)
    assert "vllm-cache" not in sources
    assert services["general"]["environment"]["USER"] == "other"
    assert "Image=docker.io/library/other:1" in texts["quadlet/duo-general.container"]


def test_images_of_both_are_listed_and_pinned_each_for_itself() -> None:
    plan = with_images(shared_with_vllm(), {})
    assert [(each.part, each.reference) for each in plan.images[:2]] == [
        ("vllm", "vllm/vllm-openai:v0.33.0"),
        ("other", "other:1"),
    ]


def watched() -> tuple[Plan, Monitoring]:
    """With Prometheus, which asks for the metrics of both."""
    plan = shared_with_vllm()
    metrics = server_metrics(engine.host for engine in plan.engines.values())
    monitoring = monitored(plan, metrics=metrics).monitoring
    assert monitoring is not None
    return replace(plan, monitoring=monitoring), monitoring


def test_an_alert_that_an_engine_has_no_metric_for_is_left_out() -> None:
    """A rule over a metric that nobody exposes never fires, and promises what nobody watches."""
    plan, monitoring = watched()
    coder, general = (
        {alert.name: alert for alert in rule_file(plan, monitoring).alerts if ("service", name) in alert.labels}
        for name in ("coder", "general")
    )
    assert set(general) == {"ServerDown", "ServerUnreachable", "MetricsMissing", "QueueLong"}
    assert set(general) < set(coder)
    assert "other:waiting" in general["QueueLong"].expression
    assert "vllm:" not in general["QueueLong"].expression
    assert "Other's metrics" in general["MetricsMissing"].summary


def test_a_panel_asks_each_engine_by_its_own_names() -> None:
    plan, monitoring = watched()
    board = dashboard(plan, monitoring)
    panels = {row.title: {panel.title: panel for panel in row.panels} for row in board.rows}
    waiting = [query.expression for query in panels["Overview"]["Requests that wait"].queries]
    assert [
        name for name in ("vllm:num_requests_waiting", "other:waiting") if any(name in each for each in waiting)
    ] == [
        "vllm:num_requests_waiting",
        "other:waiting",
    ]
    assert set(panels["general: general"]) == {"Requests"}


def test_litellm_asks_each_server_in_its_engines_way() -> None:
    gateway = Gateway(
        kind="litellm",
        host="127.0.0.1",
        port=8080,
        image="litellm:1",
        max_body=1,
        requests_per_second=None,
        burst=1,
        connections=8,
        routes=(Route("coder", "coder", None, 600), Route("general", "general", None, 600)),
    )
    (text,) = (
        each.text
        for each in render_plan(replace(shared_with_vllm(), gateway=gateway))
        if str(each.path) == "gateway/litellm.yaml"
    )
    assert "hosted_vllm/coder" in text
    assert "openai/general" in text


def test_the_readme_names_both_and_what_each_wants() -> None:
    page = emit_readme(shared_with_vllm())[0].text
    assert "vLLM 0.33.0 and Other 1.0 on node" in page
    assert "- Other 1.0 at `/opt/other/bin/other-server`\n" in page
    assert "The API key of Other guards all paths." in page
    keyless: Plan = replace(shared_with_vllm(), secrets=replace(shared_with_vllm().secrets, api_key=None))
    assert "remove `VLLM_API_KEY` and `OTHER_API_KEY`" in emit_readme(keyless)[0].text


@pytest.mark.emitted
def test_each_server_gets_the_key_in_its_own_variable(tmp_path: Path) -> None:
    """A key under another engine's name would leave the server open."""
    tree, asked = write_tree(shared_with_vllm(), tmp_path / "tree"), {}
    for name in ("coder", "general"):
        command = [str(tree / "bin" / f"launch-{name}"), "--json"]
        environment = {"PATH": PATH, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        asked[name] = json.loads(done.stdout)["secrets"]
    assert asked == {"coder": ["VLLM_API_KEY"], "general": ["OTHER_API_KEY"]}
