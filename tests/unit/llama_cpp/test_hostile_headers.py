"""Headers of strangers: one kind of error, soon, whatever a key holds."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ggufs.shapes import shaped_model
from compiler.engines.llama_cpp.memory.plan import memory_plan, read_served
from compiler.engines.llama_cpp.models.architectures import ARCHITECTURES
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.models.shape import read_shape
from compiler.engines.llama_cpp.releases import UnknownReleaseError, release_named
from compiler.engines.llama_cpp.settings import FlashAttention, Settings, SettingsError
from compiler.gguf.model import GgufModel, Tensor, Value
from compiler.gguf.types import TensorType
from compiler.units import MIB
from tests.examples import examples

_F16 = TensorType(1, "f16", 1, 2)


def _model(name: str) -> GgufModel:
    model = shaped_model(name)
    assert model is not None
    return model


def _changed(name: str, **keys: Value) -> GgufModel:
    model = _model(name)
    architecture = model.keys["general.architecture"]
    changed = {f"{architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    return GgufModel({**model.keys, **changed}, model.tensors, model.vocabulary)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"block_count": 2**31}, "2147483648"),
        ({"block_count": 513}, "513 layers"),
        ({"block_count": 0}, "0 layers"),
        ({"block_count": -1}, "no count"),
        ({"block_count": 16.5}, "no count"),
        ({"block_count": (16, 16)}, "no count"),
        ({"nextn_predict_layers": 16}, "16 of them predicting"),
        ({"attention__head_count": (32,) * 15}, "15 values for 16 layers"),
        ({"attention__key_length_mla": 192}, "only one of"),
        ({"expert_count": 4, "expert_used_count": 8}, "8 of 4 experts"),
        ({"expert_count": 4, "expert_used_count": 0}, "0 of 4 experts"),
        ({"expert_count": 2**31 - 1, "expert_used_count": 2**31 - 1}, "experts are used"),
        ({"attention__shared_kv_layers": 99}, "99 of 16 layers"),
        ({"embedding_length": 0}, "is 0"),
        ({"context_length": "131072"}, "no count"),
    ],
)
def test_what_no_server_loads_is_refused(keys: dict[str, Value], said: str) -> None:
    """A ledger made of such a header would promise a start that never happens."""
    with pytest.raises(ModelError, match=said):
        read_served(_changed("llama-3.2-1b", **keys))


def test_an_unknown_architecture_is_named() -> None:
    """The user learns what is not known, not that something went wrong; a long name does not flood the terminal."""
    with pytest.raises(ModelError, match="how `mystery` uses memory is not known"):
        read_shape(GgufModel({"general.architecture": "mystery"}, (), 0))
    with pytest.raises(ModelError) as error:
        read_shape(GgufModel({"general.architecture": "x" * 10_000}, (), 0))
    assert len(str(error.value)) < 100


def test_a_header_without_architecture_is_refused() -> None:
    """Such files exist: calibration data and adapters have no model's keys."""
    with pytest.raises(ModelError, match=r"lacks `general\.architecture`"):
        read_shape(GgufModel({}, (), 0))


def test_tensors_of_layers_that_are_not_there_are_refused() -> None:
    """llama.cpp counts tensors and refuses what is left over."""
    model = _model("llama-3.2-1b")
    stray = Tensor("blk.16.attn_q.weight", _F16, (64, 64))
    with pytest.raises(ModelError, match="not among 16"):
        read_served(GgufModel(model.keys, (*model.tensors, stray), model.vocabulary))


def test_a_window_must_be_in_the_header_where_the_server_needs_it() -> None:
    """gpt-oss without `attention.sliding_window` does not load."""
    model = _model("gpt-oss-20b")
    keys = {name: value for name, value in model.keys.items() if not name.endswith("sliding_window")}
    with pytest.raises(ModelError, match="sliding_window"):
        read_served(GgufModel(keys, model.tensors, model.vocabulary))


def test_a_graph_that_would_take_seconds_is_refused() -> None:
    """512 layers of different widths, with 1024 experts each: half a million sums."""
    keys: dict[str, Value] = {"block_count": 512, "feed_forward_length": tuple(range(512, 1024))}
    experts: dict[str, Value] = {"expert_count": 1024, "expert_used_count": 1024, "expert_feed_forward_length": 64}
    served = read_served(_changed("qwen3-30b-a3b", **keys, **experts))
    with pytest.raises(ModelError, match="512 layers differ"):
        memory_plan(release_named("b10434"), served, Settings(4096, 1))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_that_is_named_has_a_plan(name: str) -> None:
    """A class whose layers cannot be laid out must not be in the table."""
    model = _model("qwen3-0.6b")
    keys = {key.replace("qwen3.", f"{name}.", 1): value for key, value in model.keys.items()}
    keys |= {"general.architecture": name, f"{name}.attention.sliding_window": 1024}
    keys |= {f"{name}.attention.sliding_window_pattern": (1, 0) * 14}
    plan = memory_plan(release_named("b11434"), read_served(GgufModel(keys, model.tensors, 0)), Settings(8192, 2))
    assert plan.device_bytes(0).high > 300 * MIB


_values = st.one_of(
    st.integers(-(2**63), 2**64), st.booleans(), st.floats(), st.text(max_size=5), st.lists(st.integers()).map(tuple)
)


@examples(15)
@given(st.sampled_from(["qwen3-0.6b", "gemma-3-4b", "deepseek-v2-lite", "lfm2-1.2b", "gpt-oss-20b"]), st.data())
def test_any_value_of_any_key_is_an_error_or_a_plan(name: str, data: st.DataObject) -> None:
    """Nothing but the named error leaves, and nothing loops for as long as a number says."""
    model = _model(name)
    key = data.draw(st.sampled_from(sorted(model.keys)))
    broken = GgufModel({**model.keys, key: data.draw(_values)}, model.tensors, model.vocabulary)
    terms = Settings(4096, 1, flash_attention=FlashAttention.AUTO)
    with suppress(ModelError, SettingsError):
        plan = memory_plan(release_named("b10434"), read_served(broken), terms)
        assert plan.device_bytes(0).low > 0


@pytest.mark.parametrize(
    ("build", "terms", "said"),
    [
        ("b10434", Settings(4096, 1, key_type="q8_0", value_type="q4_0"), "keys are q8_0 and values q4_0"),
        ("b10434", Settings(4096, 1, key_type="q5_1", value_type="q5_1"), "no kernel for a cache of q5_1"),
        ("b11434", Settings(4096, 1, key_type="iq4_nl", value_type="iq4_nl"), "no kernel for a cache of iq4_nl"),
    ],
)
def test_a_cache_that_the_card_cannot_attend_to_is_refused(build: str, terms: Settings, said: str) -> None:
    """Attention would move to the host without a word, and its buffers with it."""
    with pytest.raises(SettingsError, match=said):
        memory_plan(release_named(build), read_served(_model("llama-3.2-1b")), terms)


def test_a_newer_build_reads_mixed_caches() -> None:
    """What is refused for one build is served by the other."""
    terms = Settings(4096, 1, key_type="q8_0", value_type="q4_0")
    plan = memory_plan(release_named("b11434"), read_served(_model("llama-3.2-1b")), terms)
    assert plan.devices[0]


@pytest.mark.parametrize(
    "terms",
    [
        {"slots": 0},
        {"slots": 257},
        {"context": -1},
        {"split": (0.0,)},
        {"split": (1e300,)},
        {"key_type": "q3_K"},
        {"ubatch": 0},
    ],
)
def test_settings_that_no_server_takes_are_refused(terms: dict[str, object]) -> None:
    """Before any byte is counted."""
    with pytest.raises(SettingsError):
        Settings(**{"context": 4096, "slots": 1, **terms})  # type: ignore[arg-type]


def test_values_quantized_without_flash_attention_are_refused() -> None:
    """The server exits with 1."""
    with pytest.raises(SettingsError, match="needs flash attention"):
        Settings(4096, 1, value_type="q8_0", flash_attention=FlashAttention.OFF)


def test_another_build_is_not_taken_for_a_known_one() -> None:
    """Buffers of nearby builds differ by megabytes."""
    with pytest.raises(UnknownReleaseError, match="b10435"):
        release_named("b10435")
