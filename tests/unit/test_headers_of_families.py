"""Headers of the models in `engine_counts.json`: names as published files have them are no contradiction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler.lock.models import TensorKind
from compiler.memory.header_totals import ContradictionError
from compiler.memory.headers import check_headers
from compiler.memory.packing import read_quantization
from compiler.memory.read import read_architecture
from compiler.memory.tensors import expected_tensors
from tests.unit.test_engine_counts import CASES

Change = Callable[[TensorKind], TensorKind]


def checked(name: str, change: Change) -> None:
    config: dict[str, Any] = CASES[name]["config"]
    block = config.get("quantization_config")
    quantization = read_quantization(block["quant_method"], block, config) if block else None
    architecture = read_architecture(config)
    check_headers(architecture, quantization, [change(kind) for kind in expected_tensors(architecture, quantization)])


def renamed(old: str, new: str) -> Change:
    return lambda kind: kind.model_copy(update={"name": kind.name.replace(old, new)})


def one_more(part: str) -> Change:
    return lambda kind: kind.model_copy(update={"count": kind.count + (part in kind.name)})


@pytest.mark.parametrize("name", CASES)
def test_what_config_json_implies_is_no_contradiction(name: str) -> None:
    checked(name, lambda kind: kind)


@pytest.mark.parametrize(
    "name", ["LlavaNextForConditionalGeneration", "Idefics3ForConditionalGeneration", "MiniCPMV26"]
)
def test_a_file_may_hold_layers_of_a_tower_that_are_not_built(name: str) -> None:
    part = {"MiniCPMV26": "vpm.encoder.layers.*.", "Idefics3ForConditionalGeneration": "vision_model.encoder.layers.*."}
    checked(name, one_more(part.get(name, "vision_tower.vision_model.encoder.layers.*.")))


def test_the_language_model_has_no_layers_to_spare() -> None:
    with pytest.raises(ContradictionError):
        checked("LlavaNextForConditionalGeneration", one_more("language_model.model.layers.*."))


def test_such_a_tower_may_be_spelled_without_its_inner_name() -> None:
    inner, flat = "vision_tower.vision_model.", "model.vision_tower."
    more = one_more(f"{inner}encoder.layers.*.")
    checked("LlavaNextForConditionalGeneration", lambda kind: renamed(inner, flat)(more(kind)))


def test_the_router_of_granite_has_two_names() -> None:
    names = {kind.name for kind in expected_tensors(read_architecture(CASES["GraniteMoeSWA"]["config"]), None)}
    assert "model.layers.*.block_sparse_moe.router.layer.weight" in names
    checked("GraniteMoeSWA", renamed("router.layer.", "router."))
