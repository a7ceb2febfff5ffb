"""Headers of the models in `engine_counts.json`: names as published files have them are no contradiction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler.checkpoints.parameters.header_totals import ContradictionError
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.lock.models import TensorKind
from tests.unit.test_engine_counts import CASES
from tests.unit.test_hybrid import NEMOTRON_NANO

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


def published_nemotron(kinds: tuple[TensorKind, ...]) -> list[TensorKind]:
    """As its files have them: one convolution of [channels, 1, taps], and `backbone` with `embeddings`."""
    taps, held = 4, []
    grouped = {kind.name.replace(".grouped.", "."): kind for kind in kinds if ".conv1d.grouped." in kind.name}
    for kind in kinds:
        if ".conv1d.grouped." in kind.name:
            continue
        shape = kind.shape
        if kind.name in grouped:
            total = shape[0] + grouped[kind.name].shape[0]
            shape = (total // taps, 1, taps) if kind.name.endswith(".weight") else (total,)
        name = kind.name.replace("model.embed_tokens.", "model.embeddings.").replace("model.", "backbone.", 1)
        held.append(kind.model_copy(update={"name": name, "shape": shape}))
    return held


def test_nemotron_s_convolutions_and_embeddings_have_names_of_their_own() -> None:
    architecture = read_architecture(NEMOTRON_NANO)
    kinds = expected_tensors(architecture, None)
    assert any(".conv1d.grouped." in kind.name for kind in kinds)
    check_headers(architecture, None, published_nemotron(kinds))
    lacking = [kind for kind in published_nemotron(kinds) if "conv1d" not in kind.name]
    with pytest.raises(ContradictionError):
        check_headers(architecture, None, lacking)


def published_ernie(kind: TensorKind) -> TensorKind:
    """As its files have them: the language model below `model` alone, and routers with inputs before outputs."""
    name = kind.name.removeprefix("language_model.").replace("resampler_model.", "model.resampler_model.")
    name = name.replace(".mlp.gate_1.weight", ".mlp.gate.weight_1")
    turned = kind.shape[::-1] if ".mlp.gate." in name else kind.shape
    return kind.model_copy(update={"name": name, "shape": turned})


def test_ernie_s_two_routers_and_two_pools_of_experts_have_common_names() -> None:
    architecture = read_architecture(CASES["Ernie4_5_VLMoeForConditionalGeneration"]["config"])
    kinds = [published_ernie(kind) for kind in expected_tensors(architecture, None)]
    assert any(kind.name.endswith(".mlp.gate.weight_1") for kind in kinds)
    check_headers(architecture, None, kinds)
    for part in (".mlp.gate.weight_1", ".mlp.gate.weight"):
        with pytest.raises(ContradictionError):
            check_headers(architecture, None, [kind for kind in kinds if not kind.name.endswith(part)])


def test_a_perception_encoder_s_attention_is_torch_s_own() -> None:
    def published(kind: TensorKind) -> TensorKind:
        name = kind.name.replace(".attn.qkv_proj.", ".attn.in_proj_").removeprefix("language_model.")
        return kind.model_copy(update={"name": name})

    architecture = read_architecture(CASES["StepVLForConditionalGeneration"]["config"])
    kinds = [published(kind) for kind in expected_tensors(architecture, None)]
    assert any(kind.name.endswith(".attn.in_proj_weight") for kind in kinds)
    check_headers(architecture, None, kinds)
    with pytest.raises(ContradictionError):
        check_headers(architecture, None, [kind for kind in kinds if not kind.name.endswith(".attn.in_proj_weight")])
