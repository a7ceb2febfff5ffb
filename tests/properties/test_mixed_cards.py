"""What must hold on a node with cards of several models, against a search of every way to put services on them."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.placements.exhaustive import fewest_steps
from compiler.diagnostics import SourceText
from compiler.engines.vllm.pinned import pinned
from compiler.ledger import RowKind
from compiler.lock.models import Lock
from compiler.plan.ir import GpuNode
from compiler.plan.lowering.lower import lower_stack
from compiler.solve.attempt import least_terms, machine_of
from compiler.solve.field import judge_field
from compiler.solve.stack import attempt_stack
from compiler.source.document import Document, load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from compiler.units import GIB
from tests.examples import examples
from tests.properties.test_solver import RELEASE, configs, stack

ENGINES = pinned(RELEASE)

few_services = st.lists(st.tuples(configs, st.integers(1, 64), st.integers(1, 16), st.just(1)), min_size=1, max_size=4)
# Memory in GiB and number of cards; two of one memory are one model, wherever they stand in the list.
cards = st.lists(st.tuples(st.sampled_from((16, 24, 48, 80)), st.integers(1, 2)), min_size=2, max_size=3)


def on_cards(given_services: list[Any], listed: list[tuple[int, int]], *, mixed: bool = False) -> tuple[Spec, Lock]:
    spec, lock = stack(given_services, GIB)
    data = spec.model_dump(mode="json", exclude_unset=True, by_alias=True)
    gpus = [{"memory": f"{gib}GiB", "compute_capability": "9.0", "count": count} for gib, count in listed]
    return Spec.model_validate(
        data
        | {
            "nodes": {"n": {"gpus": gpus, "mixed": mixed}},
            "services": {
                name: dict(service)
                | {"context": given_services[index][1] * 1024, "concurrency": given_services[index][2]}
                for index, (name, service) in enumerate(data["services"].items())
            },
        }
    ), lock


def some_way(spec: Spec, lock: Lock) -> bool:
    """Whether services can be divided among the models of cards so that each part holds its own."""
    for sides in itertools.product(spec.nodes, repeat=len(spec.services)):
        chosen = {
            part: [name for name, side in zip(spec.services, sides, strict=True) if side == part] for part in spec.nodes
        }
        if all(_holds(spec.on(part, names), lock) for part, names in chosen.items() if names):
            return True
    return False


def _holds(part: Spec, lock: Lock) -> bool:
    machine = machine_of(next(iter(part.nodes.values())))
    field = judge_field(part, lock, ENGINES, machine)
    if not all(field.variants.values()):
        return False
    return fewest_steps(field.variants, least_terms(part.services, ENGINES), machine) is not None


@examples(12)
@given(few_services, cards)
def test_what_fits_on_some_cards_is_placed_and_no_server_is_on_two_models(
    given_services: list[Any], listed: list[tuple[int, int]]
) -> None:
    spec, lock = on_cards(given_services, listed)
    found = attempt_stack(spec, lock, ENGINES)
    assert isinstance(found, dict) == some_way(spec, lock)
    if not isinstance(found, dict):
        return
    (plan,) = lower_stack(SpecFile(spec, empty_document()), found, ENGINES)
    assert isinstance(plan.node, GpuNode)
    sizes = [gib * GIB for gib, count in listed for _ in range(count)]
    assert [ledger.total for ledger in plan.devices] == sizes, "cards are numbered through, in the order of the list"
    assert [plan.node.card(index).memory for index in range(plan.node.count)] == sizes
    assert sorted(service.name for service in plan.services) == sorted(spec.services)
    for service in plan.services:
        assert len({sizes[device] for device in service.devices}) == 1
    for ledger in plan.devices:
        assert ledger.slack >= 0
        here = {service.name for service in plan.services if ledger.index in service.devices}
        assert here == {server.service for server in ledger.servers}


@examples(12)
@given(few_services, cards)
def test_where_a_server_may_have_cards_of_several_models_all_of_them_are_tried(
    given_services: list[Any], listed: list[tuple[int, int]]
) -> None:
    spec, lock = on_cards(given_services, listed, mixed=True)
    assert list(spec.nodes) == ["n"], "they have one compute capability"
    found = attempt_stack(spec, lock, ENGINES)
    assert isinstance(found, dict) == some_way(spec, lock)
    if not isinstance(found, dict):
        return
    (plan,) = lower_stack(SpecFile(spec, empty_document()), found, ENGINES)
    for ledger, (gib, _) in zip(plan.devices, ((gib, n) for gib, count in listed for n in range(count)), strict=True):
        assert ledger.total == gib * GIB
        assert ledger.slack >= 0
    for server in found["n"].servers:
        blocks = {
            row.bytes.high
            for ledger in plan.devices
            for each in ledger.servers
            if each.service == server.demand.service
            for row in each.rows
            if row.kind is RowKind.KV_CACHE and not server.demand.division.is_fallback
        }
        assert len(blocks) <= 1, "every rank has as many blocks as the one with least room"


def empty_document() -> Document:
    document, _ = load_document(SourceText("n.yaml", "stack: n\n"))
    assert document is not None
    return document
