"""Decoders that vLLM turns into models for embeddings or scores (vllm/model_executor/models/adapters.py, 0.33.0).

A name that the registry does not have is looked up by its ending: `XForSequenceClassification` is `XForCausalLM` with a
float32 score head instead of the output head, `XModel` is the same without any head. A name with a class of its own is
never converted (adapters.py:as_seq_cls_model leaves pooling models as they are).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from compiler.checkpoints.architecture import Architecture, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.encoder import classifier, labels
from compiler.checkpoints.families.endings import converted_base
from compiler.checkpoints.families.terms import check_value

Reader = Callable[[str, Config], Architecture]

NO_CLASSES: Mapping[str, str] = {}
"""Of a release that has no class for any name but those of the families: whatever can be converted is."""


def converted(name: str, families: Mapping[str, Reader], classes: Mapping[str, str] = NO_CLASSES) -> Reader | None:
    """A reader for a name that has none of its own; None where vLLM converts nothing or has a class of its own.

    Args:
        name: of the architecture.
        families: readers of generating models.
        classes: of the release that serves it, by the names of architectures.
    """
    found = converted_base(name, families)
    if found is None:
        return None
    base, scored = found
    if name in _OWN_CLASSES:
        return lambda own, config: _OWN_CLASSES[own](families[base](own, config), config)
    if name in classes and classes[name] != classes.get(base):
        return None
    return lambda own, config: _pooling(families[base](own, config), config, scored=scored)


# Endings of pooling models whose answers are no embeddings of whole texts: scores, labels, rewards, or a vector for
# each token or each word of the vocabulary.
_OTHER_ANSWERS = (
    "Classification", "ClassificationModel", "ForRewardModeling", "RewardModel", "ForProcessRewardModel",
    "BertForMaskedLM", "BertSpladeSparseEmbeddingModel", "ForRanking", "ForRetrieval", "ForJointSchema",
)  # fmt: skip
_DENSE_DTYPE = "F32"
_TWO_WAYS = 2
# Models whose classes look at `is_causal` (vllm/model_executor/models/{apertus,llama,qwen2,qwen3}.py).
_HEEDS_IS_CAUSAL = {
    f"{stem}{ending}"
    for stem in ("Apertus", "Llama", "Qwen2", "Qwen3")
    for ending in ("ForCausalLM", "Model", "ForSequenceClassification")
}


def gives_embeddings(name: str) -> bool:
    """Whether vLLM answers /v1/embeddings with a model of this architecture, converted where it generates text."""
    return name == "RobertaForMaskedLM" or not (name.endswith(_OTHER_ANSWERS) or "ColBERT" in name or "ColQwen" in name)


def gives_labels(name: str) -> bool:
    """Whether vLLM answers /classify with a model of this architecture: labels of whole texts, not of each token."""
    return name.endswith(("ForSequenceClassification", "ClassificationModel")) and "ForTokenClassification" not in name


def as_scoring(architecture: Architecture, config: Config) -> Architecture:
    """A generating model with `--convert classify`, whose score is made of rows of its output head while it loads.

    One score (adapters.py:as_seq_cls_model and its SEQ_CLS_LOAD_METHODS); no quantizer touches it.
    """
    if not architecture.pooling:
        score = Vector("score.weight", architecture.hidden_size, dtype=_DENSE_DTYPE, stored=False)
        architecture = dataclasses.replace(
            architecture,
            last=headless(architecture.last),
            everywhere=(*headless(architecture.everywhere), score),
            pooling=True,
        )
    return architecture if config.flag("is_causal", default=True) else _in_both_directions(architecture)


def as_embedding(architecture: Architecture, config: Config, dense: Sequence[tuple[int, int, bool]]) -> Architecture:
    """The same model with `--convert embed`: a generating one loses its output head (adapters.py:as_embedding_model).

    Args:
        dense: inputs, outputs and bias of projections after the model (adapters.py:_load_st_projector), in float32.
    """
    projector = [
        Vector(f"projector.{index}.{part}", size, dtype=_DENSE_DTYPE)
        for index, (inputs, outputs, bias) in enumerate(dense)
        for part, size in (("weight", inputs * outputs), ("bias", outputs if bias else 0))
        if size
    ]
    if not architecture.pooling:
        architecture = _pooling(architecture, config, scored=False)
    if not config.flag("is_causal", default=True):
        architecture = _in_both_directions(architecture)
    return dataclasses.replace(architecture, everywhere=(*architecture.everywhere, *projector))


def _in_both_directions(architecture: Architecture) -> Architecture:
    """Attention in both directions needs the whole text at once, and caches nothing."""
    if not any(layer.caches for layer in architecture.kinds):
        return architecture
    if architecture.name not in _HEEDS_IS_CAUSAL:
        raise UnsupportedArchitectureError(f"{architecture.name} with `is_causal: false`")
    layers = {id(layer): dataclasses.replace(layer, caches=()) for layer in architecture.kinds}
    return dataclasses.replace(architecture, layers=tuple(layers[id(layer)] for layer in architecture.layers))


def embedding_dimension(architecture: Architecture, config: Config, dense: Sequence[tuple[int, int, bool]]) -> int:
    """Numbers of an embedding (vllm/config/model.py:embedding_size)."""
    if "embedding_size" in config:
        return config.positive("embedding_size")
    return dense[-1][1] if dense else architecture.hidden_size


def _check_method(config: Config) -> None:
    """How a score is made of the output head's rows, where config.json says so (adapters.py, models/config.py)."""
    tokens = config.items("classifier_from_token")
    if config.flag("is_original_qwen3_reranker") and len(tokens) != _TWO_WAYS:
        raise ConfigError(f"`{config.path}classifier_from_token` must name two tokens, not {len(tokens)}")
    if config.data.get("method") is None:
        return
    check_value(config, "method", ("from_2_way_softmax", "no_post_processing"))
    if not tokens or (config.text("method") == "from_2_way_softmax" and len(tokens) != _TWO_WAYS):
        wanted = "two tokens" if tokens else "the tokens of its scores"
        raise ConfigError(f"`{config.path}classifier_from_token` must name {wanted}, which `method` needs")


def label_count(config: Config) -> int:
    """Labels of a text, by the words that config.json makes them of, or by their names."""
    tokens, method = config.items("classifier_from_token"), config.data.get("method")
    if method is None and not config.flag("is_original_qwen3_reranker"):
        return labels(config)
    return len(tokens) if method == "no_post_processing" else 1


def _score(decoder: Architecture, config: Config) -> Module:
    """The head; no quantizer touches it, and no checkpoint holds it, where rows of the output head become it."""
    _check_method(config)
    count, hidden = label_count(config), decoder.hidden_size
    if config.data.get("method") is not None or config.flag("is_original_qwen3_reranker"):
        return Vector("score.weight", count * hidden, dtype=_DENSE_DTYPE, stored=False)
    return Linear("score", count, hidden, Split.REPLICATED, dtype=_DENSE_DTYPE)


def _pooling(decoder: Architecture, config: Config, *, scored: bool) -> Architecture:
    score = (_score(decoder, config),) if scored else ()
    return dataclasses.replace(
        decoder,
        last=headless(decoder.last),
        everywhere=(*headless(decoder.everywhere), *score),
        pooling=True,
    )


def _own_score(decoder: Architecture, config: Config, *, bias: bool = False) -> Architecture:
    """A score head that no quantizer touches, beside whatever the decoder has."""
    score = classifier("score", labels(config), decoder.hidden_size, bias=bias)
    return dataclasses.replace(decoder, everywhere=(*decoder.everywhere, *score), pooling=True)


def _gpt2(decoder: Architecture, config: Config) -> Architecture:
    """gpt2.py:GPT2ForSequenceClassification: the bare decoder."""
    return _own_score(dataclasses.replace(decoder, last=headless(decoder.last)), config)


def _jamba(decoder: Architecture, config: Config) -> Architecture:
    """jamba.py:JambaForSequenceClassification: the generating model, output head and all."""
    return _own_score(decoder, config, bias=config.flag("score_bias"))


_OWN_CLASSES: Mapping[str, Callable[[Architecture, Config], Architecture]] = {
    "GPT2ForSequenceClassification": _gpt2,
    "JambaForSequenceClassification": _jamba,
}


def headless(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Modules without the output head: the only table that quantizers may touch."""
    return tuple(module for module in modules if not (isinstance(module, Table) and module.quantized))
