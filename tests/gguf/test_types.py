"""Bytes of tensors and names of types: what a ledger's largest row is made of."""

from __future__ import annotations

import pytest

from compiler.gguf.file_types import FILE_TYPES, file_type_name, label_of, may_be
from compiler.gguf.types import REMOVED_TYPES, TENSOR_TYPES, TYPES_BY_NAME
from tests.gguf.writer import tensor


@pytest.mark.parametrize(
    ("name", "bits"),
    # As llama.cpp states them beside the names of its types (src/llama-model-loader.cpp, tools/quantize/README.md).
    [
        ("f32", 32), ("f16", 16), ("bf16", 16), ("q4_0", 4.5), ("q4_1", 5), ("q5_0", 5.5), ("q5_1", 6), ("q8_0", 8.5),
        ("q2_K", 2.625), ("q3_K", 3.4375), ("q4_K", 4.5), ("q5_K", 5.5), ("q6_K", 6.5625), ("iq1_s", 1.5625),
        ("iq1_m", 1.75), ("iq2_xxs", 2.0625), ("iq2_xs", 2.3125), ("iq2_s", 2.5625), ("iq3_xxs", 3.0625),
        ("iq3_s", 3.4375), ("iq4_xs", 4.25), ("iq4_nl", 4.5), ("tq1_0", 1.6875), ("tq2_0", 2.0625), ("mxfp4", 4.25),
        ("nvfp4", 4.5), ("q1_0", 1.125), ("q2_0", 2.25),
    ],
)  # fmt: skip
def test_bits_of_a_weight(name: str, bits: float) -> None:
    known = TYPES_BY_NAME[name]
    assert known.block_bytes * 8 / known.block == bits


def test_a_tensor_takes_whole_rows_of_blocks() -> None:
    assert tensor("output.weight", "q6_K", 4096, 128256).bytes == 430_940_160  # of Llama-3.1-8B
    assert tensor("blk.0.ffn_up_exps.weight", "mxfp4", 2880, 2880, 32).bytes == 141_004_800  # of gpt-oss-20b


def test_no_type_is_both_there_and_removed() -> None:
    assert not TENSOR_TYPES.keys() & REMOVED_TYPES.keys()
    assert sorted((*TENSOR_TYPES, *REMOVED_TYPES)) == list(range(43))


@pytest.mark.parametrize(("number", "name"), [(15, "Q4_K_M"), (15 + 1024, "Q4_K_M"), (38, "MXFP4_MOE"), (0, "F32")])
def test_a_file_type_has_a_name(number: int, name: str) -> None:
    assert file_type_name(number) == name


@pytest.mark.parametrize("number", [4, 33, 42, -1, 2**40, True, "15", 15.0, None, (15,)])
def test_what_is_no_file_type_has_none(number: object) -> None:
    assert file_type_name(number) is None


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen3-8B-Q4_K_M", "Q4_K_M"),
        ("llama-3.2-3b-q4_k_m", "Q4_K_M"),
        ("Mixtral-8x7B-Instruct-v0.1-q3-k-m", "Q3_K_M"),
        ("gemma-7b-it.fp16", "F16"),
        ("unsloth.QwQ-32B.f16", "F16"),
        ("Q4_K_M/Q4_K_M", "Q4_K_M"),
        ("UD-Q2_K_XL/DeepSeek-R1-part", "Q2_K_XL"),
        ("DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S", "IQ1_S"),
        ("phi-4.i1-IQ3_XXS", "IQ3_XXS"),
        ("Qwen2.5-32B-Instruct-Q4_0_4_4", "Q4_0_4_4"),
        ("Qwen2.5-32B-Instruct-Q6_K_L", "Q6_K_L"),
        ("llama-13b.q4_K", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4", "MXFP4_MOE"),
        ("Model-BF16-Q8_0", "Q8_0"),
        ("Qwen3-Next-80B-A3B-Thinking", None),
        ("Q4_Kiwi-7b", None),
        ("model", None),
    ],
)
def test_labels_in_names_of_real_repositories(path: str, label: str | None) -> None:
    assert label_of(path) == label


def test_a_label_without_a_type_of_its_own_may_be_one_of_as_many_bits() -> None:
    assert may_be(None, "Q4_K_M")
    assert may_be("Q4_K_L", "Q4_K_M")
    assert not may_be("Q4_K_S", "Q4_K_M")
    assert not may_be("Q4_K_L", "IQ4_XS")
    assert not may_be("Q6_K_L", "Q4_K_M")


def test_every_file_type_is_its_own_label() -> None:
    assert {label_of(f"model-{name}") for name in FILE_TYPES.values()} == set(FILE_TYPES.values())
