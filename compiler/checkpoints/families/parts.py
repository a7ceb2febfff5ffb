"""Pieces that many families share."""

from __future__ import annotations

from compiler.checkpoints.architecture import HeadCache, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError, head_dim_of, kv_heads_of

_DTYPES = {"bfloat16", "float16", "float32"}


def dtype_of(*configs: Config) -> str:
    """What the checkpoint is stored in, by the first of these maps that says so."""
    value = next((found for config in configs for found in config.first("torch_dtype", "dtype")), "float32")
    name = str(value).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigError(f"`torch_dtype` must be one of {', '.join(sorted(_DTYPES))}, not {name[:40]}")
    return name


class Heads:
    """Numbers of an attention layer.

    Attributes:
        query, kv: numbers of heads.
        dim, value_dim: widths of a key and of a value.
    """

    def __init__(self, query: int, kv: int, dim: int, value_dim: int | None = None) -> None:
        self.query, self.kv, self.dim = query, kv, dim
        self.value_dim = dim if value_dim is None else value_dim

    @classmethod
    def read(cls, config: Config) -> Heads:
        """`num_attention_heads`, `num_key_value_heads` and `head_dim`."""
        query = config.positive("num_attention_heads")
        return cls(query, kv_heads_of(config, query), head_dim_of(config, config.positive("hidden_size"), query))

    def cache(self, window: int | None = None, chunk: int | None = None) -> HeadCache:
        """The KV cache of such a layer."""
        return HeadCache(self.kv, self.dim, self.value_dim, window, chunk)


def attention(
    heads: Heads, hidden: int, *, qkv_bias: bool = False, out_bias: bool = False, name: str = "self_attn"
) -> tuple[Module, ...]:
    """Query, key, value and output projections, fused as vLLM fuses them."""
    fused = f"{name}.qkv_proj"
    keys, values = heads.kv * heads.dim, heads.kv * heads.value_dim
    return (
        Linear(f"{name}.q_proj", heads.query * heads.dim, hidden, Split.OUTPUTS, qkv_bias, fused),
        Linear(f"{name}.k_proj", keys, hidden, Split.KV_HEADS, qkv_bias, fused, heads.kv),
        Linear(f"{name}.v_proj", values, hidden, Split.KV_HEADS, qkv_bias, fused, heads.kv),
        Linear(f"{name}.o_proj", hidden, heads.query * heads.value_dim, Split.INPUTS, out_bias),
    )


def gated_mlp(width: int, hidden: int, *, bias: bool = False, name: str = "mlp") -> tuple[Module, ...]:
    """Gate, up and down projections."""
    fused = f"{name}.gate_up_proj"
    return (
        Linear(f"{name}.gate_proj", width, hidden, Split.OUTPUTS, bias, fused),
        Linear(f"{name}.up_proj", width, hidden, Split.OUTPUTS, bias, fused),
        Linear(f"{name}.down_proj", hidden, width, Split.INPUTS, bias),
    )


def norms(size: int, *names: str) -> tuple[Module, ...]:
    """Norm weights of one size."""
    return tuple(Vector(f"{name}.weight", size) for name in names)


def embeddings(vocab: int, hidden: int, name: str = "model.embed_tokens") -> Table:
    """The table of the first stage."""
    return Table(name, vocab, hidden)


def head(vocab: int, hidden: int, *, tied: bool) -> tuple[Module, ...]:
    """Output head of the last stage; none where the embeddings serve as one."""
    return () if tied else (Table("lm_head", vocab, hidden, quantized=True),)
