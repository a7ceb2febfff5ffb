"""Many nodes: what is alike is placed once, a full fleet is refused soon, and its tree is known again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.placements.fleet_specs import fitting, overfull
from compiler.emit.manifest import NAME, manifest_of, read_manifest
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.render.artifact import Artifact
from compiler.solve.nodes import Node
from compiler.solve.stack import attempt_stack, compiles
from compiler.spec.models import Spec

PINNED = pinned(RELEASES["0.33.0"])
NODES = 40


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every group of services that is placed on a node."""
    groups: list[tuple[str, ...]] = []
    place = Node.place

    def counted(node: Node, names: tuple[str, ...], *rest: object) -> object:
        groups.append(names)
        return place(node, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Node, "place", counted)
    return groups


def test_a_full_fleet_is_refused_without_trying_each_node(placed: list[tuple[str, ...]]) -> None:
    data, lock = overfull(NODES)
    assert not compiles(Spec.model_validate(data), lock, PINNED)
    assert len(placed) < NODES


def test_of_a_full_fleet_few_nodes_are_told() -> None:
    data, lock = overfull(NODES)
    found = attempt_stack(Spec.model_validate(data), lock, PINNED)
    assert isinstance(found, tuple)
    (problem,) = found
    assert problem.code == "E0401"
    assert f"does not fit on any of {NODES} nodes" in problem.message
    assert len([note for note in problem.notes if note.startswith("node `")]) == 5
    assert problem.notes[-1] == f"and {NODES - 5} more nodes, none of which takes it"


def test_one_service_fewer_fills_every_node() -> None:
    data, lock = overfull(NODES)
    data["services"].popitem()
    lock = lock.model_copy(update={"services": {name: lock.services[name] for name in data["services"]}})
    found = attempt_stack(Spec.model_validate(data), lock, PINNED)
    assert isinstance(found, dict)
    assert [len(solution.servers) for solution in found.values()] == [2] * NODES


def test_a_mixed_fleet_has_each_service_once_and_on_no_node_more_than_it_holds() -> None:
    data, lock = fitting(48, 24)
    found = attempt_stack(Spec.model_validate(data), lock, PINNED)
    assert isinstance(found, dict)
    assert sorted(server.demand.service for each in found.values() for server in each.servers) == [*data["services"]]
    ledgers = [ledger for solution in found.values() for ledger in solution.ledgers]
    assert all(ledger.slack >= 0 for ledger in ledgers)


def test_the_manifest_of_a_thousand_nodes_is_read_again(tmp_path: Path) -> None:
    """Else a fleet that was just written is taken for a stranger's folder."""
    paths = (Path(f"n{node:04}") / f"file-{number}.txt" for node in range(1000) for number in range(30))
    manifest = manifest_of(Artifact(type(NAME)(path), "\n") for path in paths)
    (tmp_path / NAME).write_text(manifest.text, encoding="utf-8")
    assert len(read_manifest(tmp_path)) == 30_000
