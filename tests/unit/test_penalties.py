"""What quantization is said to cost a model: only what somebody measured, and more of small models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.choose.grades import penalty
from compiler.registry.read import registry

LARGE, SMALL, TINY = 70 * 10**9, 3 * 10**9, 10**9
UNPUBLISHED = {"int2/4/8", "mxfp8"}
"""Formats of the registry that nobody measured."""


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        ("none", 0, 0),
        ("BF16", 0, 0),
        ("fp8-dynamic", 0, 0.01),
        ("w8a8", 0, 0.03),
        ("gptq-int8", 0, 0.03),
        ("awq", 0.005, 0.04),
        ("gptq-4b-128g", 0.005, 0.04),
        ("compressed-tensors", 0, 0.04),
        ("nvfp4", 0, 0.03),
        ("q4-k-m", 0.03, 0.08),
        ("Q2_K", 0.11, 0.15),
        ("Q8_0", 0, 0.03),
        ("Q6_K", 0, 0.08),
        ("IQ3_M", 0.03, 0.15),
    ],
)
def test_a_large_model_loses_what_was_published(method: str, low: float, high: float) -> None:
    found = penalty(method, LARGE, False)
    assert found is not None
    assert (found.low, found.high) == (low, high)
    assert found.source


@pytest.mark.parametrize("method", ["IQ2_XS", "IQ1_S", "Q1_0", "bitsandbytes", "int2/4/8", ""])
def test_what_nobody_measured_is_not_known(method: str) -> None:
    assert penalty(method, LARGE, False) is None


def test_the_format_that_a_model_was_trained_in_costs_nothing() -> None:
    found = penalty("mxfp4", LARGE, True)
    assert found is not None
    assert (found.low, found.high) == (0, 0)


def test_small_models_lose_more_to_four_bits_and_other_figures_are_marked() -> None:
    highs = [found.high for size in (LARGE, SMALL, TINY) if (found := penalty("awq", size, False)) is not None]
    assert highs[0] < highs[1] < highs[2]
    # Llama 3.2 3B: MMLU 63.4 to 60.5; 1B: 49.3 to 43.3.
    assert highs[1] > (63.4 - 60.5) / 63.4
    assert highs[2] >= (49.3 - 43.3) / 49.3 - 0.001
    fp8 = penalty("fp8", TINY, False)
    assert fp8 is not None
    assert fp8.mark


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["fp8", "int8", "awq", "Q4_K_M", "nvfp4", "Q2_K"]), st.integers(1, 10**12), st.integers(1, 10**12)
)
def test_no_penalty_grows_with_a_model(method: str, one: int, two: int) -> None:
    small, large = (penalty(method, size, False) for size in sorted((one, two)))
    assert small is not None
    assert large is not None
    assert 0 <= large.low <= large.high <= small.high < 1


def test_every_format_of_the_registry_is_known_or_known_to_be_unmeasured() -> None:
    formats = {each.format for entry in registry().models.values() for each in entry.quantized}
    assert {name for name in formats if penalty(name, LARGE, False) is None} == formats & UNPUBLISHED
