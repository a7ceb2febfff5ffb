"""How near an estimate is to what was measured. Limits are those of the measurements; see constants.py."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.speed.cards import Card
from compiler.speed.constants import CardClass
from compiler.speed.estimate import Ground, Mark
from compiler.speed.load import Load, Regime
from compiler.speed.shape import Arithmetic, Shape

_MOST_AT_ONCE = 128
_MOST_CONTEXT = 32 * 1024
_MOST_RANKS = 8
_BUSY = 8
_HOPPER_FP8 = "FP8 with scales for blocks on Hopper: measurements differ from estimates by 25 % in the middle"
_CONSUMER = "a consumer card under load: measurements of its kind differ from estimates by a third"


def ground(shape: Shape, card: Card, ranks: int, load: Load, at_once: float) -> Ground:
    """What an estimate rests on.

    Args:
        at_once: requests that run.
    """
    thin = (*_thin(shape, card), *_off(shape, card, at_once))
    far = tuple(_far(ranks, load))
    if thin:
        return Ground(Mark.THIN, thin + far)
    return Ground(Mark.EXTRAPOLATED, far) if far else Ground(Mark.MEASURED)


def _thin(shape: Shape, card: Card) -> Iterator[str]:
    if card.thin is not None:
        yield f"{card.name}: {card.thin}"
    if shape.arithmetic is Arithmetic.GGUF:
        yield "a GGUF model: nothing of llama.cpp was fitted, its weights are read at the bandwidth of other formats"
    elif shape.arithmetic is Arithmetic.FP8 and card.fp8 is None:
        yield f"FP8 weights on {card.name}, which has no units for FP8: no measurement"
    elif shape.arithmetic in (Arithmetic.FP4_EXPERTS, Arithmetic.W8) or (
        shape.arithmetic is Arithmetic.MXFP4 and card.fp4 is not None
    ):
        yield f"{shape.arithmetic} on {card.name}: no measurement was fitted"
    if shape.eager:
        yield "without CUDA graphs: hardly any measurement"
    if shape.lora:
        yield "LoRA: hardly any measurement"


def _off(shape: Shape, card: Card, at_once: float) -> Iterator[str]:
    """Of what measurements there are, but far from what is said of it."""
    if shape.unlike is not None:
        yield shape.unlike
    if shape.block_scales and shape.arithmetic is Arithmetic.FP8 and card.kind is CardClass.HOPPER:
        yield _HOPPER_FP8
    if card.consumer and card.kind is CardClass.BLACKWELL_GDDR and at_once >= _BUSY:
        yield _CONSUMER
    if at_once > _MOST_AT_ONCE:
        yield f"{at_once:.0f} requests at once, beyond {_MOST_AT_ONCE}"


def _far(ranks: int, load: Load) -> Iterator[str]:
    if load.input + load.output > _MOST_CONTEXT:
        yield f"requests beyond {_MOST_CONTEXT // 1024}K tokens"
    if ranks > _MOST_RANKS:
        yield f"{ranks} ranks, beyond {_MOST_RANKS}"
    if load.regime is Regime.OPEN:
        yield "requests at a rate: rough"
