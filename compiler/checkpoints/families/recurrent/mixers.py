"""Layers with a recurrent state instead of attention: their modules and the state of one request.

vllm/model_executor/layers/mamba of 0.33.0. A state's convolution remembers all taps but the newest; speculative tokens,
which would add rows to it, are not followed here.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.state_cache import STATE_BYTES, StateCache, StatePart

_FLOAT32 = "F32"


@dataclass(frozen=True, slots=True)
class Mixer:
    """Such a layer. `width` is what its widest projection makes of a token, halved as gate and up are."""

    modules: tuple[Module, ...]
    cache: StateCache
    width: int


def state_dtype(config: Config, key: str, default: str | None = None) -> str | None:
    """The dtype that a config keeps its recurrent states in; None for what the model is served in."""
    value = config.text(key, default=default or "auto")
    if value == "auto":
        return None
    if value not in STATE_BYTES:
        raise ConfigError(f"`{config.path}{key}` must be one of {', '.join(sorted(STATE_BYTES))}, not {value[:40]}")
    return value


def taps(config: Config, *keys: str, default: int | None = None) -> int:
    """Taps of a convolution, of which a state remembers all but one."""
    count = config.positive(*keys, default=default)
    if count == 1:
        found = next(key for key in keys if key in config)
        raise ConfigError(f"`{config.path}{found}` must be at least 2: a state remembers what came before")
    return count


def mamba1(
    name: str, hidden: int, *, inner: int, state: int, conv: int, rank: int, biases: tuple[bool, bool], normed: bool
) -> Mixer:
    """Mamba (mamba_mixer.py), which no quantizer touches. `biases` are those of the convolution and of projections."""
    conv_bias, bias = biases
    into, kept = Split.OUTPUTS, Split.REPLICATED
    modules: list[Module] = [
        Linear(f"{name}.in_proj", 2 * inner, hidden, into, bias, parts=2, quantized=False),
        Linear(f"{name}.x_proj", rank + 2 * state, inner, Split.INPUTS, quantized=False),
        Linear(f"{name}.dt_proj", inner, rank, into, bias=True, quantized=False),
        Linear(f"{name}.out_proj", hidden, inner, Split.INPUTS, bias, quantized=False),
        Vector(f"{name}.A_log", inner * state, into, _FLOAT32),
        Vector(f"{name}.D", inner, into),
        *convolution(f"{name}.conv1d", inner, conv, bias=conv_bias),
    ]
    if normed:
        modules.append(Vector(f"{name}.dt_layernorm.weight", rank, kept))
        modules += norms(state, f"{name}.b_layernorm", f"{name}.c_layernorm")
    return Mixer(tuple(modules), StateCache("mamba1", (StatePart(inner, conv - 1), StatePart(inner * state))), inner)


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Numbers of a Mamba 2 layer.

    Attributes:
        inner: width of all heads.
        groups: of B and C; a single one is copied to every rank.
        state: width of a group.
        conv: taps of the convolution.
        dtype: of the recurrent state; None for what the model is served in.
    """

    inner: int
    heads: int
    head_dim: int
    groups: int
    state: int
    conv: int
    conv_bias: bool
    bias: bool
    normed: bool = True
    dtype: str | None = None

    def mixer(self, name: str, hidden: int) -> Mixer:
        """The layer (mamba_mixer2.py)."""
        into, grouped = Split.OUTPUTS, self.groups * self.state
        modules = (
            *self._input(f"{name}.in_proj", hidden),
            *convolution(f"{name}.conv1d", self.inner, self.conv, bias=self.conv_bias),
            *convolution(f"{name}.conv1d.grouped", 2 * grouped, self.conv, bias=self.conv_bias, groups=self.groups),
            Vector(f"{name}.A_log", self.heads, into, _FLOAT32),
            Vector(f"{name}.D", self.heads, into),
            Vector(f"{name}.dt_bias", self.heads, into),
            *((Vector(f"{name}.norm.weight", self.inner, into),) if self.normed else ()),
            Linear(f"{name}.out_proj", hidden, self.inner, Split.INPUTS, self.bias),
        )
        return Mixer(modules, self._cache(), self.inner + grouped)

    def _input(self, name: str, hidden: int) -> tuple[Module, ...]:
        """One projection; its parts for B and C are copied where there is one group, so they stand by themselves."""
        grouped = self.groups * self.state
        return (
            Linear(name, self.inner, hidden, Split.OUTPUTS, self.bias, name),
            Linear(name, self.inner, hidden, Split.OUTPUTS, self.bias, name),
            Linear(name, grouped, hidden, Split.KV_HEADS, self.bias, name, self.groups),
            Linear(name, grouped, hidden, Split.KV_HEADS, self.bias, name, self.groups),
            Linear(name, self.heads, hidden, Split.OUTPUTS, self.bias, name),
        )

    def _cache(self) -> StateCache:
        grouped = 2 * self.groups * self.state
        parts = (
            StatePart(self.inner, self.conv - 1, grouped, self.groups),
            StatePart(self.heads * self.head_dim * self.state, dtype=self.dtype),
        )
        return StateCache("mamba2", parts, checkpoints_on=None)


def convolution(
    name: str, width: int, size: int, *, bias: bool = False, groups: int | None = None, dtype: str | None = None
) -> tuple[Module, ...]:
    """A convolution of `size` taps on each of `width` channels, which no quantizer touches."""
    split, heads = (Split.OUTPUTS, 1) if groups is None else (Split.KV_HEADS, groups)
    weight = Vector(f"{name}.weight", width * size, split, dtype, heads)
    return (weight, Vector(f"{name}.bias", width, split, dtype, heads)) if bias else (weight,)


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Numbers of a gated delta net of Qwen's (gdn/qwen_gdn_linear_attn.py)."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int

    @classmethod
    def read(cls, config: Config) -> DeltaNet:
        """The `linear_*` keys; a value head belongs to a key head."""
        keys, values = config.positive("linear_num_key_heads"), config.positive("linear_num_value_heads")
        if values % keys:
            raise ConfigError(f"`{config.path}linear_num_value_heads` {values} is not a multiple of {keys} key heads")
        key_dim, value_dim = config.positive("linear_key_head_dim"), config.positive("linear_value_head_dim")
        return cls(keys, values, key_dim, value_dim, taps(config, "linear_conv_kernel_dim"))

    @property
    def keys(self) -> int:
        """Width of all key heads."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all value heads."""
        return self.value_heads * self.value_dim

    def mixer(self, name: str, inputs: tuple[Module, ...], hidden: int, dtype: str | None) -> Mixer:
        """The layer around its input projections, which Qwen's models store in different ways."""
        modules = (
            *inputs,
            *convolution(f"{name}.conv1d", 2 * self.keys + self.values, self.conv, bias=False),
            Vector(f"{name}.dt_bias", self.value_heads, Split.OUTPUTS),
            Vector(f"{name}.A_log", self.value_heads, Split.OUTPUTS, _FLOAT32),
            Vector(f"{name}.norm.weight", self.value_dim),
            Linear(f"{name}.out_proj", hidden, self.values, Split.INPUTS),
        )
        return Mixer(modules, self._cache(dtype), self.keys + self.values)

    def _cache(self, dtype: str | None) -> StateCache:
        parts = (
            # A rank takes whole key heads (qwen_gdn_linear_attn.py divides their number, not their width).
            StatePart(self.values, self.conv - 1, 2 * self.keys, self.key_heads),
            StatePart(self.values * self.key_dim, dtype=dtype),
        )
        # FlashInfer's kernel, by qwen_gdn_linear_attn.py:_resolve_gdn_prefill_backend with CUDA 13.
        devices = (9, 10, 12) if self.key_dim == _BLACKWELL_KEY_DIM else (9,)
        return StateCache("gdn_attention", parts, devices, alignment=64)


_BLACKWELL_KEY_DIM = 128


def short_conv(name: str, width: int, conv: int, *, bias: bool) -> Mixer:
    """A gated convolution (short_conv.py)."""
    modules = (
        Linear(f"{name}.in_proj", 3 * width, width, Split.OUTPUTS, bias, parts=3),
        *convolution(f"{name}.conv", width, conv, bias=bias),
        Linear(f"{name}.out_proj", width, width, Split.INPUTS, bias),
    )
    return Mixer(modules, StateCache("short_conv", (StatePart(width, conv - 1),)), 2 * width)


@dataclass(frozen=True, slots=True)
class KimiDelta:
    """Numbers of a Kimi delta attention layer.

    Attributes:
        full_gate: a gate of full rank, as Kimi K3 has (vllm/models/kimi_k3/nvidia/kda.py); otherwise Kimi Linear's
            (gdn/kimi_gdn_linear_attn.py).
        bounded: whether the gate has a lower bound, which the kernel that exports states wants.
    """

    heads: int
    head_dim: int
    conv: int
    full_gate: bool
    bounded: bool

    def mixer(self, name: str, hidden: int) -> Mixer:
        """The layer: projections that read its input are one in the engine."""
        width, into, fused = self.heads * self.head_dim, Split.OUTPUTS, f"{name}.in_proj_qkvgfab"
        convolutions = (f"{name}.{part}_conv1d" for part in "qkv")
        modules = (
            *(Linear(f"{name}.{part}_proj", width, hidden, into, fused=fused) for part in "qkv"),
            *self._gate(name, hidden, fused),
            Linear(f"{name}.f_a_proj", self.head_dim, hidden, Split.REPLICATED, fused=fused),
            Linear(f"{name}.b_proj", self.heads, hidden, into, fused=fused, alignment=16 if self.full_gate else 1),
            Linear(f"{name}.f_b_proj", width, self.head_dim, into),
            *(part for conv in convolutions for part in convolution(conv, width, self.conv, bias=False, dtype="F32")),
            Vector(f"{name}.dt_bias", width, into, _FLOAT32),
            Vector(f"{name}.A_log", self.heads, into, _FLOAT32),
            Vector(f"{name}.o_norm.weight", self.head_dim),
            Linear(f"{name}.o_proj", hidden, width, Split.INPUTS),
        )
        return Mixer(modules, self._cache(), 2 * width)

    def _gate(self, name: str, hidden: int, fused: str) -> tuple[Module, ...]:
        width = self.heads * self.head_dim
        if self.full_gate:
            return (Linear(f"{name}.g_proj", width, hidden, Split.OUTPUTS, fused=fused),)
        return (
            Linear(f"{name}.g_a_proj", self.head_dim, hidden, Split.REPLICATED),
            Linear(f"{name}.g_b_proj", width, self.head_dim, Split.OUTPUTS),
        )

    def _cache(self) -> StateCache:
        width = self.heads * self.head_dim
        parts = (StatePart(3 * width, self.conv - 1), StatePart(width * self.head_dim, dtype="float32"))
        exports = self.full_gate and self.bounded and self.head_dim == _BLACKWELL_KEY_DIM
        # FlashKDA runs there, by is_flashkda_supported in vllm/models/kimi_k3/nvidia/kda.py.
        return StateCache("kda", parts, (9, 10, 12) if exports else ())
