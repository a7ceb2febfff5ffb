"""Adapters are locked like models: to their commit, with their tensors and the hash of their file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.lock.file import format_lock, read_lock
from compiler.lock.models import AdapterFacts
from compiler.lock.staleness import stale_services
from compiler.resolve.reading.kinds import parse_adapter
from compiler.spec.models import Spec
from tests.adapter_files import adapter_config, shapes, weights_header, write_adapter
from tests.hub.builders import COMMIT, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import serve

SIZES = {"self_attn.q_proj": (64, 64), "self_attn.v_proj": (64, 32)}
BASE = repository("acme/base")


def adapter(name: str = "acme/sql", *, files: Mapping[str, int] | None = None, **config: Any) -> Recording:
    start, size = weights_header(shapes(8, SIZES, 2))
    contents = {
        "adapter_config.json": json.dumps(adapter_config("acme/base", 8, SIZES, **config)).encode(),
        "adapter_model.safetensors": start,
    }
    listed = {"adapter_config.json": len(contents["adapter_config.json"]), "adapter_model.safetensors": size}
    return Recording(
        name, commit=COMMIT, files=listed if files is None else files, contents=contents, license="apache-2.0",
    )  # fmt: skip


def asking(*models: str) -> Spec:
    adapters = [{"model": model, "name": f"name{index}"} for index, model in enumerate(models)]
    return spec_of({"s": service("acme/base", "none") | {"adapters": adapters}})


def test_an_adapter_is_locked_with_all_that_decides_its_room(tmp_path: Path) -> None:
    with serve([BASE, adapter(rank_pattern={"q_proj": 16})]) as hub:
        lock = locked(asking("acme/sql"), hub)
    facts = lock.models["acme/sql"]
    assert lock.services["s"].adapters == {"acme/sql": "acme/sql"}
    assert (facts.kind, facts.commit) == ("adapter", COMMIT)
    assert facts.weights[0].sha256 is not None
    assert facts.adapter == AdapterFacts(
        rank=8, largest_rank=16, alpha=16.0, target_modules=("q_proj", "v_proj"), base_model="acme/base"
    )
    kinds = {(kind.name, kind.shape, kind.count) for kind in facts.tensors_of()}
    assert ("base_model.model.model.layers.*.self_attn.v_proj.lora_B.weight", (32, 8), 2) in kinds
    (tmp_path / "x.lock.yaml").write_text(format_lock(lock))
    assert read_lock(tmp_path / "x.lock.yaml", "x") == (lock, ())


def test_another_adapter_makes_the_lock_stale_and_moves_nothing_else() -> None:
    with serve([BASE, adapter(), adapter("acme/german")]) as hub:
        lock = locked(asking("acme/sql"), hub)
        (stale,) = stale_services(asking("acme/sql", "acme/german"), lock)
        assert (stale.field, stale.asked) == ("adapters", "[acme/german, acme/sql]")
        again = locked(asking("acme/sql", "acme/german"), hub, previous=lock)
    assert set(again.services["s"].adapters) == {"acme/german", "acme/sql"}
    assert {name: again.models[name] for name in lock.models} == lock.models


def test_an_adapter_without_safetensors_or_that_is_none() -> None:
    with serve([BASE, adapter(files={"adapter_config.json": 9, "adapter_model.bin": 9})]) as hub:
        error = problem(asking("acme/sql"), hub)
        assert (error.code, error.message) == ("E0330", "`acme/sql` holds no adapter_model.safetensors")
        error = problem(asking("acme/base"), hub)
        assert (error.code, error.message) == ("E0330", "`acme/base` is no LoRA adapter: it holds a model of its own")
        assert problem(asking("acme/nothing"), hub).code == "E0310"


def test_a_folder_that_changes_is_another_adapter(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "sql", "acme/base", 8, SIZES, 2)
    with serve([BASE]) as hub:
        lock = locked(asking(str(folder)), hub)
        weights = folder / "adapter_model.safetensors"
        content = weights.read_bytes()
        assert lock.models[str(folder)].weights[0].sha256 == hashlib.sha256(content).hexdigest()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        again = locked(asking(str(folder)), hub, previous=lock)
    assert again.models[str(folder)].weights != lock.models[str(folder)].weights


@pytest.mark.parametrize(
    ("config", "features"),
    [
        ({"use_dora": True, "bias": "all"}, ("bias: all", "use_dora")),
        ({"modules_to_save": ["lm_head", "score"]}, ("modules_to_save: lm_head, score",)),
        ({"init_lora_weights": "pissa_niter_16", "use_rslora": True}, ("init_lora_weights: pissa_niter_16",)),
        ({"init_lora_weights": "gaussian", "modules_to_save": [], "layer_replication": None}, ()),
        ({"alora_invocation_tokens": [1, 2]}, ("alora_invocation_tokens: 1, 2",)),
        ({"peft_type": "IA3"}, ("peft_type: IA3",)),
    ],
)
def test_what_an_adapter_has_beyond_plain_lora(config: dict[str, Any], features: tuple[str, ...]) -> None:
    assert parse_adapter(config).features == features


@pytest.mark.parametrize("pattern", [{"q_proj": 0}, {"q_proj": True}, {"q_proj": "8"}])
def test_a_rank_that_is_none_makes_the_largest_unknown(pattern: dict[str, Any]) -> None:
    assert parse_adapter({"r": 8, "rank_pattern": pattern}).largest_rank is None
    assert parse_adapter({"r": 8, "rank_pattern": {"q_proj": 40}}).largest_rank == 40


def test_an_adapter_moves_with_an_upgrade_alone() -> None:
    with serve([BASE, adapter()]) as hub:
        lock = locked(asking("acme/sql"), hub)
    with serve([BASE, replace(adapter(), commit="f" * 40)]) as hub:
        assert problem(asking("acme/sql"), hub, previous=lock).code == "E0310"  # the commit is gone
        moved = locked(asking("acme/sql"), hub, previous=lock, upgrade=True)
    assert moved.models["acme/sql"].commit == "f" * 40


def test_an_adapter_that_another_publisher_has_now_is_refused() -> None:
    with serve([BASE, replace(adapter("acme/sql-2"), renamed_from=("acme/sql",))]) as hub:
        lock = locked(asking("acme/sql"), hub)
    assert lock.services["s"].adapters == {"acme/sql": "acme/sql-2"}
    with serve([BASE, replace(adapter("stranger/sql"), renamed_from=("acme/sql",))]) as hub:
        error = problem(asking("acme/sql"), hub)
    assert (error.code, error.message) == ("E0305", "`acme/sql` is `stranger/sql` now, by another publisher")
