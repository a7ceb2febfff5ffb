"""Small things that several tests make: specs, safetensors headers, repositories that do not exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compiler.spec.models import Spec
from tests.hub.recordings import Recording

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}


def spec_of(services: Mapping[str, Mapping[str, Any]], publishers: tuple[str, ...] = ()) -> Spec:
    full = {
        name: {"context": "4K", "port": 8001 + index, **service}
        for index, (name, service) in enumerate(services.items())
    }
    return Spec.model_validate(
        {
            "stack": "test",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"gpu01": {"gpus": {"model": "h100"}}},
            "services": full,
            "policy": {"publishers": publishers},
        }
    )


def service(model: str, quantization: str | list[str] = "auto") -> dict[str, Any]:
    return {"model": model, "quantization": quantization}


def header(tensors: Mapping[str, tuple[str, list[int], int]], metadata: Mapping[str, str] | None = None) -> bytes:
    """The start of a safetensors file: everything but its data. A tensor is its dtype, shape and bytes."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape, size) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def repository(repo: str, config: Mapping[str, Any] | None = None, **changes: Any) -> Recording:
    """A repository with one shard of 2 tensors, unless said otherwise."""
    shard = header({"model.embed_tokens.weight": ("BF16", [8, 64], 1024), "model.norm.weight": ("BF16", [64], 128)})
    contents = {
        "config.json": json.dumps(config or LLAMA).encode(),
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "model.safetensors": shard,
        **changes.pop("contents", {}),
    }
    sizes: dict[str, int | None] = {path: len(content) for path, content in contents.items()}
    sizes["model.safetensors"] = len(contents["model.safetensors"]) + 1152
    sizes |= changes.pop("sizes", {})
    defaults = {"commit": COMMIT, "license": "apache-2.0", "files": sizes, "contents": contents}
    return Recording(repo, **{**defaults, **changes})


def quantized(repo: str, of: str, block: Mapping[str, Any], **changes: Any) -> Recording:
    """A variant whose card names its base."""
    defaults = {"base_model": of, "base_relation": "quantized"}
    return repository(repo, {**LLAMA, "quantization_config": dict(block)}, **{**defaults, **changes})


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}


class FakeClock:
    """Sleeping takes no time, and is remembered."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)

    def wake(self) -> None:
        """Nobody sleeps."""
