"""What a plan's gateway becomes, as documents and files; real gateways run in tests/gateway."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from compiler.engines.vllm.host.client_paths import CLIENT_PATHS
from compiler.pipeline import compile_stack, render_plan
from compiler.plan.ir import Argument, Gateway, Plan
from compiler.spec.services import Task
from compiler.targets.deployment import rollout_fingerprint
from compiler.targets.gateway import emit_gateway
from compiler.targets.gateway.litellm import litellm_config
from compiler.targets.gateway.nginx import nginx_config
from compiler.targets.gateway.routes import routing
from compiler.targets.gateway.script import gateway_script
from tests.gateway.machine import gateway_plan, with_rollout
from tests.unit.plan_samples import two_on_one_gpu, with_engine, with_service


def of(plan: Plan) -> tuple[Plan, Gateway]:
    assert plan.gateway is not None
    return plan, plan.gateway


def files(plan: Plan) -> dict[str, str]:
    return {str(artifact.path): artifact.text for artifact in emit_gateway(plan)}


def fingerprint(plan: Plan) -> str:
    _, gateway = of(plan)
    return rollout_fingerprint(plan, gateway.rollouts[0])


def test_a_stack_without_a_gateway_gets_none_of_its_files() -> None:
    assert emit_gateway(two_on_one_gpu()) == ()


def test_the_pipeline_emits_it_with_the_programs_it_needs() -> None:
    paths = {str(artifact.path) for artifact in render_plan(gateway_plan())}
    assert {"gateway/nginx.conf", "gateway/route.js", "gateway/stack.js", "bin/gateway", "bin/rollout"} <= paths


def test_every_file_says_where_it_comes_from() -> None:
    for text in [*files(gateway_plan()).values(), *files(with_rollout(gateway_plan(kind="litellm"))).values()]:
        assert "ritten by `stackc compile`" in text
        assert "DO NOT EDIT" in text


def test_without_a_rollout_there_is_nothing_to_shift() -> None:
    plan = gateway_plan()
    _, gateway = of(plan)
    alone = replace(plan, gateway=replace(gateway, routes=gateway.routes[:1]))
    assert "bin/rollout" not in files(alone)
    assert "split_clients" not in files(alone)["gateway/nginx.conf"]


def test_a_completion_model_is_no_chat() -> None:
    data = routing(*of(with_service(gateway_plan(), "coder", task="completion"))).data
    assert {path for path, models in data["paths"].items() if "coder" in models} == {"/v1/completions"}
    assert {path for path, models in data["paths"].items() if "general" in models} == set(CLIENT_PATHS["chat"])


@pytest.mark.parametrize("task", ["embed", "score", "classify"])
def test_models_that_read_whole_texts_have_their_paths_and_no_other(task: str) -> None:
    plan = with_service(gateway_plan(), "coder", task=task)
    data = routing(*of(plan)).data
    paths = {path for path, models in data["paths"].items() if "coder" in models}
    assert paths == set(CLIENT_PATHS[task])
    assert not paths & set(CLIENT_PATHS["chat"])
    page = next(each.text for each in render_plan(plan) if str(each.path) == "README.md")
    first, *_ = CLIENT_PATHS[task]
    assert first in page
    assert "/v1/chat/completions" not in page.partition("## Gateway")[2].partition("```")[2].partition("```")[0]


def test_every_task_has_paths() -> None:
    assert CLIENT_PATHS.keys() == set(get_args(Task))


def test_every_path_that_is_open_has_a_location_of_its_own() -> None:
    text = files(gateway_plan())["gateway/nginx.conf"]
    exact = set(re.findall(r'location = "?(/[^" ]+)"? \{', text))
    assert {path for path in exact if not path.startswith(("/error/", "/denied"))} == {
        *CLIENT_PATHS["chat"], "/health", "/v1/models",
    }  # fmt: skip
    assert text.count("location = /error/") + 1 == text.count("            internal;\n")


def test_the_routing_is_javascript_and_json() -> None:
    text = files(gateway_plan())["gateway/stack.js"]
    data = json.loads(text.partition("export default ")[2].rstrip().rstrip(";"))
    assert data == routing(*of(gateway_plan())).data


def test_the_longest_answer_decides_how_long_a_reload_waits() -> None:
    plan, gateway = of(gateway_plan())
    slow = replace(gateway, routes=(replace(gateway.routes[0], read_timeout=4000), gateway.routes[1]))
    config = nginx_config(plan, slow)
    assert config.drain_seconds == 4000
    assert [route.read_timeout for route in config.routes] == [4000, 60]


@pytest.mark.parametrize(
    ("sticky", "header", "source"),
    [
        ("header", "http_x_session_id", "stackc_session_1"),
        ("client", None, "stackc_client"),
        ("none", None, "request_id"),
    ],
)
def test_what_decides_is_a_variable_of_nginx(sticky: str, header: str | None, source: str) -> None:
    (rollout,) = nginx_config(*of(with_rollout(gateway_plan(), sticky=sticky))).rollouts
    assert (rollout.header, rollout.source) == (header, source)


def test_limits_are_there_only_if_the_spec_has_them() -> None:
    assert "stackc_requests" not in files(gateway_plan())["gateway/nginx.conf"]
    limited = files(gateway_plan(requests_per_second=7, burst=3))["gateway/nginx.conf"]
    assert "rate=7r/s;" in limited
    assert limited.count("limit_req zone=stackc_requests burst=3 nodelay;") == len(CLIENT_PATHS["chat"])


def test_a_share_is_kept_for_the_same_revisions_wherever_they_listen() -> None:
    plan = gateway_plan()
    same = fingerprint(plan)
    moved = with_service(plan, "general-candidate", port=9999, host="127.0.0.2")
    assert fingerprint(moved) == same
    argument = Argument("--enable-chunked-prefill", None, "engine_args")
    candidate = plan.service("general-candidate")
    others = [
        with_service(plan, "general", model=replace(plan.service("general").model, commit="f" * 40)),
        with_service(plan, "general-candidate", model=replace(candidate.model, quantization="fp8")),
        with_service(plan, "general-candidate", arguments=(*candidate.arguments, argument)),
        with_engine(plan, version="0.34.0"),
        with_rollout(plan, weight=11),
    ]
    assert len({same, *map(fingerprint, others)}) == len(others) + 1


def test_localhost_is_where_vllm_binds_it() -> None:
    plan = with_service(gateway_plan(host="localhost"), "coder", host="localhost")
    script = gateway_script(*of(plan))
    assert script.host == "127.0.0.1"
    assert {service.host for service in script.services} == {"127.0.0.1"}


def test_secrets_are_paths_and_nothing_else() -> None:
    script = gateway_script(*of(gateway_plan()))
    assert (script.client_keys, script.api_key) == ("/etc/stackc/client-keys", "/etc/stackc/api-key")


def test_a_candidate_without_requests_is_not_in_litellms_list() -> None:
    plan = with_rollout(gateway_plan(kind="litellm"), weight=0)
    assert [(model.service, model.weight) for model in litellm_config(*of(plan)).models] == [
        ("coder", 100), ("general", 100),
    ]  # fmt: skip


def test_the_example_stack_routes_its_two_models(root: Path) -> None:
    spec = root / "stacks/team-96gb.yaml"
    compiled, _ = compile_stack(spec, spec.name)
    assert compiled is not None
    plan, gateway = of(compiled.plan)
    assert routing(plan, gateway).data["models"].keys() == {"coder", "general"}
    assert gateway.rollouts[0].weight == 10
    assert gateway.connections == 2 * sum(service.max_num_seqs for service in plan.services)


def test_websites_are_named_where_the_gateway_reads_them() -> None:
    for kind, file in (("nginx", "gateway/nginx.conf"), ("litellm", "bin/gateway")):
        plan = with_rollout(gateway_plan(kind=kind, cors_origins=("http://localhost:3000", "https://app.example.org")))
        text = files(plan)[file]
        assert text.index("http://localhost:3000") < text.index("https://app.example.org")
        assert "https://app.example.org" not in files(with_rollout(gateway_plan(kind=kind)))[file]
