"""Repositories of real models' shapes: sharded safetensors that are headers alone, their index, and small files.

Nobody's files are copied: the tensors are derived from the configuration, as the checkpoint's own would be.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.lock.models import ModelFacts, TensorKind
from compiler.lock.quantization import checkpoint_format
from tests.hub.recordings import Recording

# Publishers cut checkpoints at four to five gigabytes.
SHARD_BYTES = 4_000_000_000
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1}

_QWEN = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "max_position_embeddings": 32768,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 152064,
}  # fmt: skip
# By the name of the real model whose shape it is.
CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen2.5-7B-Instruct": {
        **_QWEN, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28,
        "num_key_value_heads": 4,
    },
    "Qwen2.5-14B-Instruct": {
        **_QWEN, "hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40, "num_hidden_layers": 48,
    },
    "Qwen2.5-32B-Instruct": {
        **_QWEN, "hidden_size": 5120, "intermediate_size": 27648, "num_attention_heads": 40, "num_hidden_layers": 64,
    },
    "Llama-3.1-8B-Instruct": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": 128256,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * BYTES[self.dtype]


@dataclass(frozen=True)
class Shard:
    """The start of a safetensors file, and the size that the whole file would have."""

    header: bytes
    names: tuple[str, ...]
    size: int


def kinds_of(config: Mapping[str, Any], quantization: Mapping[str, Any] | None = None) -> tuple[TensorKind, ...]:
    """What a checkpoint of this configuration holds."""
    facts = ModelFacts(source="derived", config=dict(config), quantization=dict(quantization) if quantization else None)
    return expected_tensors(
        read_architecture(config), read_quantization(checkpoint_format(facts), facts.quantization, facts.config)
    )


def stored(kinds: Iterable[TensorKind]) -> list[Stored]:
    """Every single tensor, layer by layer as checkpoints are written."""
    found = [(layer, tensor) for kind in kinds for layer, tensor in _copies(kind)]
    return [tensor for _, tensor in sorted(found, key=lambda item: item[0])]


def _copies(kind: TensorKind) -> Iterator[tuple[int, Stored]]:
    if "*" not in kind.name:
        yield (0 if "embed" in kind.name else sys.maxsize), Stored(kind.name, kind.dtype, kind.shape)
        return
    for layer in range(kind.count):
        yield layer, Stored(kind.name.replace("*", str(layer), 1), kind.dtype, kind.shape)


def shards(tensors: Iterable[Stored], limit: int = SHARD_BYTES) -> list[Shard]:
    """The checkpoint cut into files of at most `limit` bytes of data, where single tensors allow it."""
    groups: list[list[Stored]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.size
    return [_shard(group) for group in groups]


def _shard(tensors: list[Stored]) -> Shard:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.size
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text
    return Shard(content, tuple(tensor.name for tensor in tensors), len(content) + end)


def recording(
    repo: str,
    config: Mapping[str, Any],
    quantization: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> Recording:
    """A repository as its publisher would upload it; `base` is the model that it was quantized from."""
    cut = shards(stored(kinds_of(config, quantization)))
    contents, sizes = _weights(cut)
    for name, value in _small_files(config, quantization).items():
        contents[name] = json.dumps(value, indent=2).encode()
    sizes |= {name: len(content) for name, content in contents.items() if name not in sizes}
    sizes |= {".gitattributes": 1519, "LICENSE": 11343, "README.md": 6240, "merges.txt": 1671839}
    sizes |= {"tokenizer.json": 7031645, "vocab.json": 2776833}
    return Recording(
        repo,
        commit=hashlib.sha1(repo.encode(), usedforsecurity=False).hexdigest(),
        license="apache-2.0",
        base_model=base,
        base_relation="quantized" if base else None,
        tags=("transformers", "safetensors"),
        files=dict(sorted(sizes.items())),
        contents=contents,
    )


def _weights(cut: list[Shard]) -> tuple[dict[str, bytes], dict[str, int | None]]:
    if len(cut) == 1:
        return {"model.safetensors": cut[0].header}, {"model.safetensors": cut[0].size}
    named = {f"model-{index:05}-of-{len(cut):05}.safetensors": shard for index, shard in enumerate(cut, 1)}
    weight_map = {tensor: name for name, shard in named.items() for tensor in shard.names}
    total = sum(shard.size - len(shard.header) for shard in cut)
    index = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2).encode()
    contents = {name: shard.header for name, shard in named.items()}
    sizes: dict[str, int | None] = {name: shard.size for name, shard in named.items()}
    return {**contents, "model.safetensors.index.json": index}, sizes


def _small_files(config: Mapping[str, Any], quantization: Mapping[str, Any] | None) -> dict[str, Any]:
    turn = "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    tokenizer = {"model_max_length": 131072, "chat_template": "{% for message in messages %}" + turn + "{% endfor %}"}
    return {
        "config.json": {**config, **({"quantization_config": dict(quantization)} if quantization else {})},
        "generation_config.json": {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8},
        "tokenizer_config.json": tokenizer,
    }
