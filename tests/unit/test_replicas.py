"""One service with several servers: what each of them is called, where it listens and what it holds."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from compiler.checks.stack import check_spec
from compiler.cli.main import cli
from compiler.diagnostics import Diagnostic, Edit, SourceText
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.pinned import pinned
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.lock.staleness import stale_services
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import Plan, Service
from compiler.plan.lowering.lower import lower_stack
from compiler.plan.objectives import check_objectives
from compiler.plan.replicas import Replicas, replicas_of
from compiler.plan.shared_gpus import replicas_that_share
from compiler.report.lines import plan_lines
from compiler.report.paint import BLOCKS
from compiler.solve.replicas.alike import Solved
from compiler.solve.replicas.counts import attempt_servers, most_that_fit
from compiler.solve.solve import apply_edits, edited_spec
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile, load_spec
from compiler.spec.replicas import most_replicas, with_replicas
from compiler.spec.rollouts import written_edits
from compiler.targets.readme.emit import emit_readme
from tests.conftest import ROOT
from tests.properties.test_solver import RELEASE, config

PINNED = pinned(RELEASE)

SPEC = """\
stack: fleet
engine: {vllm: 0.33.0}
nodes:
  gpu: {count: 2, gpus: {model: l40s, count: 2}}
services:
  chat:
    model: example/chat
    quantization: none
    context: 8K
    concurrency: 10
    replicas: 3
    port: 8000
    rollout: {strategy: canary, candidate: {context: 4K, port: 8100}}
  embedder: {model: example/embedder, quantization: none, context: 2K, port: 8010}
gateway: {node: gpu-01, port: 8080}
"""


def read(text: str = SPEC) -> SpecFile:
    file, problems = load_spec(SourceText("fleet.yaml", text), ENGINES)
    assert file is not None, problems
    return file


def lock_of(spec: Spec, *candidates: str) -> Lock:
    """Every service with its own model, or with these."""
    small = config(16, 2048, 16, 4, 32_000)
    names = [service.model for service in spec.services.values()]
    facts = {name: ModelFacts(source=HUB, chat_template="x", config=small) for name in {*names, *candidates}}
    services = {
        name: LockedService(model=service.model, quantization=service.quantization, candidates=(service.model,))
        for name, service in spec.services.items()
    }
    return Lock(schema=1, services=services, models=facts)


def solved(spec: Spec) -> Solved:
    found = attempt_servers(spec, lock_of(spec), PINNED)
    assert isinstance(found, Solved), found
    return found


def planned(text: str = SPEC) -> tuple[Plan, ...]:
    file = read(text)
    found = solved(file.spec)
    return lower_stack(SpecFile(found.spec, file.document), found.solutions, PINNED)


def servers(plans: tuple[Plan, ...]) -> dict[str, Service]:
    return {service.name: service for plan in plans for service in plan.services}


# The spec


@pytest.mark.parametrize(
    ("text", "least", "is_solved"),
    [("3", 3, False), ("max", 1, True), ("{min: 2, max: 8}", 2, True), ("{max: 2}", 1, True), ("1", 1, False)],
)
def test_a_count_is_given_or_left_open(text: str, least: int, is_solved: bool) -> None:
    asked = read(SPEC.replace("replicas: 3", f"replicas: {text}")).spec.services["chat"].replicas
    assert (asked.least, asked.is_solved) == (least, is_solved)


def test_replicas_are_services_with_ports_in_a_row_and_one_served_name() -> None:
    spec = read().spec
    expanded = with_replicas(spec, {"chat": 3, "chat-candidate": 2})
    ports = {name: service.port for name, service in expanded.services.items()}
    assert ports == {
        "chat": 8000, "chat-2": 8001, "chat-3": 8002, "chat-candidate": 8100, "chat-candidate-2": 8101, "embedder": 8010
    }  # fmt: skip
    assert {expanded.services[name].served_name for name in ("chat-2", "chat-3", "chat-candidate-2")} == {"chat"}
    assert [expanded.replica_of(name) for name in ("chat", "chat-2", "embedder")] == [None, "chat", None]
    assert expanded.candidate_of("chat-candidate-2") == "chat"
    assert (expanded.servers_of("chat"), expanded.servers_of("embedder")) == (3, 1)


def test_what_is_promised_together_is_shared_out_and_rounded_up() -> None:
    spec = with_replicas(read().spec, {"chat": 3})
    assert {spec.services[name].concurrency.least for name in ("chat", "chat-2", "chat-3")} == {4}
    assert spec.services["embedder"].concurrency.least == 1
    open_ended = read(SPEC.replace("concurrency: 10", "concurrency: {min: 5, max: 100}")).spec
    asked = with_replicas(open_ended, {"chat": 4}).services["chat-4"].concurrency
    assert (asked.min, asked.max) == (2, 25)


def test_places_and_edits_of_a_replica_are_those_of_its_service() -> None:
    file = read()
    assert file.at("services", "chat-3", "context").span == file.at("services", "chat", "context").span
    assert file.at("services", "chat-candidate-2", "port").span == file.at("services", "chat-candidate", "port").span
    edits = (Edit(("services", "chat-2", "context"), "4K"), Edit(("services", "chat", "context"), "4K"))
    assert written_edits(file.document.data, edits) == (edits[1],)
    changed = apply_edits(file.document.data, (Edit(("services", "chat-candidate-2", "context"), "2K"),))
    assert changed["services"]["chat"]["rollout"]["candidate"]["context"] == "2K"


def test_a_candidate_inherits_the_count_unless_it_says_another() -> None:
    assert read().spec.services["chat-candidate"].replicas.least == 3
    other = read(SPEC.replace("port: 8100}", "port: 8100, replicas: 1}")).spec
    assert other.services["chat-candidate"].replicas.least == 1


def test_max_is_one_for_each_set_of_gpus_that_a_server_takes() -> None:
    spec = read(SPEC.replace("replicas: 3", "replicas: max")).spec
    assert most_replicas(spec, "chat") == 4
    wide = read(SPEC.replace("replicas: 3", "replicas: max\n    tensor_parallel_size: 2")).spec
    assert most_replicas(wide, "chat") == 2
    here = read(SPEC.replace("replicas: 3", "replicas: max\n    node: gpu-02")).spec
    assert most_replicas(here, "chat") == 2


def test_the_lock_has_one_entry_for_all_replicas() -> None:
    spec = read().spec
    assert stale_services(spec, lock_of(spec)) == ()
    fewer = edited_spec(read().document.data, (Edit(("services", "chat", "replicas"), 2),))
    assert fewer is not None
    assert stale_services(fewer, lock_of(spec)) == ()


# The checks


def messages(*changes: tuple[str, str]) -> list[str]:
    text = SPEC
    for old, new in changes:
        text = text.replace(old, new)
    return [diagnostic.message for diagnostic in check_spec(read(text), ENGINES) if diagnostic.code != "E0230"]


def test_what_ports_may_come_to_be_taken_is_known_before_anything_is_solved() -> None:
    assert "services `chat-3` and `embedder` both listen on port 8002" in messages(
        ("count: 2, gpus: {model: l40s, count: 2}", "gpus: {model: l40s, count: 4}"),
        ("node: gpu-01, ", ""), ("port: 8010", "port: 8002"), ("replicas: 3", "replicas: max"),
    )  # fmt: skip
    alone = (("count: 2, gpus: {model: l40s, count: 2}", "gpus: {model: l40s, count: 4}"), ("node: gpu-01, ", ""))
    assert "the gateway and service `chat-3` both listen on port 8002" in messages(*alone, ("port: 8080", "port: 8002"))


# The solver and the plan


def test_replicas_spread_over_nodes_before_they_share_one() -> None:
    alone = SPEC[: SPEC.index("    rollout")] + SPEC[SPEC.index("gateway") :]
    plans = planned(alone.replace("replicas: 3", "replicas: 2").replace("gateway: {node: gpu-01, port: 8080}\n", ""))
    assert [[service.name for service in plan.services] for plan in plans] == [["chat"], ["chat-2"]]


def test_each_replica_says_of_what_it_is_and_how_many_there_are() -> None:
    found = servers(planned(SPEC.replace("gateway: {node: gpu-01, port: 8080}\n", "")))
    assert (found["chat"].replica_of, found["chat-2"].replica_of) == (None, "chat")
    assert found["chat-candidate-3"].candidate_of == "chat"
    assert {found[name].replicas for name in ("chat", "chat-2", "chat-candidate")} == {3}
    assert {found[name].concurrency for name in ("chat", "chat-2", "chat-3")} == {4}
    assert found["embedder"].replicas == 1


def test_the_gateway_divides_each_revision_among_all_of_its_replicas() -> None:
    text = SPEC.replace(
        "nodes:\n  gpu: {count: 2, gpus: {model: l40s, count: 2}}",
        "nodes:\n  gpu-01: {gpus: {model: h100-80gb, count: 4}}",
    )
    (plan,) = planned(text.replace("node: gpu-01, ", ""))
    assert plan.gateway is not None
    route = next(route for route in plan.gateway.routes if route.name == "chat")
    assert sorted((each.service, each.port) for each in route.upstreams) == [
        ("chat", 8000), ("chat-2", 8001), ("chat-3", 8002)
    ]  # fmt: skip
    assert route.rollout is not None
    assert sorted(each.service for each in route.rollout.upstreams) == [
        "chat-candidate", "chat-candidate-2", "chat-candidate-3"
    ]  # fmt: skip
    assert [route.name for route in plan.gateway.routes] == ["chat", "embedder"]


def test_an_open_count_does_not_cost_quality_or_length() -> None:
    """Two servers would fit on a GPU with half the context; one with all of it is what is asked for first."""
    text = SPEC[: SPEC.index("    rollout")].replace("replicas: 3", "replicas: {max: 9}")
    found = solved(read(text).spec)
    assert found.spec.servers_of("chat") == 9
    assert {server.demand.terms.context for each in found.solutions.values() for server in each.servers} == {8192}


def test_the_spec_says_that_a_count_was_found() -> None:
    text = SPEC[: SPEC.index("    rollout")].replace("replicas: 3", "replicas: max")
    assert "replicas" in servers(planned(text))["chat-2"].solved


@pytest.mark.parametrize(
    ("concurrency", "fits", "expected"),
    [
        (1, {1, 2, 3}, 3),
        (1, set[int](), 0),
        (20, {5, 6}, 6),
        (20, {7, 9, 10}, 10),
        (9, {3}, 3),
        (1, set(range(50)), 40),
    ],
)
def test_the_most_is_found_also_where_fewer_do_not_fit(concurrency: int, fits: set[int], expected: int) -> None:
    assert most_that_fit(concurrency, (1, 40), fits.__contains__) == expected


def test_a_variant_that_fits_all_replicas_is_served_by_all(two_variants: Any) -> None:
    spec, lock = two_variants
    found = attempt_servers(spec, lock, PINNED)
    assert isinstance(found, Solved)
    served = {server.demand.variant.name for each in found.solutions.values() for server in each.servers}
    assert served == {"example/chat-AWQ", "example/filler"}


@pytest.fixture
def two_variants() -> tuple[Spec, Lock]:
    """The best variant fits on the large card only, and a replica is wanted on each."""
    text = """\
stack: fleet
engine: {vllm: 0.33.0}
nodes:
  large: {gpus: {memory: 80GiB, compute_capability: "9.0"}}
  small: {gpus: {memory: 16GiB, compute_capability: "9.0"}}
services:
  chat: {model: example/chat, context: 8K, replicas: 2, port: 8000}
  filler: {model: example/filler, quantization: none, context: 2K, port: 8010, node: large}
policy: {publishers: [example]}
"""
    spec = read(text).spec
    large, filler = config(56, 4096, 32, 8, 32_000), config(60, 5120, 40, 8, 32_000)
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
    models = {
        "example/chat": ModelFacts(source=HUB, chat_template="x", config=large),
        "example/chat-AWQ": ModelFacts(
            source=HUB, chat_template="x", config=large | {"torch_dtype": "float16"}, quantization=awq
        ),
        "example/filler": ModelFacts(source=HUB, chat_template="x", config=filler),
    }
    services = {
        "chat": LockedService(
            model="example/chat", quantization=("auto",), publishers=("example",),
            candidates=("example/chat", "example/chat-AWQ"),
        ),
        "filler": LockedService(model="example/filler", quantization=("none",), candidates=("example/filler",)),
    }  # fmt: skip
    return spec, Lock(schema=1, services=services, models=models)


# What people are told


@pytest.fixture(scope="module")
def helpdesk() -> tuple[Explained, tuple[Diagnostic, ...]]:
    explained, found = explain_stack(ROOT / "tests/cases/replicas/helpdesk.yaml", "helpdesk.yaml")
    assert explained is not None
    return explained, found


def test_what_holds_for_all_replicas_is_told_once(helpdesk: tuple[Explained, tuple[Diagnostic, ...]]) -> None:
    explained, found = helpdesk
    assert list(explained.candidates) == list(explained.parsers) == ["chat", "coder"]
    named = [diagnostic.message for diagnostic in found if diagnostic.code == "W0301"]
    assert len(named) == len(set(named)) == 2


def test_a_plan_says_how_many_replicas_there_are_and_what_those_here_take(
    helpdesk: tuple[Explained, tuple[Diagnostic, ...]],
) -> None:
    first, second = helpdesk[0].plans
    assert replicas_of(first) == (Replicas("chat", ("chat",), 3, True, 8),)
    lines = ["".join(piece.text for piece in line) for line in plan_lines(second, 100, BLOCKS)]
    told = "replicas of chat: 3, the most that fit, here chat-2, chat-3; 16 requests of full context at once together"
    assert told in " ".join(lines).replace("   ", " ").replace("  ", " ")
    (page,) = emit_readme(second)
    assert "`chat` has 3 replicas, the most that fit, which answer alike: `chat-2`, `chat-3` of them here" in page.text


def test_an_objective_that_is_missed_is_told_once_and_for_all_together() -> None:
    text = SPEC[: SPEC.index("    rollout")] + "    objectives: {tokens_per_second: 500}\n"
    file = read(text)
    found = solved(file.spec)
    servers = SpecFile(found.spec, file.document)
    plans = lower_stack(servers, found.solutions, PINNED)
    (told,) = check_objectives(servers, found.solutions, PINNED, plans)
    assert told.code in ("E0406", "W0401")
    assert not any("chat-2" in help_.text for help_ in told.helps)


@pytest.mark.parametrize(("replicas", "shared"), [(4, None), (5, "gpu-01:0: chat, chat-5"), (8, "and so it is on 3")])
def test_whoever_has_two_replicas_on_one_gpu_is_told_that_they_are_no_faster(replicas: int, shared: str | None) -> None:
    text = SPEC[: SPEC.index("    rollout")].replace("replicas: 3", f"replicas: {replicas}")
    file = read(text)
    found = solved(file.spec)
    servers = SpecFile(found.spec, file.document)
    told = list(replicas_that_share(servers, lower_stack(servers, found.solutions, PINNED)))
    assert [each.code for each in told] == ["W0255"] * (shared is not None)
    assert shared is None or shared in told[0].message


def test_a_patch_of_a_service_is_one_of_each_replica() -> None:
    text = SPEC.replace("gateway: {node: gpu-01, port: 8080}\n", "")
    patch = "patches: {systemd: {chat: {Service: {Nice: 5}}}}\n"
    plans = planned(text + patch)
    patched = {name for plan in plans for name in plan.patches.systemd}
    assert patched == {"chat", "chat-2", "chat-3"}


def test_what_tokens_cost_is_told_once_for_replicas_that_are_alike() -> None:
    result = CliRunner().invoke(cli, ["cost", "--quiet", str(ROOT / "tests/cases/replicas/helpdesk.yaml")])
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines() if line.startswith(("chat", "coder"))]
    assert [row for row in rows if row == "chat"] == ["chat"]
    assert "replicas of chat, as chat" in result.stdout


def test_replicas_that_span_machines_take_as_many_nodes_each() -> None:
    node = "{{gpus: {{model: l40s, count: 2}}, address: 10.0.0.{0}, interface: eth0}}"
    nodes = "\n".join(f"  n{number}: {node.format(number)}" for number in range(1, 6))
    text = f"""\
stack: fleet
engine: {{vllm: 0.33.0}}
nodes:
{nodes}
services:
  chat: {{model: example/chat, quantization: none, context: 8K, machines: 2, replicas: max, port: 8000}}
"""
    spec = read(text).spec
    assert most_replicas(spec, "chat") == 2
    found = solved(spec)
    assert found.spec.servers_of("chat") == 2
    places = {node: [server.demand.service for server in each.servers] for node, each in found.solutions.items()}
    assert sorted(places.values()) == [["chat"], ["chat"], ["chat-2"], ["chat-2"]]
