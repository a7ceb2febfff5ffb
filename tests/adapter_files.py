"""A LoRA adapter as PEFT writes it, with random numbers, without PEFT."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.hub.builders import header

Sizes = Mapping[str, tuple[int, int]]
"""Inputs and outputs of each projection of a layer, by its name below the layer."""


def adapter_config(base: str, rank: int, sizes: Sizes, **more: Any) -> dict[str, Any]:
    """adapter_config.json."""
    targets = sorted({name.rpartition(".")[2] for name in sizes})
    known = {"base_model_name_or_path": base, "r": rank, "lora_alpha": 2 * rank, "target_modules": targets}
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", **known, **more}


def shapes(rank: int, sizes: Sizes, layers: int, prefix: str = "base_model.model.model.layers") -> dict[str, list[int]]:
    """Tensors by name."""
    found: dict[str, list[int]] = {}
    for layer in range(layers):
        for name, (inputs, outputs) in sizes.items():
            found[f"{prefix}.{layer}.{name}.lora_A.weight"] = [rank, inputs]
            found[f"{prefix}.{layer}.{name}.lora_B.weight"] = [outputs, rank]
    return found


def weights_header(tensors: Mapping[str, list[int]]) -> tuple[bytes, int]:
    """The start of a file of float32 weights, and its size as a whole."""
    start = header({name: ("F32", shape, 4 * shape[0] * shape[1]) for name, shape in tensors.items()})
    return start, len(start) + sum(4 * shape[0] * shape[1] for shape in tensors.values())


def write_adapter(folder: Path, base: str, rank: int, sizes: Sizes, layers: int) -> Path:
    """A folder with an adapter whose every matrix is random, so that it changes answers."""
    folder.mkdir(parents=True)
    tensors, numbers = shapes(rank, sizes, layers), random.Random(folder.name)
    start, size = weights_header(tensors)
    count = (size - len(start)) // 4
    data = struct.pack(f"<{count}f", *(numbers.gauss(0, 0.3) for _ in range(count)))
    (folder / "adapter_model.safetensors").write_bytes(start + data)
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(base, rank, sizes)))
    return folder


def write_blank_adapter(folder: Path, base: str, rank: int, sizes: Sizes, layers: int) -> Path:
    """A folder with an adapter of zeros, of any size at once: it changes nothing."""
    folder.mkdir(parents=True)
    start, size = weights_header(shapes(rank, sizes, layers))
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(start)
        file.truncate(size)
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(base, rank, sizes)))
    return folder


def shipped_adapters(folder: Path) -> list[str]:
    """Options of `stackc lock` for copies of the folders that stacks/adapters-24gb.yaml names."""
    model, hidden = "Qwen/Qwen2.5-7B-Instruct", 3584
    sizes = {f"self_attn.{name}_proj": (hidden, width) for name, width in {"q": hidden, "k": 512, "v": 512}.items()}
    sql = write_blank_adapter(folder / "sql", model, 16, sizes, 28)
    support = write_blank_adapter(folder / "support", model, 8, {**sizes, "self_attn.o_proj": (hidden, hidden)}, 28)
    pairs = ("/srv/adapters/sql", sql), ("/srv/adapters/support", support)
    return [word for place, copy in pairs for word in ("--folder", f"{place}={copy}")]
