"""Decoders that vLLM turns into models for embeddings or scores (vllm/model_executor/models/adapters.py, 0.33.0).

A name that the registry does not have is looked up by its ending: `XForSequenceClassification` is `XForCausalLM` with a
float32 score head instead of the output head, `XModel` is the same without any head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from compiler.catalog.architectures import converted_base
from compiler.memory.architecture import Architecture, Linear, Module, Split, Table
from compiler.memory.config import Config
from compiler.memory.families.encoder import labels

Reader = Callable[[str, Config], Architecture]


def converted(name: str, families: Mapping[str, Reader]) -> Reader | None:
    """A reader for a name that has none of its own; None if its ending is none that vLLM converts."""
    found = converted_base(name, families)
    if found is None:
        return None
    base, scored = found
    return lambda own, config: _pooling(families[base](own, config), config, scored=scored)


def _pooling(decoder: Architecture, config: Config, *, scored: bool) -> Architecture:
    score = (Linear("score", labels(config), decoder.hidden_size, Split.REPLICATED, dtype="F32"),)
    return dataclasses.replace(
        decoder,
        last=_headless(decoder.last),
        everywhere=(*_headless(decoder.everywhere), *(score if scored else ())),
        pooling=True,
    )


def _headless(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Without the output head: the only table that quantizers may touch."""
    return tuple(module for module in modules if not (isinstance(module, Table) and module.quantized))
