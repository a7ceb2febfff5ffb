"""Which addresses each unit may talk to: a server that cannot reach what it needs does not start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.plan.ir import Argument, GpuNode, Plan, Service
from compiler.targets.systemd_network import Network, gateway_network, prefetch_network, server_network
from tests.gateway.machine import gateway_plan
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, with_service

ALONE = (("any",), ("localhost",))


def rules(plan: Plan, name: str = "coder") -> tuple[tuple[str, ...], tuple[str, ...]]:
    network = server_network(plan, plan.service(name))
    return network.deny, network.allow


def of_gateway(host: str) -> Network:
    plan = gateway_plan(host=host)
    assert plan.gateway is not None
    return gateway_network(plan, plan.gateway)


def with_option(plan: Plan, flag: str, value: str) -> Plan:
    service: Service = plan.service("coder")
    return with_service(plan, "coder", arguments=(*service.arguments, Argument(flag, value, "engine_args")))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_server_for_this_machine_talks_to_this_machine(host: str) -> None:
    assert rules(with_service(two_on_one_gpu(), "coder", host=host)) == ALONE


def test_a_model_that_takes_media_fetches_none_unless_hosts_are_named() -> None:
    assert rules(with_service(two_on_one_gpu(), "coder", media_domains=())) == ALONE
    denied, allowed = rules(with_service(two_on_one_gpu(), "coder", media_domains=("images.example.org",)))
    assert {"link-local", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"} <= set(denied)
    assert "any" not in denied, "it could not fetch"
    assert allowed == ("localhost",)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "server.example.org"])
def test_clients_on_other_machines_are_not_denied(host: str) -> None:
    for domains in (None, (), ("images.example.org",)):
        denied, _ = rules(with_service(two_on_one_gpu(), "coder", host=host, media_domains=domains))
        assert {"link-local", "multicast"} <= set(denied)
        assert not {"any", "10.0.0.0/8", "192.168.0.0/16"} & set(denied)
    assert of_gateway(host).deny == denied


def test_clients_with_link_local_addresses_are_not_denied_either() -> None:
    denied, _ = rules(with_service(two_on_one_gpu(), "coder", host="169.254.7.1"))
    assert "link-local" not in denied
    assert "169.254.169.254" in denied


@pytest.mark.parametrize("endpoint", ["http://10.1.2.3:4317", "collector.example.org:4317", "grpc://collector:4317"])
def test_traces_reach_their_endpoint(endpoint: str) -> None:
    denied, allowed = rules(with_option(two_on_one_gpu(), "--otlp-traces-endpoint", endpoint))
    assert not {"any", "10.0.0.0/8"} & set(denied)
    assert "link-local" in denied
    assert allowed == ("localhost",)


def test_traces_to_this_machine_open_nothing() -> None:
    assert rules(with_option(two_on_one_gpu(), "--otlp-traces-endpoint", "http://127.0.0.1:4317")) == ALONE


@pytest.mark.parametrize(("capability", "alone"), [((9, 0), True), ((10, 0), False), ((10, 3), False), ((12, 0), True)])
def test_kernels_that_are_downloaded_can_be(capability: tuple[int, int], alone: bool) -> None:
    plan = two_on_one_gpu()
    assert isinstance(plan.node, GpuNode)
    denied, _ = rules(replace(plan, node=replace(plan.node, compute_capability=capability)))
    assert (denied == ("any",)) is alone
    assert "link-local" in denied or alone


def test_other_units() -> None:
    assert rules(one_on_cpu(), one_on_cpu().services[0].name) == ALONE
    assert of_gateway("127.0.0.1").deny == ("any",)
    # A mirror of the Hub may be in a private network.
    assert "link-local" in prefetch_network().deny
    assert not {"any", "10.0.0.0/8"} & set(prefetch_network().deny)
