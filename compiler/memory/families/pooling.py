"""Decoders that vLLM turns into models for embeddings or scores (vllm/model_executor/models/adapters.py, 0.33.0).

A name that the registry does not have is looked up by its ending: `XForSequenceClassification` is `XForCausalLM` with a
float32 score head instead of the output head, `XModel` is the same without any head. A name with a class of its own is
never converted (adapters.py:as_seq_cls_model leaves pooling models as they are).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from compiler.catalog.architectures import converted_base, load_registry
from compiler.memory.architecture import Architecture, Linear, Module, Split, Table
from compiler.memory.config import Config
from compiler.memory.families.encoder import classifier, labels

Reader = Callable[[str, Config], Architecture]


# The release whose model code all families describe.
_DESCRIBED = "0.33.0"


def converted(name: str, families: Mapping[str, Reader]) -> Reader | None:
    """A reader for a name that has none of its own; None where vLLM converts nothing or has a class of its own."""
    found = converted_base(name, families)
    if found is None:
        return None
    base, scored = found
    if name in _OWN_CLASSES:
        return lambda own, config: _OWN_CLASSES[own](families[base](own, config), config)
    classes = load_registry(_DESCRIBED).classes
    if name in classes and classes[name] != classes.get(base):
        return None
    return lambda own, config: _pooling(families[base](own, config), config, scored=scored)


def _pooling(decoder: Architecture, config: Config, *, scored: bool) -> Architecture:
    score = (Linear("score", labels(config), decoder.hidden_size, Split.REPLICATED, dtype="F32"),)
    return dataclasses.replace(
        decoder,
        last=_headless(decoder.last),
        everywhere=(*_headless(decoder.everywhere), *(score if scored else ())),
        pooling=True,
    )


def _own_score(decoder: Architecture, config: Config, *, bias: bool = False) -> Architecture:
    """A score head that no quantizer touches, beside whatever the decoder has."""
    score = classifier("score", labels(config), decoder.hidden_size, bias=bias)
    return dataclasses.replace(decoder, everywhere=(*decoder.everywhere, *score), pooling=True)


def _gpt2(decoder: Architecture, config: Config) -> Architecture:
    """gpt2.py:GPT2ForSequenceClassification: the bare decoder."""
    return _own_score(dataclasses.replace(decoder, last=_headless(decoder.last)), config)


def _jamba(decoder: Architecture, config: Config) -> Architecture:
    """jamba.py:JambaForSequenceClassification: the generating model, output head and all."""
    return _own_score(decoder, config, bias=config.flag("score_bias"))


_OWN_CLASSES: Mapping[str, Callable[[Architecture, Config], Architecture]] = {
    "GPT2ForSequenceClassification": _gpt2,
    "JambaForSequenceClassification": _jamba,
}


def _headless(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Without the output head: the only table that quantizers may touch."""
    return tuple(module for module in modules if not (isinstance(module, Table) and module.quantized))
