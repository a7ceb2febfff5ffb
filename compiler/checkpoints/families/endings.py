"""What the ending of an architecture's name says: that it generates text, or which generating one it is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping

GENERATING = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")

# Endings of models that give embeddings or scores, and whether they need a score head; in the order of
# vllm/config/model.py:_SUFFIX_TO_DEFAULTS.
POOLING: Mapping[str, bool] = {
    "ForTextEncoding": False,
    "EmbeddingModel": False,
    "ForSequenceClassification": True,
    "ForTokenClassification": True,
    "ForAudioClassification": True,
    "ForImageClassification": True,
    "ForVideoClassification": True,
    "ClassificationModel": True,
    "ForRewardModeling": False,
    "RewardModel": False,
    "Model": False,
}


def converted_base(name: str, known: Collection[str]) -> tuple[str, bool] | None:
    """The generating architecture that vLLM turns into a pooling one of this name, and whether it gets a score head."""
    ending = next((ending for ending in POOLING if name.endswith(ending)), None)
    if ending is None:
        return None
    bases = (name.replace(ending, generating) for generating in GENERATING)
    return next(((base, POOLING[ending]) for base in bases if base in known), None)
