"""vLLM 0.33.0's own tables of rotary positions. Runs inside `.engine/`.

Reads a JSON list of folders of a config.json from stdin. Each is read as vLLM reads it, and get_rope is asked on
torch's meta device as the model's class asks it. Prints, for each, the shapes and dtypes of what it keeps.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_TARGET_DEVICE": "cpu"}

import torch

ropes = importlib.import_module("vllm.model_executor.layers.rotary_embedding")
COUNTED = ("qwen3_5_text",)


def parameters_of(config: Any) -> Iterator[dict[str, Any]]:
    """Of each kind of layer that the config has."""
    stated = config.rope_parameters
    kinds = sorted(set(getattr(config, "layer_types", None) or ["full_attention"]))
    nested = isinstance(stated.get("full_attention"), dict)
    for kind in kinds:
        if kind == "linear_attention":
            continue
        rope = dict(stated[kind] if nested else stated)
        if config.model_type == "deepseek_v3" and rope["rope_type"] != "default":
            rope["rope_type"] = "deepseek_yarn"
        yield rope


def answer(folder: str) -> list[list[Any]]:
    """Each table once."""
    config = importlib.import_module("vllm.transformers_utils.config").get_config(folder, trust_remote_code=False)
    longrope = importlib.import_module("vllm.model_executor.layers.rotary_embedding.phi3_long_rope_scaled_rope")
    limits = SimpleNamespace(model_config=SimpleNamespace(max_model_len=1))
    longrope.get_current_vllm_config = lambda: limits  # type: ignore[attr-defined]
    latent = config.model_type == "deepseek_v3"
    width = config.qk_rope_head_dim if latent else config.head_dim
    factor = {"mrope_positions_factor": 1} if config.model_type in COUNTED else {}
    ropes._ROPE_DICT.clear()
    for rope in parameters_of(config):
        ropes.get_rope(width, config.max_position_embeddings, rope_parameters=rope, dtype=torch.bfloat16, **factor)
    buffers = (buffer for table in ropes._ROPE_DICT.values() for _, buffer in table.named_buffers())
    return sorted([*buffer.shape, str(buffer.dtype).removeprefix("torch.")] for buffer in buffers)


def main() -> None:
    vllm = importlib.import_module("vllm.config")
    with vllm.set_current_vllm_config(vllm.VllmConfig()), torch.device("meta"):
        sys.stdout.write(json.dumps([answer(folder) for folder in json.load(sys.stdin)]) + "\n")


if __name__ == "__main__":
    main()
