"""Which files are one model: the names of real repositories, and what their uploaders forgot."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.gguf.error import GgufError
from compiler.gguf.header import Header, read_header
from compiler.gguf.join import check_model, joined
from compiler.gguf.model import Tensor
from compiler.gguf.sets import File, FileSets, file_sets
from tests.gguf.writer import Value, encoded, split, split_name, tensor


def sorted_sets(*paths: str) -> FileSets:
    return file_sets(File(path, 1) for path in paths)


def parts(stem: str, count: int) -> list[str]:
    return [split_name(stem, number, count) for number in range(1, count + 1)]


def test_single_files_and_parts() -> None:
    paths = ["m-Q8_0.gguf", *parts("UD-IQ1_S/m-UD-IQ1_S", 3), *parts("m", 2), "README.md", "m.gguf.part1of2"]
    found = sorted_sets(*reversed(paths))
    assert [(each.path, len(each.files), each.label) for each in found.sets] == [
        ("UD-IQ1_S/m-UD-IQ1_S-00001-of-00003.gguf", 3, "IQ1_S"),
        ("m-00001-of-00002.gguf", 2, None),
        ("m-Q8_0.gguf", 1, "Q8_0"),
    ]
    assert [file.path for file in found.sets[0].files] == parts("UD-IQ1_S/m-UD-IQ1_S", 3)
    assert found.incomplete == {}


@pytest.mark.parametrize(
    "side",
    ["imatrix.gguf", "m-imatrix.gguf", "mtp-m-Q8_0.gguf", "eagle3-m.gguf", "dflash-m.gguf", "m-draft-Q4_0.gguf"],
)
def test_what_stands_beside_a_model_is_no_model(side: str) -> None:
    found = sorted_sets("m-Q4_0.gguf", side)
    assert [each.path for each in found.sets] == ["m-Q4_0.gguf"]
    assert found.projectors == ()


def test_a_draft_model_alone_is_a_model() -> None:
    assert [each.path for each in sorted_sets("Qwen-0.6B-DRAFT-Q8_0.gguf").sets] == ["Qwen-0.6B-DRAFT-Q8_0.gguf"]


def test_a_projector_of_16_bits_comes_first() -> None:
    names = ["g.mmproj-Q8_0.gguf", "g.mmproj-f16.gguf", "mmproj-g-f32.gguf", "mmproj.gguf", "x/mmproj-f16.gguf"]
    found = sorted_sets("g.Q4_K_M.gguf", *names)
    assert [file.path for file in found.projectors] == [names[1], names[4], names[0], names[2], names[3]]
    assert [each.path for each in found.sets] == ["g.Q4_K_M.gguf"]


def test_a_projector_lies_in_the_folder_of_its_model_or_around_it() -> None:
    """A repository may hold several models, each with its own; that of another is made for another width."""
    models = ["a/m-Q8_0.gguf", "b/q4/m-Q4_0.gguf", "c/m-Q4_0.gguf"]
    found = sorted_sets(*models, "mmproj-f16.gguf", "a/mmproj-f32.gguf", "b/mmproj-q8_0.gguf", "b/mmproj-bf16.gguf")
    chosen = {each.path: found.projector_of(each) for each in found.sets}
    assert [chosen[path].path for path in models if chosen[path]] == [
        "a/mmproj-f32.gguf",
        "b/mmproj-bf16.gguf",
        "mmproj-f16.gguf",
    ]
    alone = sorted_sets("m-Q8_0.gguf", "x/mmproj-f16.gguf")
    assert alone.projector_of(alone.sets[0]) is None


@pytest.mark.parametrize(
    ("paths", "first", "said"),
    [
        (parts("a/m", 3)[:2], "a/m-00001-of-00003.gguf", "lacks `a/m-00003-of-00003.gguf`"),
        (parts("m", 3)[1:], "m-00001-of-00003.gguf", "lacks `m-00001-of-00003.gguf`"),
        (parts("m", 9)[:1], "m-00001-of-00009.gguf", "lacks `m-00002-of-00009.gguf`, `m-00003-of-00009.gguf`, "),
        (["m-00000-of-00002.gguf"], "m-00001-of-00002.gguf", "number 0 of 2"),
        (["m-00003-of-00002.gguf"], "m-00001-of-00002.gguf", "number 3 of 2"),
        (["m-00001-of-00000.gguf"], "m-00001-of-00000.gguf", "number 1 of 0"),
        (["m-00001-of-99999.gguf"], "m-00001-of-99999.gguf", "99999 parts"),
    ],
)
def test_a_part_that_lacks_is_named(paths: list[str], first: str, said: str) -> None:
    found = sorted_sets(*paths, "whole.gguf")
    assert [each.path for each in found.sets] == ["whole.gguf"]
    assert list(found.incomplete) == [first]
    assert said in found.incomplete[first]


NAMES = [*parts("m", 1), *parts("m", 2), *parts("a/m", 2), "m.gguf", "m.GGUF", "mmproj.gguf", "m-draft.gguf", "m.bin"]


@settings(max_examples=50)
@given(st.sets(st.sampled_from(NAMES)))
def test_no_file_is_in_two_models(paths: set[str]) -> None:
    found = sorted_sets(*paths)
    used = [file.path for each in found.sets for file in each.files] + [file.path for file in found.projectors]
    assert len(used) == len(set(used))
    assert set(used) <= paths


MODEL: dict[str, Value] = {"general.architecture": "llama", "llama.block_count": 2}
TENSORS = [[tensor("token_embd.weight", "f16", 8, 4)], [tensor("blk.0.x", "f32", 8)], [tensor("blk.1.x", "f32", 8)]]


def headers() -> list[Header]:
    return [header(keys, own) for keys, own in split(MODEL, TENSORS)]


def header(keys: dict[str, Value], own: list[Tensor]) -> Header:
    found = read_header(encoded(keys, own))
    assert isinstance(found, Header)
    return found


def test_parts_are_joined_with_the_keys_of_the_first() -> None:
    model = joined(headers())
    assert model.keys["llama.block_count"] == 2
    assert [each.name for each in model.tensors] == ["token_embd.weight", "blk.0.x", "blk.1.x"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 1], "the model has 3 files, and by their names there are 2"),
        ([1, 0, 2], "file 1 says that it is number 1"),
        ([0, 2, 1], "file 2 says that it is number 2"),
        ([0], "the model has 3 files"),
    ],
)
def test_files_that_are_not_all_of_a_model(order: list[int], said: str) -> None:
    with pytest.raises(GgufError, match=said):
        joined([headers()[index] for index in order])


def test_tensors_twice_and_too_few() -> None:
    twice = split(MODEL, [TENSORS[0], TENSORS[0]])
    with pytest.raises(GgufError, match="two files of the model hold it"):
        joined([header(keys, list(own)) for keys, own in twice])
    (first, own), second = split(MODEL, TENSORS[:2])
    with pytest.raises(GgufError, match="9 tensors, and its files hold 2"):
        joined([header({**first, "split.tensors.count": 9}, list(own)), header(second[0], list(second[1]))])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "there is none"),
        ({"general.architecture": "clip"}, "projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "no model"),
    ],
)
def test_what_is_gguf_and_no_model(keys: dict[str, Value], said: str) -> None:
    with pytest.raises(GgufError, match=said):
        check_model(joined([header(keys, list(TENSORS[0]))]))


def test_a_model_without_tensors() -> None:
    with pytest.raises(GgufError, match="no tensors"):
        check_model(joined([header(MODEL, [])]))
