"""What is emitted for a part of a server that spans machines."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from compiler.pipeline import compile_stack, render_plan
from compiler.plan.disk import disk_of
from compiler.plan.ir import Plan, Service
from compiler.render.syntax import read_systemd_words, read_unit
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.plan_samples import over_two_machines, with_service


@cache
def plans() -> tuple[Plan, ...]:
    compiled, _ = compile_stack(ROOT / "stacks/reasoning-2x4090.yaml", "reasoning-2x4090.yaml")
    assert compiled is not None
    return compiled.plans


def unit(plan: Plan, name: str = "pair-big.service") -> dict[str, tuple[str, ...]]:
    texts = {artifact.path.name: artifact.text for artifact in render_plan(plan)}
    read = read_unit(texts[name])
    keys = ("ExecStart", "ExecStartPost", "IPAddressAllow", "IPAddressDeny")
    return {key: tuple(read.values("Service", key)) for key in keys} | {
        "limit": tuple(read.values("Unit", "StartLimitIntervalSec"))
    }


def test_both_machines_get_the_same_command_but_for_their_place() -> None:
    first, second = ({each.flag: each.value for each in only(plan).arguments} for plan in plans())
    assert (first.pop("--node-rank"), second.pop("--node-rank")) == ("0", "1")
    assert second.pop("--headless", "missing") is None
    assert first == second
    assert (first["--nnodes"], first["--master-addr"], first["--tensor-parallel-size"]) == ("2", "10.0.0.11", "4")
    assert only(plans()[0]).revision == only(plans()[1]).revision


def only(plan: Plan) -> Service:
    (service,) = plan.services
    return service


def test_ranks_talk_over_the_network_card_that_the_spec_names() -> None:
    for plan, address in zip(plans(), ("10.0.0.11", "10.0.0.12"), strict=True):
        variables = dict(only(plan).environment)
        assert variables["VLLM_HOST_IP"] == address
        assert (variables["GLOO_SOCKET_IFNAME"], variables["NCCL_SOCKET_IFNAME"]) == ("eth1", "=eth1")


def test_ports_of_a_group_are_nobody_elses() -> None:
    group = only(plans()[0]).group
    assert group is not None
    assert len({group.rendezvous_port, group.watch_port, only(plans()[0]).port}) == 3


def test_the_part_that_does_not_answer_is_not_asked_whether_it_does() -> None:
    leading, following = unit(over_two_machines(0)), unit(over_two_machines(1))
    assert leading["ExecStartPost"]
    assert not following["ExecStartPost"]
    for each in (leading, following):
        words = read_systemd_words(each["ExecStart"][0], is_command=True)
        assert [word.rpartition("/")[2] for word in words[-4:]] == ["join-group", "big", "--", "launch-big"]
        assert each["limit"] == ("0",), "whether the others are there is not its fault"


def test_a_unit_reaches_the_machines_of_its_group_and_nobody_else() -> None:
    for plan in (over_two_machines(0), over_two_machines(1)):
        assert unit(plan)["IPAddressDeny"] == ("any",)
        assert unit(plan)["IPAddressAllow"] == ("localhost 10.0.0.7 10.0.0.8",)


def test_whoever_answers_clients_elsewhere_cannot_deny_their_networks() -> None:
    open_plan = with_service(over_two_machines(0), "big", host="0.0.0.0")
    assert not unit(open_plan)["IPAddressAllow"]
    # The other part has no clients, wherever the first one listens.
    assert unit(with_service(over_two_machines(1), "big", host="0.0.0.0"))["IPAddressAllow"]


def test_the_page_says_where_the_server_answers() -> None:
    texts = [readme(over_two_machines(rank)) for rank in (0, 1)]
    for text in texts:
        assert "`big` runs on gpu02, gpu03 together, and answers on gpu02 alone." in text
        assert "can run code there" in text
    assert "## First request" in texts[0]
    assert "## First request" not in texts[1]


def readme(plan: Plan) -> str:
    return next(each.text for each in render_plan(plan) if each.path.name == "README.md")


def test_each_machine_downloads_the_whole_model() -> None:
    """It holds half of the layers, and of the files all: 141 GB in 16 bits, told as an estimate."""
    for plan in plans():
        assert 130 * GIB < disk_of(plan).to_download < 134 * GIB


def test_only_trees_of_such_servers_have_the_program_that_joins_them() -> None:
    plan = over_two_machines()
    alone = replace(plan, services=(replace(only(plan), group=None),))
    names = [{artifact.path.name for artifact in render_plan(each)} for each in (plan, alone)]
    assert ["join-group" in each for each in names] == [True, False]
