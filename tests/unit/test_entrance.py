"""One gateway for several nodes, from the spec to every file: who listens where, who is let in, who looks after all."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.pipeline import compile_stack, render_plan
from compiler.plan.ir import Plan
from compiler.render.syntax import read_bash_assignments
from tests.conftest import ROOT
from tests.plain_yaml import read_yaml
from tests.schema_checker import checked

NEAR, FAR = "10.0.0.11", "10.0.0.12"
MODEL = "Qwen/Qwen2.5-7B-Instruct"
SPEC: dict[str, Any] = {
    "stack": "pair",
    "engine": {"vllm": "0.33.0"},
    "nodes": {
        "gpu01": {"gpus": {"model": "rtx-pro-6000"}, "address": NEAR},
        "gpu02": {"gpus": {"model": "rtx-pro-6000"}, "address": FAR},
    },
    "services": {
        "chat": {"model": MODEL, "quantization": "none", "context": "16K", "port": 8000, "replicas": 2},
        "general": {
            "model": MODEL, "quantization": "none", "context": "16K", "port": 8010, "node": "gpu02",
            "rollout": {"strategy": "canary", "candidate": {"context": "8K", "port": 8012, "node": "gpu01"}},
        },
    },
    "gateway": {"node": "gpu01", "host": "0.0.0.0", "port": 8080},
    "monitoring": {},
    "secrets": {"api_key": "/etc/stackc/api-key", "client_keys": "/etc/stackc/client-keys"},
    "patches": {"compose": {"services": {"gateway": {"mem_limit": "1g"}}}},
}  # fmt: skip
Tree = dict[str, str]


def compiled(folder: Path, **changes: Any) -> dict[str, tuple[Plan, Tree]]:
    """The plan and the files of each node."""
    locked, _ = read_lock(ROOT / "stacks" / "qwen-96gb.lock.yaml", "lock")
    assert locked is not None
    asked = next(each for each in locked.services.values() if each.model == MODEL)
    models = {name: locked.models[name] for name in asked.candidates}
    services = changes.get("services", SPEC["services"])
    names = [name for name in ("chat", "general", "general-candidate") if name.removesuffix("-candidate") in services]
    write_lock(folder / "pair.lock.yaml", Lock(schema=1, services=dict.fromkeys(names, asked), models=models))
    (folder / "pair.yaml").write_text(json.dumps(SPEC | changes))
    found, diagnostics = compile_stack(folder / "pair.yaml", "pair.yaml")
    assert found is not None, diagnostics
    return {plan.node.name: (plan, tree_of(plan)) for plan in found.plans}


def tree_of(plan: Plan) -> Tree:
    return {str(artifact.path): artifact.text for artifact in render_plan(plan)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Plan, Tree]]:
    return compiled(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Plan, Tree]]:
    """With a gateway on each node."""
    folder = tmp_path_factory.mktemp("two")
    return compiled(folder, gateway={**SPEC["gateway"], "node": ["gpu01", "gpu02"]}, patches={})


def hosts(plan: Plan) -> dict[str, str]:
    return {service.name: service.host for service in plan.services}


def test_servers_of_the_other_node_listen_at_its_address_and_those_beside_the_gateway_do_not(
    pair: dict[str, tuple[Plan, Tree]],
) -> None:
    near, far = pair["gpu01"][0], pair["gpu02"][0]
    assert set(hosts(near).values()) == {"127.0.0.1"}
    assert set(hosts(far).values()) == {FAR}
    for service in far.services:
        assert next(each.value for each in service.arguments if each.flag == "--host") == FAR


def test_only_the_gateways_node_has_the_gateway_and_the_keys_of_clients(pair: dict[str, tuple[Plan, Tree]]) -> None:
    assert "gateway/nginx.conf" in pair["gpu01"][1]
    far, tree = pair["gpu02"]
    assert not [path for path in tree if "gateway" in path.replace("gateway.bash", "")]
    assert "client-keys" not in tree["plan.json"] + tree["compose/compose.yaml"]
    assert far.secrets.api_key is not None


def test_routes_lead_to_the_servers_of_both_nodes(pair: dict[str, tuple[Plan, Tree]]) -> None:
    gateway = pair["gpu01"][0].gateway
    assert gateway is not None
    chat, general = gateway.routes
    assert {(each.node, each.host) for each in chat.upstreams} == {("gpu01", "127.0.0.1"), ("gpu02", FAR)}
    assert [each.node for each in general.upstreams] == ["gpu02"]
    assert general.rollout is not None
    assert [each.node for each in general.rollout.upstreams] == ["gpu01"]
    words = pair["gpu01"][1]["bin/gateway"]
    assert f"general {FAR} 8010 {FAR}" in words, "a container reaches it there too"
    assert read_bash_assignments(words)["host"] == ("0.0.0.0",)


def test_units_of_the_other_node_let_in_the_gateways_alone(pair: dict[str, tuple[Plan, Tree]]) -> None:
    unit = pair["gpu02"][1]["systemd/pair-general.service"]
    assert re.findall(r"^IPAddress\w+=.*$", unit, re.MULTILINE) == [
        "IPAddressDeny=any", f"IPAddressAllow=localhost {FAR} {NEAR}",
    ]  # fmt: skip
    assert "After=network-online.target" in unit
    near = pair["gpu01"][1]["systemd/pair-general-candidate.service"]
    assert "IPAddressAllow=localhost\n" in near


def test_containers_of_the_other_node_are_published_at_its_address(pair: dict[str, tuple[Plan, Tree]]) -> None:
    near, far = (read_yaml(pair[node][1]["compose/compose.yaml"])["services"] for node in ("gpu01", "gpu02"))
    assert far["general"]["ports"] == [{"target": 8010, "published": "8010", "host_ip": FAR, "protocol": "tcp"}]
    assert "ports" not in near["general-candidate"]
    assert near["gateway"]["mem_limit"] == "1g"
    assert "gateway" not in far, "a patch of the gateway makes no container where it is not"
    assert far["dcgm-exporter"]["ports"][0]["host_ip"] == FAR


def test_prometheus_beside_the_gateway_looks_after_both_nodes_and_each_rule_is_there_once(
    pair: dict[str, tuple[Plan, Tree]],
) -> None:
    tree = pair["gpu01"][1]
    for file in ("monitoring/prometheus.yml", "monitoring/prometheus-compose.yml"):
        jobs = {job["job_name"]: job for job in read_yaml(tree[file])["scrape_configs"]}
        targets = [each["targets"][0] for each in jobs["pair-gpu02-servers"]["static_configs"]]
        assert f"{FAR}:8010" in targets
        assert jobs["pair-gpu02-gpus"]["static_configs"][0]["targets"] == [f"{FAR}:9400"]
    groups = Counter(group["name"] for group in read_yaml(tree["monitoring/rules.yml"])["groups"])
    assert max(groups.values()) == 1
    assert "pair/rollout of general" in groups
    assert {"pair/gpus of gpu01", "pair/gpus of gpu02"} <= groups.keys()


def test_what_the_plan_says_of_the_other_nodes_is_what_its_schema_says(pair: dict[str, tuple[Plan, Tree]]) -> None:
    near, far = (json.loads(pair[node][1]["plan.json"]) for node in ("gpu01", "gpu02"))
    for data in (near, far):
        checked("plan", data)
    assert [node["node"] for node in near["neighbours"]] == ["gpu02"]
    assert "neighbours" not in far
    assert far["entrances"] == [{"node": "gpu01", "address": NEAR}]


def test_readmes_say_where_clients_come_in_and_whom_a_firewall_lets_in(pair: dict[str, tuple[Plan, Tree]]) -> None:
    near, far = pair["gpu01"][1]["README.md"], pair["gpu02"][1]["README.md"]
    assert f"`http://{FAR}:8010`" in near
    assert "gateway drain chat-2" in near
    assert f"the gateway on `gpu01` ({NEAR})" in far
    assert f"--source {NEAR} --jump RETURN" in far


def test_two_gateways_have_one_configuration_and_reach_each_others_servers(two: dict[str, tuple[Plan, Tree]]) -> None:
    plans = {node: plan for node, (plan, _) in two.items()}
    assert {host for plan in plans.values() for host in hosts(plan).values()} == {NEAR, FAR}
    configurations = {tree["gateway/nginx.conf"] for _, tree in two.values()}
    assert len(configurations) == 1
    unit = two["gpu01"][1]["systemd/pair-general-candidate.service"]
    assert f"IPAddressAllow=localhost {NEAR} {FAR}\n" in unit
    server = read_yaml(two["gpu01"][1]["compose/compose.yaml"])["services"]["general-candidate"]
    assert server["ports"][0]["host_ip"] == NEAR
    assert set(server["networks"]) == {"backend", "edge"}, "an internal network publishes nothing"
    assert "The gateway on `gpu02` has the same configuration" in two["gpu01"][1]["README.md"]


def test_machines_that_are_alike_have_addresses_one_after_another(tmp_path: Path) -> None:
    nodes = {"gpu": {"count": 2, "gpus": {"model": "rtx-pro-6000"}, "address": "10.0.0.255"}}
    services = {"chat": SPEC["services"]["chat"]}
    found = compiled(tmp_path, nodes=nodes, services=services, gateway={"node": "gpu-01", "port": 8080}, patches={})
    assert [plan.node.address for plan, _ in found.values()] == ["10.0.0.255", "10.0.1.0"]


def test_a_gateway_for_this_machine_alone_may_go_to_the_servers_of_others(tmp_path: Path) -> None:
    found = compiled(tmp_path, gateway={"node": "gpu01", "port": 8080}, patches={})
    unit = found["gpu01"][1]["systemd/pair-gateway.service"]
    assert f"IPAddressAllow=localhost {NEAR} {FAR}\n" in unit
