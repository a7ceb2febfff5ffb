"""Headers of GGUF files: what is right is read whatever its pieces, and what llama.cpp refuses is refused by name."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.gguf.error import GgufError
from compiler.gguf.header import Header, HeaderParser, NeedMore, read_header
from compiler.gguf.input import MAX_HEADER
from tests.examples import examples
from tests.gguf.writer import CODES, Typed, encoded, encoded_key, encoded_tensor, encoded_text, tensor

KEYS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 2,
    "llama.attention.head_count_kv": [8, 0],
    "llama.rope.freq_base": 500000.0,
    "llama.scaled": True,
    "general.tags": ["a", "b"],
    "tokenizer.ggml.tokens": [f"token {number}" for number in range(50)],
    "tokenizer.ggml.token_type": [1] * 50,
    "tokenizer.chat_template": "{{ messages }}",
    "tokenizer.chat_template.tool_use": "{{ tools }}",
    "general.license.text": "word " * 1000,
}
TENSORS = [
    tensor("token_embd.weight", "q4_K", 256, 50),
    tensor("blk.0.attn_norm.weight", "f32", 7),
    tensor("blk.0.attn_q.weight", "q6_K", 256, 256),
]
GOOD = encoded(KEYS, TENSORS)


def header(content: bytes, size: int | None = None) -> Header:
    found = read_header(content, size)
    assert isinstance(found, Header)
    return found


def raw(*parts: bytes, tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(parts)


def array(key: str, type_: str, count: int, content: bytes = b"") -> bytes:
    return encoded_text(key) + struct.pack("<iiQ", 9, CODES[type_][0], count) + content  # type: ignore[index]


def test_a_header_is_read() -> None:
    found = header(GOOD, len(GOOD) + 100_000)
    assert (found.version, found.alignment, found.data_start) == (3, 32, len(GOOD))
    assert found.keys == {
        "general.architecture": "llama",
        "general.file_type": 15,
        "llama.block_count": 2,
        "llama.attention.head_count_kv": (8, 0),
        "llama.rope.freq_base": 500000.0,
        "llama.scaled": True,
        "general.tags": ("a", "b"),
    }
    assert found.vocabulary == 50
    assert found.templates == ("", "tool_use")
    assert found.lengths["general.license.text"] == 5000
    assert found.tensors == tuple(TENSORS)
    assert found.offsets == (0, 7200, 7232)
    assert found.data_stop == len(GOOD) + 7232 + TENSORS[2].bytes


@examples(8)
@given(st.lists(st.integers(1, len(GOOD)), max_size=8))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(GOOD)})
    parser = HeaderParser()
    for start, stop in pairwise(edges):
        found = parser.feed(GOOD[start:stop])
    assert found == header(GOOD)


def test_byte_by_byte_it_never_asks_for_more_than_there_is() -> None:
    parser = HeaderParser()
    for index in range(len(GOOD)):
        found = parser.feed(GOOD[index : index + 1])
        if isinstance(found, Header):
            break
        assert found.bytes <= len(GOOD) - index - 1
    assert found == header(GOOD)


@pytest.mark.parametrize("length", [0, 3, 4, 23, 24, 60, len(GOOD) // 2])
def test_a_header_that_goes_on_says_so(length: int) -> None:
    found = read_header(GOOD[:length])
    assert isinstance(found, NeedMore)
    assert found.bytes > 0


def test_version_2_and_another_alignment() -> None:
    keys: dict[str, Any] = {"general.architecture": "llama", "general.alignment": 256}
    found = header(encoded(keys, TENSORS, version=2))
    assert (found.version, found.alignment, found.data_start % 256) == (2, 256, 0)
    assert found.offsets == (0, 7424, 7680)


def test_a_file_without_tensors_ends_with_its_header() -> None:
    assert header(encoded({"a": 1})).data_stop <= len(encoded({"a": 1}))


def fault(content: bytes, size: int | None = None) -> str:
    with pytest.raises(GgufError) as caught:
        read_header(content, size)
    text = str(caught.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (b"PK\x03\x04" + bytes(20), "does not begin with GGUF"),
        (raw(version=1), "version 1"),
        (raw(version=4), "version 4"),
        (raw(version=0), "version 0"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (raw(tensors=2**63), "tensors, and at most"),
        (raw(tensors=65537), "65537 tensors"),
        (raw(keys=2**63), "keys, and at most"),
        (raw(keys=4097), "4097 keys"),
    ],
)
def test_what_is_no_gguf_of_today(content: bytes, said: str) -> None:
    assert said in fault(content)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([struct.pack("<Q", 2**63)], "key 0: a text of"),
        ([encoded_key("", 1)], "key 0: a name that is empty"),
        ([encoded_key("a\x1b[31m", 1)], "key 0: a name"),
        ([encoded_text(b"\xff") + bytes(8)], "key 0: a name"),
        ([encoded_key("a", 1), encoded_key("a", 2)], "`a`: it is there twice"),
        ([encoded_key("tokenizer.x", [1]), encoded_key("tokenizer.x", 2)], "it is there twice"),
        ([encoded_text("a") + struct.pack("<i", 13)], "`a`: its value is of type 13"),
        ([encoded_text("a") + struct.pack("<i", -1)], "of type -1"),
        ([encoded_text("a") + struct.pack("<iQ", 8, 2**63)], "`a`: it would go on"),
        ([array("a", "array", 1)], "`a`: a list of lists"),
        ([encoded_text("a") + struct.pack("<iiQ", 9, 99, 1)], "a list of type 99"),
        ([array("a", "u8", 2**63)], "`a`: it would go on"),
        ([array("a", "u64", 2**63)], "`a`: it would go on"),
        ([array("a", "str", 2**62)], "`a`: it would go on"),
        ([array("tokenizer.ggml.tokens", "str", 2, struct.pack("<Q", 2**63) + bytes(64))], "it would go on"),
        ([encoded_key("a", float("nan"))], "not finite"),
        ([encoded_key("a", [1.0, float("inf")])], "not finite"),
        ([encoded_key("general.alignment", 0)], "no power of two"),
        ([encoded_key("general.alignment", 48)], "no power of two"),
        ([encoded_key("general.alignment", Typed("u64", 32))], "of a type"),
        ([encoded_key("general.file_type", Typed("i32", 15))], "of a type"),
        ([encoded_key("split.count", Typed("u32", 2))], "of a type"),
        ([encoded_key("general.architecture", 5)], "of a type"),
    ],
)
def test_keys_of_strangers(parts: list[bytes], said: str) -> None:
    assert said in fault(raw(*parts, keys=len(parts)) + bytes(64))


NAME = encoded_text("blk.0.x")
F32, Q4_K = 0, 12


def entry(shape: list[int], code: int = F32, offset: int = 0, name: bytes = NAME) -> bytes:
    return name + struct.pack(f"<I{len(shape)}qiQ", len(shape), *shape, code, offset)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([entry([1, 1, 1, 1, 1])], "`blk.0.x`: 5 dimensions"),
        ([NAME + struct.pack("<I", 2**32 - 1)], "dimensions"),
        ([entry([0])], "no elements"),
        ([entry([-1])], "no elements"),
        ([entry([2**62, 2**62])], "more elements than can be counted"),
        ([entry([2**31, 2**31, 2**31, 2**31])], "more elements than can be counted"),
        ([entry([2**60]), entry([2**60], offset=2**62, name=encoded_text("b"))], "beyond what a file can have"),
        ([entry([255], Q4_K)], "no whole blocks"),
        ([entry([32], code=31)], "q4_0_4_4 is one that llama.cpp loads no more"),
        ([entry([32], code=4)], "loads no more"),
        ([entry([32], code=43)], "type 43 is none"),
        ([entry([32], code=-1)], "type -1 is none"),
        ([entry([32], offset=32)], "its data begin at 32"),
        ([entry([32]), entry([32], offset=64, name=encoded_text("b"))], "those before it end at 128"),
        ([entry([32]), entry([32], offset=2**63, name=encoded_text("b"))], "those before it end at 128"),
        ([entry([8]), entry([8], offset=32)], "it is there twice"),
        ([entry([8], name=encoded_text(""))], "tensor 0: a name"),
        ([entry([8], name=encoded_text("a" * 64))], "tensor 0: a text of 64 bytes"),
        ([entry([8], name=encoded_text("blk.*.x"))], "tensor 0: a name"),
        ([entry([8], name=encoded_text("a\nb"))], "tensor 0: a name"),
        ([entry([8], name=encoded_text(b"\x80"))], "tensor 0: a name"),
    ],
)
def test_tensors_of_strangers(parts: list[bytes], said: str) -> None:
    assert said in fault(raw(*parts, tensors=len(parts)) + bytes(64))


def test_a_cut_upload_is_told_with_the_tensor_that_lacks() -> None:
    whole = len(GOOD) + 7232 + TENSORS[2].bytes
    assert header(GOOD, whole).data_stop == whole
    assert "tensor `blk.0.attn_q.weight`: its data end at byte" in fault(GOOD, whole - 1)
    assert "it would go on for" in fault(GOOD, len(GOOD) // 2)


def test_a_header_has_an_end() -> None:
    text = encoded_text("tokenizer.x") + struct.pack("<iQ", 8, MAX_HEADER)
    assert "are left" in fault(raw(text, keys=1))


def test_what_is_kept_is_bounded() -> None:
    many: Mapping[str, Any] = {f"a{number}": "x" * 4096 for number in range(257)}
    assert "holds more than" in fault(encoded(many))
    assert header(encoded({"a": [0] * 4097})).keys == {}


@examples(15)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=12))
def test_a_changed_header_is_read_or_refused_and_nothing_else(start: int, change: bytes) -> None:
    content = GOOD[:start] + change + GOOD[start + len(change) :]
    with contextlib.suppress(GgufError):
        found = read_header(content, 1 << 20)
        assert not isinstance(found, Header) or found.data_stop <= 1 << 20


def test_vocabularies_take_no_time() -> None:
    count = 100_000
    keys: dict[str, Any] = {
        "tokenizer.ggml.tokens": ["token"] * count,
        "tokenizer.ggml.scores": Typed("f32", [0.0] * count),
    }
    content = encoded(keys)
    started = time.process_time()
    assert header(content).vocabulary == count
    assert time.process_time() - started < 0.5  # some 0.03 s; a second for each text would be noticed


def test_entries_are_written_as_they_are_read() -> None:
    assert entry([8]) == encoded_tensor(tensor("blk.0.x", "f32", 8), 0)
