"""What holds of every stack in place of a setting that other tools have, as half-sentences."""

from __future__ import annotations

BUDGET = (
    "a node's `gpus` or `cpu` say what there is, and each server is sized to the byte: `share` weighs what is left, "
    "`reserve` keeps memory free"
)
REPLICA = "each server is one replica with one API process: `replicas` of the service says how many of them there are"
ADAPTERS = (
    "`adapters: [{model: publisher/name, name: NAME}]` serves LoRA adapters of the model; their rank, modules and room "
    "follow from their files, and `adapters_at_once` says how many may run in one batch"
)
DRAFTS = "`speculate: {method: ngram, tokens: 3}` has tokens guessed, by a lookup, a smaller model or an EAGLE-3 head"
KEPT = "a server keeps its memory until it is stopped"
