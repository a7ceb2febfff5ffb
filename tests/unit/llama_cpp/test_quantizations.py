"""One repository with many quantizations: which is served, where its layers lie, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.gguf_fit import BUILD, Question, lock_of, spec_of
from compiler.cli.run.explain import candidate_lines
from compiler.engines.llama_cpp.demand import Demand, own, settings_of
from compiler.engines.llama_cpp.memory.plan import memory_plan
from compiler.engines.registry import ENGINES
from compiler.lock.models import Lock
from compiler.solve.attempt import attempt, machine_of
from compiler.solve.budget import Solution
from compiler.solve.judgements import judge_stack
from compiler.spec.models import Spec

ENGINES_PINNED = {"llama.cpp": ENGINES["llama.cpp"].pin(BUILD, None, assumes_full=False)}
DENSE = Question("llama-3.3-70b", "rtx-4060-ti-16gb", 1, "128GiB")
EXPERTS = Question("qwen3-30b-a3b", "rtx-4060-ti-16gb", 1, "64GiB")


def only(lock: Lock, *files: str) -> Lock:
    """The lock with some of its candidates."""
    service = lock.services["server"]
    kept = tuple(name for name in service.candidates if name.partition("#")[2] in files)
    return Lock(
        schema=1,
        services={"server": service.model_copy(update={"candidates": kept})},
        models={name: lock.models[name] for name in kept},
    )


def with_keys(spec: Spec, **keys: object) -> Spec:
    return spec.model_copy(update={"services": {"server": spec.services["server"].model_copy(update=keys)}})


def solved(spec: Spec, lock: Lock) -> Demand:
    found = attempt(spec, lock, ENGINES_PINNED)
    assert isinstance(found, Solution), found
    return own(found.servers[0].demand)


def test_what_fits_the_card_whole_is_served_before_what_does_not() -> None:
    lock = only(lock_of(EXPERTS), "f16-q8_0.gguf", "iq3_s-q8_0.gguf")
    demand = solved(spec_of(EXPERTS), lock)
    assert demand.variant.name.endswith("#iq3_s-q8_0.gguf")
    assert demand.division.gpu_layers == demand.division.layers
    assert demand.division.cpu_moe == 0


def test_where_none_fits_whole_the_smallest_of_four_bits_leaves_least_in_main_memory() -> None:
    lock = only(lock_of(DENSE), "f16-q8_0.gguf", "q6_K-q8_0.gguf", "q4_K-q6_K.gguf", "q2_K-q6_K.gguf")
    demand = solved(spec_of(DENSE), lock)
    assert demand.variant.name.endswith("#q4_K-q6_K.gguf")
    assert 0 < demand.division.gpu_layers < demand.division.layers


def test_an_order_that_the_spec_gives_is_kept() -> None:
    lock = only(lock_of(DENSE), "q6_K-q8_0.gguf", "q4_K-q6_K.gguf")
    spec = with_keys(spec_of(DENSE), quantization=("Q8_0", "Q6_K"))  # as the names of these files say
    assert solved(spec, lock).variant.name.endswith("#q6_K-q8_0.gguf")


@pytest.mark.parametrize("question", [DENSE, EXPERTS])
def test_as_many_layers_as_fit_lie_on_the_card(question: Question) -> None:
    """Found by halving: one step less in main memory has no room."""
    lock = only(lock_of(question), "q8_0-q8_0.gguf")
    demand = solved(spec_of(question), lock)
    variant = demand.variant
    at = variant.offloads.index(demand.division)
    before = variant.offloads[at - 1] if at else variant.divisions[0]
    card = machine_of(next(iter(spec_of(question).nodes.values()))).devices[0].usable
    assert demand.required.high <= card
    assert variant.demand("server", demand.terms, before).required.high > card


@pytest.mark.parametrize("question", [DENSE, EXPERTS])
def test_each_offload_leaves_less_on_the_card_and_more_in_main_memory(question: Question) -> None:
    demand = solved(spec_of(question), only(lock_of(question), "q8_0-q8_0.gguf"))
    offers = [own(demand.variant.demand("server", demand.terms, each)) for each in demand.variant.offloads]
    for one, other in pairwise(offers):
        assert other.required.high <= one.required.high
        assert one.host is not None
        assert other.host is not None
        assert other.host.required.high >= one.host.required.high


@pytest.mark.parametrize("question", [DENSE, EXPERTS])
def test_what_offloads_share_changes_no_byte(question: Question) -> None:
    demand = solved(spec_of(question), only(lock_of(question), "q8_0-q8_0.gguf"))
    variant, terms = demand.variant, demand.terms
    for division in (*variant.divisions, *variant.offloads[::7]):
        shared = own(variant.demand("server", terms, division))
        settings, host = settings_of(terms, division, variant.model)
        settings = replace(settings, context=shared.settings.context)
        alone = memory_plan(variant.release, variant.model.served, settings, host)
        assert [rank.required for rank in shared.ranks] == [alone.device_bytes(0)]
        assert shared.host is not None
        assert shared.host.required == alone.host_bytes


def test_a_plan_without_main_memory_keeps_nothing_there() -> None:
    spec = spec_of(EXPERTS)
    node = spec.nodes["node"].model_copy(update={"memory": None})
    found = attempt(
        spec.model_copy(update={"nodes": {"node": node}}), only(lock_of(EXPERTS), "q8_0-q8_0.gguf"), ENGINES_PINNED
    )
    assert not isinstance(found, Solution)
    assert [problem.code for problem in found] == ["E0401"]


def test_a_least_number_of_bits_leaves_out_what_has_fewer() -> None:
    spec = spec_of(EXPERTS)
    spec = spec.model_copy(update={"policy": spec.policy.model_copy(update={"minimum_bits": 4.5})})
    lock = only(lock_of(EXPERTS), "iq3_s-q8_0.gguf", "q4_K-q6_K.gguf")
    demand = solved(spec, lock)
    assert demand.variant.name.endswith("#q4_K-q6_K.gguf")


def test_the_table_of_forty_is_short_and_names_what_matters() -> None:
    spec, lock = spec_of(EXPERTS), lock_of(EXPERTS)
    found = attempt(spec, lock, ENGINES_PINNED)
    assert isinstance(found, Solution)
    rows = judge_stack(spec, lock, ENGINES_PINNED, {"node": found})["server"]
    assert len(rows) == 40
    text = " ".join("\n".join(candidate_lines(rows)).split())
    assert text.count("a/qwen3-30b-a3b-GGUF#") < 8
    assert "chosen a/qwen3-30b-a3b-GGUF#iq3_s-q8_0.gguf" in text
    assert "does not fit" in text
    assert "more, which --verbose lists" in text
