"""What a lock holds of a model in GGUF files is the model again, and what no model has is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compiler.gguf.model import GgufModel, Tensor, Value
from compiler.gguf.types import TENSOR_TYPES
from compiler.lock.file import format_lock
from compiler.lock.gguf import GgufFacts, GgufFile, GgufProjector, GgufTensorKind, of_model, to_model
from compiler.lock.layers import layer_count, layer_numbers, layer_ranges
from compiler.lock.models import Lock, LockedService, ModelFacts, branch_of, file_of, lock_key, repository_of
from compiler.lock.names import is_model
from compiler.lock.quantization import answers_quantization, quantization_method
from compiler.lock.text import parse
from tests.examples import examples
from tests.gguf.writer import tensor

FILE = GgufFile(path="m-Q4_K_M.gguf", size=7, sha256="a" * 64)
ENDS = ["token_embd.weight", "output.weight", "rope_freqs.weight"]
PARTS = ["attn_q.weight", "ffn_down.weight", "ffn_gate.3.weight", "exp_probs_b.bias"]
BLOCKS = ["blk.{}.", "v.blk.{}.", "enc.blk.{}."]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Tensor, ...]:
    layered = st.builds(
        lambda block, number, part: block.format(number) + part,
        st.sampled_from(BLOCKS), st.integers(0, 40), st.sampled_from(PARTS),
    )  # fmt: skip
    odd = st.sampled_from([*ENDS, "blk.x.y", "blk.007.x", "xblk.1.y", "blk.123456.x", "blk.1.blk.2.x", "blk.1"])
    names = draw(st.lists(layered | odd, unique=True, max_size=30))
    known = [TENSOR_TYPES[code] for code in (0, 12, 14)]
    types = [draw(st.sampled_from(known)) for _ in names]
    rows = [draw(st.integers(1, 3)) for _ in names]
    return tuple(
        Tensor(name, type_, (type_.block * 2, row)) for name, type_, row in zip(names, types, rows, strict=True)
    )


numbers = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20)
values = numbers | texts | st.lists(numbers, max_size=5).map(tuple) | st.lists(texts, max_size=3).map(tuple)
keys = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.]{0,30}", fullmatch=True), values, max_size=8)


def by_name(model: GgufModel) -> dict[str, Tensor]:
    return {each.name: each for each in model.tensors}


def typed(values: Any) -> Any:
    """Values with their types: Python holds True, 1 and 1.0 for the same."""
    return {key: repr(value) for key, value in values.items()}


@examples(8)
@given(keys, tensors(), st.integers(0, 300_000))
def test_a_model_comes_back_from_its_lock(held: dict[str, Value], known: tuple[Tensor, ...], vocabulary: int) -> None:
    facts = of_model(GgufModel(held, known, vocabulary), [FILE])
    back = to_model(read_back(facts))
    assert typed(back.keys) == typed(held)
    assert by_name(back) == {each.name: each for each in known}
    assert len(back.tensors) == len(known)
    assert back.vocabulary == vocabulary
    assert of_model(back, [FILE]) == facts
    assert facts.tensor_bytes == sum(each.bytes for each in known)


def read_back(facts: GgufFacts) -> GgufFacts:
    """By way of a lock's text, as it is read quickly."""
    text = format_lock(lock_of(facts))
    lock = Lock.model_validate(parse(text))
    assert format_lock(lock) == text
    found = lock.models[f"acme/m-GGUF#{facts.path}"].gguf
    assert found is not None
    return found


def lock_of(facts: GgufFacts) -> Lock:
    model, key = "acme/m-GGUF", f"acme/m-GGUF#{facts.path}"
    held = ModelFacts(source="https://huggingface.co", kind="gguf", config={}, gguf=facts)
    return Lock(
        schema=1,
        services={"s": LockedService(model=model, quantization=("auto",), candidates=(key,))},
        models={key: held},
    )


def layered(*names: str, type_: str = "q4_K") -> GgufModel:
    return GgufModel({"general.file_type": 15}, tuple(tensor(name, type_, 256, 2) for name in names), 5)


def test_layers_are_ranges_and_types_apart() -> None:
    model = layered(*(f"blk.{number}.ffn_down.weight" for number in (0, 1, 2, 5, 7, 8)), "output.weight")
    other = tensor("blk.3.ffn_down.weight", "q6_K", 256, 2)
    facts = of_model(GgufModel(model.keys, (*model.tensors, other), 5), [FILE])
    assert [(kind.name, kind.type, kind.layers) for kind in facts.tensors] == [
        ("blk.*.ffn_down.weight", "q4_K", "0-2,5,7-8"),
        ("blk.*.ffn_down.weight", "q6_K", "3"),
        ("output.weight", "q4_K", None),
    ]
    assert facts.bits_per_weight == pytest.approx((7 * 4.5 + 6.5625) / 8)


def test_the_order_of_tensors_makes_no_other_lock() -> None:
    model = layered("output.weight", "blk.10.x", "blk.9.x", "a")
    back = GgufModel(model.keys, model.tensors[::-1], 5)
    assert of_model(model, [FILE]) == of_model(back, [FILE])
    assert [each.name for each in to_model(of_model(model, [FILE])).tensors] == [
        "a",
        "output.weight",
        "blk.9.x",
        "blk.10.x",
    ]


@examples(10)
@given(st.sets(st.integers(0, 99), min_size=1))
def test_ranges_name_their_layers(layers: set[int]) -> None:
    ranges = layer_ranges(layers)
    assert list(layer_numbers(ranges)) == sorted(layers)
    assert layer_count(ranges) == len(layers)
    assert kind(layers=ranges).count == len(layers)


def kind(**changes: Any) -> GgufTensorKind:
    fields = {"name": "blk.*.x", "type": "q4_K", "shape": (256, 2), "layers": "0-3"}
    return GgufTensorKind.model_validate(fields | changes)


@pytest.mark.parametrize(
    "odd",
    [
        {"layers": ""}, {"layers": "3-1"}, {"layers": "1,1"}, {"layers": "0-2,2-3"}, {"layers": "0,1"},
        {"layers": "01"}, {"layers": "0-99999999"}, {"layers": "-1"}, {"layers": "0-3 "}, {"layers": "٣"},
        {"layers": None},
        {"name": "x"}, {"name": "blk.*.blk.*.x"}, {"name": "a*b", "layers": "0"}, {"name": "a\x1bblk.*."},
        {"type": "q4_0_4_4"}, {"type": "Q4_K"}, {"shape": (255,)}, {"shape": ()}, {"shape": (0,)},
        {"shape": (256,) * 5},
    ],
)  # fmt: skip
def test_kinds_that_no_header_has(odd: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**odd)


def test_a_lock_by_strangers_does_not_make_millions_of_tensors() -> None:
    many = [kind(name=f"blk.*.{number}", layers="0-65000").model_dump() for number in range(2)]
    with pytest.raises(ValidationError, match="more than 65536 tensors"):
        GgufFacts.model_validate({"files": [FILE.model_dump()], "keys": {}, "digest": "x", "tensors": many})


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], None, "a\nb", ["\x1b"]])
def test_values_that_no_key_has(value: Any) -> None:
    with pytest.raises(ValidationError):
        GgufFacts.model_validate({"files": [FILE.model_dump()], "keys": {"k": value}, "digest": "x", "tensors": []})


def held(file_type: int | None, path: str = "m.gguf") -> ModelFacts:
    keys: dict[str, Value] = {} if file_type is None else {"general.file_type": file_type}
    facts = of_model(GgufModel(keys, (), 0), [GgufFile(path=path)])
    return ModelFacts(source="folder", kind="gguf", config={}, gguf=facts)


@pytest.mark.parametrize(
    ("facts", "asked", "answers"),
    [
        (held(15), "Q4_K_M", True),
        (held(15), "q4-k-m", True),
        (held(15), "auto", True),
        (held(15, "m-Q8_0.gguf"), "Q8_0", False),
        (held(15, "m-Q8_0.gguf"), "Q4_K_M", True),
        (held(15, "m-Q4_K_L.gguf"), "Q4_K_L", True),
        (held(15, "m-Q4_K_L.gguf"), "Q4_K_M", True),
        (held(None, "m-Q4_K_M.gguf"), "Q4_K_M", True),
        (held(None), "Q4_K_M", False),
        (held(1), "none", True),
        (held(32), "none", True),
        (held(15), "none", False),
        (held(15), "awq", False),
    ],
)
def test_the_header_says_what_is_asked_for(facts: ModelFacts, asked: str, answers: bool) -> None:
    assert answers_quantization(facts, (asked,)) is answers


def test_a_name_that_says_something_else_is_noticed() -> None:
    said = {path: held(15, path).gguf for path in ("m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q4_K_L.gguf", "m.gguf")}
    assert [path for path, facts in said.items() if facts is not None and facts.is_mislabelled] == ["m-Q8_0.gguf"]
    assert quantization_method(held(15, "m-Q8_0.gguf")) == "Q4_K_M"
    assert quantization_method(held(None)) == "unknown"


@pytest.mark.parametrize(
    ("repository", "branch", "file"),
    [
        ("a/m-GGUF", None, "m.gguf"),
        ("a/m", "x@y", "Q4/m#1@2.gguf"),
        ("/srv/m", None, "a/m.gguf"),
        ("/srv/m.gguf", None, None),
    ],
)
def test_keys_of_files(repository: str, branch: str | None, file: str | None) -> None:
    key = lock_key(repository, branch, file)
    assert (repository_of(key), branch_of(key), file_of(key)) == (repository, branch, file)


@pytest.mark.parametrize(
    "key", ["a/m#", "a/m#/x", "a/m#../x", "a/m#-x", "a/m#a\x1b", "#x", "a/m@main#x", "/a b#x", "a/m#" + "x/" * 600]
)
def test_odd_keys_of_files(key: str) -> None:
    assert not is_model(key)
    assert is_model("a/m#x/y z.gguf")


def test_a_file_of_a_repository_is_the_repositorys() -> None:
    facts = of_model(layered("a"), [FILE])
    assert lock_of(facts).services["s"].candidates == (f"acme/m-GGUF#{FILE.path}",)
    LockedService(model="/srv/m", quantization=("auto",), candidates=("/srv/m#x.gguf",))
    with pytest.raises(ValidationError, match="nobody trusts its publisher"):
        LockedService(model="acme/m", quantization=("auto",), candidates=("evil/m#x.gguf",))
    with pytest.raises(ValidationError, match="is of the kind model"):
        ModelFacts(source="folder", config={}, gguf=facts)


def test_a_projector_is_told_apart() -> None:
    projector = GgufProjector(file=GgufFile(path="mmproj.gguf"), tensor_bytes=12, keys={"clip.x": (1, 2)})
    facts = of_model(layered("a"), [FILE], projector)
    assert read_back(facts).projector == projector
    assert facts.tensor_bytes == 288
