"""Models as servers run them, for tests of speed."""

from __future__ import annotations

from compiler.speed.shape import Arithmetic, Experts, KvGroup, Part, Shape

_EACH = {Arithmetic.BF16: 2.0, Arithmetic.FP8: 1.0, Arithmetic.INT8: 1.0, Arithmetic.W4: 0.53, Arithmetic.FP4: 0.5625}


def dense(arithmetic: Arithmetic = Arithmetic.BF16, layers: int = 32) -> Shape:
    """Of about 8 billion parameters, with 32 layers."""
    each = _EACH[arithmetic]
    return Shape(
        layers=layers,
        hidden=4096,
        attention=Part(layers * 42_000_000, each),
        dense=Part(layers * 176_000_000, each),
        head=Part(525_000_000, 2.0),
        experts=None,
        kv=(KvGroup(layers, 2048, None, 4096),),
        kv_heads=8,
        kv_bytes=2,
        all_reduces=2 * layers,
        arithmetic=arithmetic,
    )


def sparse(arithmetic: Arithmetic = Arithmetic.FP8) -> Shape:
    """Of about 30 billion parameters, of which a token goes through 3."""
    each = _EACH[arithmetic]
    return Shape(
        layers=48,
        hidden=2048,
        attention=Part(48 * 19_000_000, each),
        dense=Part(48 * 300_000, 2.0),
        head=Part(311_000_000, 2.0),
        experts=Experts(48, 128, 8, 4_700_000, each),
        kv=(KvGroup(48, 1024, None, 4096),),
        kv_heads=4,
        kv_bytes=2,
        all_reduces=96,
        arithmetic=arithmetic,
    )
