"""Which configs tie the output head to the embeddings where they do not say so, and what checkpoints then hold."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.weights import weights_row
from compiler.ledger import Basis
from compiler.lock.models import TensorKind
from tests.unit.test_gemma4 import E2B, GEMMA_4_26B
from tests.unit.test_memory_moe import ERNIE
from tests.unit.test_memory_vision import GEMMA_3_27B, LLAVA, MISTRAL_3, QWEN2_VL, QWEN3_VL_2B, QWEN3_VL_8B
from tests.unit.test_text_models import CASES

# transformers 5.19: `tie_word_embeddings` of configuration classes that are given none.
TIED = {
    "bloom", "cohere", "cohere2", "ernie4_5", "ernie4_5_moe", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text",
    "gemma4", "gpt2", "granite_swa", "lfm2", "minicpm3", "mistral3", "opt", "smollm3", "starcoder2",
}  # fmt: skip
NOT_TIED = {
    "arcee", "exaone4", "glm", "glm4", "gpt_neox", "gptj", "granite", "hunyuan_v1_dense", "jais2", "llama", "llava",
    "ministral3", "mistral", "nemotron", "olmo", "olmo2", "olmo3", "phi", "phi3", "qwen2", "qwen2_vl", "qwen3",
    "qwen3_vl", "seed_oss", "stablelm",
}  # fmt: skip
COMPOSED = (E2B, GEMMA_4_26B, GEMMA_3_27B, LLAVA, MISTRAL_3, QWEN2_VL, QWEN3_VL_2B, QWEN3_VL_8B)


def _silent(config: dict[str, Any]) -> dict[str, Any]:
    """Without the key, here and below."""
    return {
        key: _silent(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key != "tie_word_embeddings"
    }


def _known() -> dict[str, dict[str, Any]]:
    configs = [case.config for case in CASES] + [*COMPOSED, ERNIE | {"model_type": "ernie4_5_moe"}]
    configs += [case.config | {"model_type": "granite_swa"} for case in CASES if "SWA" in case.architecture]
    found = {str(config["model_type"]): config for config in configs if "model_type" in config}
    return {kind: config for kind, config in found.items() if kind in TIED | NOT_TIED}


@pytest.mark.parametrize("kind", sorted(_known()))
def test_a_config_that_does_not_say_is_tied_as_its_class_has_it(kind: str) -> None:
    assert read_architecture(_silent(_known()[kind])).tie_word_embeddings == (kind in TIED)


HEAD = 131072 * 5120 * 2


def _row(config: dict[str, Any], tensors: tuple[TensorKind, ...] | None, ranks: int = 1) -> tuple[int, int, int, Basis]:
    checkpoint = Checkpoint(read_architecture(config), None, tensors)
    row = weights_row(checkpoint, Parallelism(ranks), "bfloat16", (9, 0))
    return row.bytes.low, row.bytes.expected, row.bytes.high, row.basis


def _headers(config: dict[str, Any], *, head: bool) -> tuple[TensorKind, ...]:
    return expected_tensors(read_architecture(config | {"tie_word_embeddings": not head}), None)


def test_a_head_is_expected_where_only_a_composed_class_ties_it() -> None:
    silent = _silent(MISTRAL_3)
    one = _row(MISTRAL_3 | {"tie_word_embeddings": True}, None)[1]
    assert _row(silent, None) == (one, one + HEAD, one + HEAD, Basis.ESTIMATE)
    assert _row(silent, None, ranks=2)[2] - _row(silent, None, ranks=2)[0] == HEAD // 2
    assert _row(silent, _headers(MISTRAL_3, head=True)) == (one, one + HEAD, one + HEAD, Basis.ESTIMATE)
    assert _row(silent, _headers(MISTRAL_3, head=False)) == (one, one, one, Basis.EXACT)


def test_a_head_that_the_config_calls_tied_is_most_likely_a_copy() -> None:
    tied = MISTRAL_3 | {"tie_word_embeddings": True}
    low, expected, high, _ = _row(tied, _headers(MISTRAL_3, head=True))
    assert (low, high - low) == (expected, HEAD)
    text = MISTRAL_3["text_config"] | {"tie_word_embeddings": True}
    assert _row(_silent(MISTRAL_3) | {"text_config": text}, None)[3] is Basis.DERIVED
