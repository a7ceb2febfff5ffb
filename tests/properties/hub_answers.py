"""What a Hub answers about a model and its quantized copy when all is as it should be."""

from __future__ import annotations

import math
from typing import Any

from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.checkpoints.parameters.tensors import stored_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from tests.hub.builders import AWQ, COMMIT

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2048,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1000,
    "max_position_embeddings": 4096, "torch_dtype": "float16", "tie_word_embeddings": False,
}  # fmt: skip
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def tensors_of(quantization: dict[str, Any] | None) -> dict[str, Any]:
    """The header of a checkpoint that is whole."""
    block = read_quantization("awq", quantization, CONFIG) if quantization is not None else None
    found: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in stored_tensors(read_architecture(CONFIG), block):
        size = math.prod(tensor.shape) * dtype_bytes(tensor.dtype)
        offsets = [end, end := end + size]
        found[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    return found


def end_of(tensors: dict[str, Any]) -> int:
    return max(int(tensor["data_offsets"][1]) for name, tensor in tensors.items() if name != "__metadata__")


TENSORS = tensors_of(None)


def _info(repo: str, files: tuple[str, ...], base: str | None = None) -> dict[str, Any]:
    """The Hub's answer about a repository, without sizes: one that contradicts a header would end the story early."""
    tags = ["safetensors", "license:apache-2.0", *([f"base_model:quantized:{base}"] if base else [])]
    card = {"license": "apache-2.0", **({"base_model": base} if base else {})}
    return {
        "id": repo, "modelId": repo, "author": "acme", "sha": COMMIT, "private": False, "gated": False,
        "disabled": False, "lastModified": "2024-09-24T15:48:47.000Z", "pipeline_tag": "text-generation", "tags": tags,
        "cardData": card, "siblings": [{"rfilename": path, "blobId": "0" * 40} for path in files],
    }  # fmt: skip


_SMALL = ("config.json", "generation_config.json", "tokenizer_config.json")
# A stray copy beside the shards, so that the index is read.
BASE_FILES = (*_SMALL, "model.safetensors.index.json", "model.safetensors", *SHARDS)
PACKED_FILES = (*_SMALL, "quant_config.json", "additional_chat_templates/rag.jinja", "model.safetensors")
# Everything that the Hub says, by the pattern of the path that asks for it, or by repository and file.
ANSWERS: dict[str, Any] = {
    r"^/api/models/acme/base(?:[/?]|$)": _info("acme/base", BASE_FILES),
    r"^/api/models/acme/base-AWQ(?:[/?]|$)": _info("acme/base-AWQ", PACKED_FILES, "acme/base"),
    r"^/api/models\?": [{"id": "acme/base-AWQ", "tags": ["safetensors", "base_model:quantized:acme/base"]}],
    "acme/base:config.json": CONFIG,
    "acme/base:generation_config.json": {"temperature": 0.7, "top_k": 20, "skip_special_tokens": True},
    "acme/base:tokenizer_config.json": {"chat_template": "{{ messages }}", "model_max_length": 4096},
    "acme/base:model.safetensors.index.json": {
        "metadata": {"total_size": 2_050_048}, "weight_map": {"model.norm.weight": SHARDS[0], "b": SHARDS[1]},
    },
    f"acme/base:{SHARDS[0]}": TENSORS,
    "acme/base-AWQ:config.json": CONFIG,
    "acme/base-AWQ:quant_config.json": AWQ,
    "acme/base-AWQ:model.safetensors": tensors_of(AWQ),
}  # fmt: skip
