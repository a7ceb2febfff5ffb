"""Which task a model serves: what vLLM 0.33.0 answers with it.

vllm/config/model.py:get_pooling_task picks one for a server, and vllm/entrypoints/pooling opens the paths of it:
/v1/embeddings, or /classify and, where there is one label alone, /score and /rerank (utils.py:enable_scoring_api).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.dense.pooling import gives_embeddings, gives_labels, label_count
from compiler.checkpoints.read import architecture_name
from compiler.diagnostics import Diagnostic, Help
from compiler.engines.vllm.answers.rerankers import METHODS, known_tokens
from compiler.lock.models import Lock, ModelFacts
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec, Task

GIVES: Mapping[Task, str] = {
    "embed": "embeddings",
    "score": "scores of texts (/v1/rerank)",
    "classify": "labels of texts (/classify)",
}
"""What a server with a task of the pooling runner gives."""


def scoring_tokens(spec: ServiceSpec, name: str, facts: ModelFacts) -> tuple[str, ...]:
    """Words by which a generating model scores: the spec's, its config.json's, or those of its card; else empty."""
    if spec.task != "score" or spec.score_tokens:
        return spec.score_tokens
    own = facts.config.get("classifier_from_token")
    if isinstance(own, list) and len(own) in METHODS and all(isinstance(word, str) for word in own):
        return tuple(own)
    try:
        return known_tokens((name, *facts.base_models), architecture_name(facts.config))
    except ConfigError:
        return ()


def scoring_overrides(tokens: tuple[str, ...]) -> dict[str, Any]:
    """What `--hf-overrides` tells vLLM, so that it makes a score of these words' rows of the output head."""
    return {"classifier_from_token": list(tokens), "method": METHODS[len(tokens)]}


def labels_of(architecture: Architecture, config: Mapping[str, Any]) -> int:
    """Labels that a model gives for a text; one, its score, where it is made of a generating one.

    Args:
        architecture: as it is served.

    Raises:
        ConfigError: config.json names no labels that can be counted.
    """
    return label_count(Config(config)) if gives_labels(architecture.name) else 1


def tasks_of(architecture: Architecture, config: Mapping[str, Any], tokens: tuple[str, ...]) -> tuple[Task, ...]:
    """Tasks of the pooling runner that a model serves, the likeliest first.

    Args:
        architecture: as config.json describes it.
        tokens: words by which it is to score, if it generates.

    Raises:
        ConfigError: config.json names no labels that can be counted.
    """
    name, found = architecture.name, list[Task]()
    if architecture.pooling and gives_labels(name):
        return ("score", "classify") if label_count(Config(config)) == 1 else ("classify",)
    if tokens and not architecture.pooling:
        found.append("score")
    if gives_embeddings(name):
        found.append("embed")
    return tuple(found)


def check_prompts(file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
    """W0503 where a generating model is to score texts, and nobody gives the prompt that it was trained with."""
    for name in services:
        service = file.spec.services[name]
        candidates = lock.services[name].candidates
        by_words = (tokens for each in candidates if (tokens := scoring_tokens(service, each, lock.models[each])))
        tokens = next(by_words, ())
        if not tokens or service.brings_chat_template:
            continue
        words = " against ".join(f"`{word}`" for word in reversed(tokens))
        message = f"service `{name}` scores texts by {words} with no prompt around query and text"
        notes = ("such a model was trained to answer a question; without it scores may say little",)
        key = "`engine_args: {chat-template: …}`, an absolute path on the server"
        helps = (Help(f"take the template of the model's card: {key}"), Help("or have clients send the whole prompt"))
        yield Diagnostic("W0503", message, file.at("services", name, "task"), notes, helps)
