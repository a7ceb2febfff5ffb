"""By which units of a card a part of a model is multiplied, and what share of its figures that reaches."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.speed.cards import Card
from compiler.speed.constants import HIDDEN_MOST, HIDDEN_UNIT, CardClass
from compiler.speed.server import Server
from compiler.speed.shape import Arithmetic, Shape

_OLD = (CardClass.TURING, CardClass.AMPERE_PCIE, CardClass.AMPERE_HBM, CardClass.CDNA, CardClass.XE)
_PLAIN_BYTES = 2


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one part on one card.

    Attributes:
        bandwidth: bytes a millisecond.
        compute: operations a millisecond.
    """

    bandwidth: float
    compute: float


def rate(server: Server, bytes_each: float) -> Rate:
    """Of a part whose parameters are stored in so many bytes each, on one card."""
    card, constants = server.card, server.constants
    key, peak = _format(server.shape.arithmetic, bytes_each, card)
    of_class, of_format = constants.classes[card.kind], constants.formats[key]
    wide = (min(server.shape.hidden, HIDDEN_MOST) / HIDDEN_UNIT) ** constants.hidden_power
    return Rate(
        bandwidth=card.bandwidth * 1e6 * of_class.bandwidth * of_format.bandwidth,
        compute=peak * 1e9 * of_class.compute * wide * of_format.compute,
    )


def formats_of(shape: Shape, card: Card) -> frozenset[str]:
    """Those whose constants decide how fast a model's parts are."""
    parts = (shape.attention, shape.dense, shape.head, *(() if shape.experts is None else (shape.experts,)))
    return frozenset(_format(shape.arithmetic, part.bytes_each, card)[0] for part in parts)


def _format(arithmetic: Arithmetic, bytes_each: float, card: Card) -> tuple[str, float]:
    """Whose constants hold, and the peak in 10¹² operations a second."""
    if bytes_each >= _PLAIN_BYTES or arithmetic in (Arithmetic.BF16, Arithmetic.GGUF):
        return "bf16", card.bf16
    if arithmetic is Arithmetic.W8:
        return "fp8m", card.bf16
    if arithmetic is Arithmetic.INT8:
        return "int8", card.int8
    if arithmetic is Arithmetic.FP8 or (arithmetic is not Arithmetic.W4 and bytes_each >= 1):
        return ("fp8", card.fp8) if card.fp8 is not None else ("fp8m", card.bf16)
    if arithmetic is Arithmetic.W4:
        return _weights_only(card), card.bf16
    if card.fp4 is None:
        return ("mxm" if arithmetic is Arithmetic.MXFP4 else _weights_only(card)), card.bf16
    return str(arithmetic), card.fp4


def _weights_only(card: Card) -> str:
    """Four-bit weights that are multiplied in 16 bits."""
    if card.kind is CardClass.ADA:
        return "w4d"
    return "w4a" if card.kind in _OLD else "w4h"
