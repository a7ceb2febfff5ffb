"""Headers of safetensors files: read by parts, checked, and counted."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.resolve.answers import MalformedError
from compiler.resolve.reading.safetensors import FIRST_READ, Tensor, aggregate, parse_header, read_tensors


def encoded(entries: dict[str, Any]) -> bytes:
    return json.dumps(entries).encode()


def entry(dtype: str, shape: list[Any], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


GOOD = {"__metadata__": {"format": "pt"}, "b": entry("F32", [2], 8, 16), "a": entry("BF16", [2, 2], 0, 8)}


def test_a_header_is_read() -> None:
    assert sorted(parse_header(encoded(GOOD), "f"), key=lambda tensor: tensor.name) == [
        Tensor("a", "BF16", (2, 2), 8),
        Tensor("b", "F32", (2,), 8),
    ]


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry("F32", [2], 4, 12)},
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)},
        {"a": entry("F32", [2], 0, 4)},
        {"a": entry("F32", [2], 8, 0)},
        {"a": entry("F32", [-1], 0, 4)},
        {"a": entry("F32", [True], 0, 4)},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
        {"a": {"dtype": 1, "shape": [1], "data_offsets": [0, 4]}},
        {"a": 1},
    ],
)
def test_a_header_that_contradicts_itself(entries: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parse_header(encoded(entries), "f")


def test_an_unknown_dtype_is_taken_at_its_word() -> None:
    assert parse_header(encoded({"a": entry("NEW3", [5], 0, 7)}), "f") == (Tensor("a", "NEW3", (5,), 7),)


@given(st.binary(max_size=64))
def test_noise_is_malformed_and_nothing_worse(noise: bytes) -> None:
    content = len(noise).to_bytes(8, "little") + noise
    with contextlib.suppress(MalformedError):
        read_tensors(lambda start, stop: content[start:stop], "f", None)


def test_a_file_that_is_not_there() -> None:
    assert read_tensors(lambda _start, _stop: None, "f", None) is None


def test_a_long_header_is_read_in_two_parts() -> None:
    header = encoded({f"t{index}": entry("U8", [0], 0, 0) for index in range(3000)})
    content = len(header).to_bytes(8, "little") + header
    asked: list[tuple[int, int]] = []

    def read_range(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop]

    tensors = read_tensors(read_range, "f", len(content))
    assert tensors is not None
    assert len(tensors) == 3000
    assert asked == [(0, FIRST_READ), (8, 8 + len(header))]


def test_the_file_must_be_as_long_as_its_header_says() -> None:
    header = encoded(GOOD)
    content = len(header).to_bytes(8, "little") + header
    assert read_tensors(lambda start, stop: content[start:stop], "f", len(content) + 16) is not None
    with pytest.raises(MalformedError):
        read_tensors(lambda start, stop: content[start:stop], "f", len(content) + 15)


def test_kinds_differ_in_more_than_the_numbers_of_their_names() -> None:
    tensors = [
        Tensor("m.layers.10.w", "BF16", (2, 2), 8),
        Tensor("m.layers.2.w", "BF16", (2, 2), 8),
        Tensor("m.layers.3.w", "F32", (2, 2), 16),
        Tensor("m.w1", "BF16", (1,), 2),
        Tensor("m.w2", "BF16", (1,), 2),
    ]
    facts = aggregate(tensors)
    assert [(kind.name, kind.dtype, kind.count) for kind in facts.kinds] == [
        ("m.layers.*.w", "BF16", 2),
        ("m.layers.*.w", "F32", 1),
        ("m.w1", "BF16", 1),
        ("m.w2", "BF16", 1),
    ]
    assert facts.total_bytes == 36
    assert aggregate(reversed(tensors)) == facts
    assert aggregate(tensors[1:]).digest != facts.digest
