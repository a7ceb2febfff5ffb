"""A checkpoint's quantization by what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.lock.models import ModelFacts
from compiler.lock.quantization import (
    answers_quantization,
    checkpoint_format,
    quantization_method,
    quantization_names,
    whole_config,
)


def facts(block: dict[str, Any] | None, file: str = "config.json") -> ModelFacts:
    return ModelFacts(
        source="folder", config={}, quantization=block, quantization_file=file if block is not None else None
    )


def compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


@pytest.mark.parametrize(
    ("checkpoint", "form", "method"),
    [
        (facts(None), None, "none"),
        (facts({"quant_method": "awq", "bits": 4}), "awq", "awq"),
        (facts({"w_bit": 4, "q_group_size": 128, "zero_point": True}, "quant_config.json"), "awq", "awq"),
        (facts({"quant_method": "gptq", "bits": 4, "group_size": -1}), "gptq", "gptq"),
        (facts({"quant_method": "gptq", "bits": 8}), "gptq", "int8"),
        (facts({"bits": 8, "group_size": 128}, "quantize_config.json"), "gptq", "int8"),
        (facts({"quant_method": "fp8"}), "fp8", "fp8"),
        (facts(compressed(num_bits=8, type="int")), "compressed-tensors", "int8"),
        (facts(compressed(num_bits=8, type="float")), "compressed-tensors", "fp8"),
        (facts(compressed(num_bits=4, type="int")), "compressed-tensors", "compressed-tensors"),
        (facts({"quant_method": "compressed-tensors"}), "compressed-tensors", "compressed-tensors"),
        (facts({"quant_method": "modelopt", "quant_algo": "FP8"}), "modelopt", "fp8"),
        (facts({"quantization": {"quant_algo": "FP8"}}, "hf_quant_config.json"), "modelopt", "fp8"),
        (facts({"quantization": {"quant_algo": "NVFP4"}}, "hf_quant_config.json"), "modelopt", "modelopt"),
        (facts({"quant_method": "BitsAndBytes"}), "bitsandbytes", "bitsandbytes"),
        (facts({"bits": 4}), "unknown", "unknown"),
    ],
)
def test_method(checkpoint: ModelFacts, form: str | None, method: str) -> None:
    assert checkpoint_format(checkpoint) == form
    assert quantization_method(checkpoint) == method


def test_one_checkpoint_answers_to_several_names() -> None:
    checkpoint = facts(compressed(num_bits=8, type="int"))
    assert quantization_names(checkpoint) == {"int8", "compressed-tensors"}
    assert answers_quantization(checkpoint, ("awq", "int8"))
    assert answers_quantization(checkpoint, ("auto",))
    assert not answers_quantization(checkpoint, ("none",))
    assert answers_quantization(facts(None), ("none",))


def test_an_engine_reads_the_block_beside_the_rest() -> None:
    """Kimi K2.5's tower is kept from its quantizer, which stands in a part of config.json or in a file of its own."""
    assert whole_config(facts(None)) == {}
    assert whole_config(facts({"quant_method": "awq"}))["quantization_config"]["quant_method"] == "awq"
    aside = facts({"quantization": {"quant_algo": "NVFP4"}}, "hf_quant_config.json")
    assert whole_config(aside)["quantization_config"]["quant_method"] == "modelopt"
    assert aside.config == {}
