"""Folders of small models of any family: a config, a tokenizer, and random weights with the tensors that it implies.

vLLM refuses a checkpoint that lacks a tensor or has one of another shape, so a server that starts from such a folder
proves that the tensors are the right ones.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compiler.checkpoints.parameters.tensors import StoredTensor, stored_tensors
from compiler.checkpoints.read import read_architecture

_ONE = 0x3F80  # 1.0 in bfloat16
_SMALL = (0x3D00, 0xBD00, 0x3C80, 0xBC80)  # about ±0.03 and ±0.016
_WIDTHS = {"BF16": 2, "F32": 4}


def write_model(
    folder: Path,
    config: Mapping[str, Any],
    tokenizer: Path,
    spelled: Callable[[StoredTensor], StoredTensor] = lambda tensor: tensor,
) -> None:
    """Write the model. `tokenizer` is a folder whose tokenizer and vocabulary it takes.

    Args:
        spelled: a tensor as checkpoints of the family call and shape it, where the arithmetic knows its elements alone.
    """
    shutil.copytree(tokenizer, folder)
    vocabulary = json.loads((tokenizer / "config.json").read_text())
    whole = {**config, "vocab_size": vocabulary["vocab_size"], "eos_token_id": vocabulary["eos_token_id"]}
    (folder / "config.json").write_text(json.dumps(whole))
    tensors = stored_tensors(read_architecture(whole), None)
    write_tensors(folder / "model.safetensors", tuple(map(spelled, tensors)))


def write_tensors(path: Path, tensors: tuple[StoredTensor, ...]) -> None:
    """A safetensors file with norms of one and small random weights."""
    chance = random.Random(0)
    header: dict[str, Any] = {}
    start = 0
    for tensor in tensors:
        size = math.prod(tensor.shape) * _WIDTHS[tensor.dtype]
        header[tensor.name] = {
            "dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, start + size]
        }  # fmt: skip
        start += size
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors:
            file.write(_values(tensor, chance))


def _values(tensor: StoredTensor, chance: random.Random) -> bytes:
    count = math.prod(tensor.shape)
    if tensor.dtype == "F32":
        # Heads for scores; other float32 parameters are of recurrent states, and none of these is a weight.
        is_head = tensor.name.startswith(("classifier.", "bert.pooler."))
        return array("f", (chance.uniform(-0.1, 0.1) if is_head else 0.0 for _ in range(count))).tobytes()
    return array("H", [_ONE] * count if "norm" in tensor.name else chance.choices(_SMALL, k=count)).tobytes()
