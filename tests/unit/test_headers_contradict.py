"""Headers of another model, or of half a one, are refused by name; what vLLM loads all the same is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.header_rules import as_stored, canonical, may_repeat, plain_shape, scope_of
from compiler.checkpoints.parameters.header_totals import ContradictionError, check_totals
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.tensors import drafting_tensors, expected_tensors, numberless
from compiler.checkpoints.quantization.read import Quantization, read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.lock.models import TensorKind
from tests.examples import examples
from tests.unit.test_headers_against_config import FAMILIES
from tests.unit.test_memory import LLAMA_8B

Kinds = tuple[TensorKind, ...]
Model = tuple[Architecture, Quantization | None]


@cache
def read(name: str) -> Model:
    return changed_read(name)


def changed_read(name: str, **changes: Any) -> Model:
    config, block = FAMILIES[name]
    quantization = read_quantization(block["quant_method"], block, config) if block is not None else None
    return read_architecture(config | changes), quantization


def whole(name: str) -> Kinds:
    return expected_tensors(*read(name))


def refused(name: str, kinds: Kinds, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(ContradictionError) as caught:
        check_headers(*(changed_read(name, **changes) if changes else read(name)), kinds)
    return caught.value.lines


@pytest.mark.parametrize("name", FAMILIES)
def test_a_published_checkpoint_passes(name: str) -> None:
    kinds = whole(name)
    check_headers(*read(name), kinds)
    check_headers(*read(name), (*kinds, *drafting_tensors(*read(name))))
    for wrapper in ("model.", "language_model.", "base_model.model.", "anything."):
        check_headers(*read(name), tuple(kind.model_copy(update={"name": wrapper + kind.name}) for kind in kinds))


# By what an editor or a merge does to one kind of tensor.
CHANGES: dict[str, Callable[[TensorKind], Kinds]] = {
    "removed": lambda _: (),
    "twice": lambda kind: (kind, kind),
    "another name": lambda kind: (kind.model_copy(update={"name": kind.name.rpartition(".")[0] + ".nonsense"}),),
    "another module": lambda kind: (kind.model_copy(update={"name": f"{kind.name.rpartition('.')[0]}x.weight"}),),
    "half of the rows": lambda kind: (kind.model_copy(update={"shape": (kind.shape[0] // 2, *kind.shape[1:])}),),
    "no dimensions": lambda kind: (kind.model_copy(update={"shape": ()}),),
    "fewer": lambda kind: (kind.model_copy(update={"count": max(1, kind.count // 2)}),),
    "turned": lambda kind: (kind.model_copy(update={"shape": kind.shape[::-1]}),),
}


def part(kind: TensorKind) -> str:
    key = canonical(as_stored(numberless(kind.name)), ())
    module, _, parameter = key.rpartition(".")
    return scope_of(module if parameter in ("weight", "qweight", "bias") else key)


@examples(15)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10**6), st.sampled_from(sorted(CHANGES)))
def test_a_kind_that_is_changed_is_refused_by_its_name(name: str, at: int, change: str) -> None:
    kinds = whole(name)
    weights = [kind for kind in kinds if kind.name.endswith(("weight", "qweight"))]
    kind = weights[at % len(weights)]
    changed = CHANGES[change](kind)
    same = changed == (kind,) or (change == "turned" and plain_shape(kind.shape) == plain_shape(kind.shape[::-1]))
    if same or (change == "half of the rows" and kind.shape[0] < 2):
        return
    others = tuple(other for other in kinds if other is not kind)
    if change == "twice" and may_repeat(read(name)[0], canonical(as_stored(numberless(kind.name)), ())):
        return  # a file may hold layers of a tower that the engine does not build
    if change in ("another name", "another module") and not any(part(other) == part(kind) for other in others):
        return  # a part of the model of which no name is as expected may be another spelling

    lines = refused(name, (*others, *changed))

    assert any(as_stored(kind.name) in line for line in lines), (kind.name, lines)


@pytest.mark.parametrize(
    ("key", "value"), [("num_hidden_layers", 16), ("num_hidden_layers", 64), ("hidden_size", 2048), ("vocab_size", 320)]
)
def test_a_config_of_another_model_is_refused(key: str, value: int) -> None:
    assert refused("llama", whole("llama"), **{key: value})


def test_nothing_and_next_to_nothing_is_refused() -> None:
    assert len(refused("llama", ())) == len(whole("llama"))
    assert refused("llama", whole("llama")[:1])
    assert refused("llama", whole("qwen3-next"))


def test_projections_in_one_tensor_are_loaded_and_half_of_it_is_refused() -> None:
    kinds = [kind for kind in whole("llama") if not kind.name.endswith(("gate_proj.weight", "up_proj.weight"))]
    wide = TensorKind(name="model.layers.*.mlp.gate_up_proj.weight", dtype="BF16", shape=(28672, 4096), count=32)

    check_headers(*read("llama"), (*kinds, wide))
    assert refused("llama", (*kinds, wide.model_copy(update={"shape": (14336, 4096)})))


def test_stacked_experts_are_loaded_and_fewer_of_them_are_refused() -> None:
    def stacked(experts: int) -> Kinds:
        kinds = tuple(kind for kind in whole("glm with a drafting layer") if ".experts." not in kind.name)
        up = TensorKind(
            name="model.layers.*.mlp.experts.gate_up_proj", dtype="BF16", shape=(experts, 4096, 2816), count=45
        )
        down = TensorKind(
            name="model.layers.*.mlp.experts.down_proj", dtype="BF16", shape=(experts, 1408, 4096), count=45
        )
        return (*kinds, up, down)

    check_headers(*read("glm with a drafting layer"), stacked(128))
    assert refused("glm with a drafting layer", stacked(64))


def test_a_few_modules_that_the_quantizer_left_alone_are_loaded_and_all_of_them_are_refused() -> None:
    def unpacked(*names: str) -> Kinds:
        def is_of(kind: TensorKind) -> bool:
            return any(f".{name}." in kind.name for name in names)

        plain = {kind.name: kind for kind in whole("llama")}
        kept = tuple(kind for kind in kinds if not is_of(kind))
        return (*kept, *(kind for kind in plain.values() if is_of(kind)))

    block = FAMILIES["qwen2 awq"][1]
    architecture, quantization = read_architecture(LLAMA_8B), read_quantization("awq", block, LLAMA_8B)
    kinds = expected_tensors(architecture, quantization)
    check_headers(architecture, quantization, unpacked("o_proj"))
    with pytest.raises(ContradictionError):
        check_headers(
            architecture,
            quantization,
            unpacked("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        )


def test_queries_keys_and_values_of_one_tensor_are_one_tensor() -> None:
    config = {
        "architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128,
        "num_hidden_layers": 60, "num_kv_heads": 8, "vocab_size": 65024, "new_decoder_architecture": True,
        "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    kinds = [kind for kind in expected_tensors(read_architecture(config), None) if "query_key_value" in kind.name]

    assert [(kind.shape, kind.count) for kind in kinds] == [((9216, 8192), 60)]


@pytest.mark.parametrize(
    ("total", "sizes"), [(5, [None]), (4000, [3999]), (4000, [None, 100_000_000]), (4000, [4000 + 25_000_009])]
)
def test_bytes_have_to_add_up(total: int, sizes: list[int | None]) -> None:
    kinds = (TensorKind(name="x", dtype="F32", shape=(10, 10), count=10),)
    if None in sizes and total == 4000:
        check_totals(total, kinds, sizes)
        return
    with pytest.raises(ContradictionError, match=str(total)):
        check_totals(total, kinds, sizes)
