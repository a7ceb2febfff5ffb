"""Logits that wait on the host to be sampled (src/llama-context.cpp, output_reserve, b10435)."""

from __future__ import annotations

from compiler.engines.llama_cpp.models.shape import Shape

_FLOAT = 4


def output_bytes(shape: Shape, outputs: int, *, pools: bool = False) -> int:
    """A row of the vocabulary in f32 for each output, and a vector where texts are pooled: at the start one a slot.

    Rows of the vocabulary are held for encoders too, which fill none of them.
    """
    return (shape.vocabulary + (shape.output if pools else 0)) * _FLOAT * outputs


def grown_output_bytes(shape: Shape, slots: int, outputs: int) -> int:
    """What more is held from the first text on: every token that is pooled is an output (llama_context::encode)."""
    return output_bytes(shape, outputs, pools=True) - output_bytes(shape, slots, pools=True)
