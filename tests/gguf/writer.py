"""Write GGUF files: a true header, and data that are zeros or, in a sparse file, a hole that takes no room on disk.

    write(tmp_path / "tiny.gguf", {"general.architecture": "llama"}, [tensor("token_embd.weight", "q4_K", 256, 32)])

A float becomes an f32; an integer takes the type that llama.cpp asks of its key (split.*), else u32, i32 or u64 by its
size; `Typed` says another one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compiler.gguf.model import Tensor
from compiler.gguf.types import TYPES_BY_NAME

ALIGNMENT = 32

Name = Literal["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "array", "u64", "i64", "f64"]
# By their code in a file: how struct packs each.
CODES: Mapping[Name, tuple[int, str]] = {
    "u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"),
    "bool": (7, "?"), "str": (8, ""), "array": (9, ""), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d"),
}  # fmt: skip
_OF_KEY: Mapping[str, Name] = {"split.no": "u16", "split.count": "u16", "split.tensors.count": "i32"}

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Typed:
    """A value with the type that it has in the file; of a list, that of its elements."""

    type: Name
    value: Scalar | Sequence[Scalar]


Value = Scalar | Sequence[Scalar] | Typed


def tensor(name: str, type_: str, *shape: int) -> Tensor:
    """A tensor of a type as llama.cpp names it (`f16`, `q4_K`), its fastest dimension first."""
    return Tensor(name, TYPES_BY_NAME[type_], shape)


def encoded_text(text: str | bytes) -> bytes:
    """A text with its length before it."""
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content


def encoded_key(key: str | bytes, value: Value) -> bytes:
    """A key with its value."""
    typed = value if isinstance(value, Typed) else Typed(_type_of(str(key), value), value)
    code, _ = CODES[typed.type]
    if isinstance(typed.value, str) or not isinstance(typed.value, Sequence):
        return encoded_text(key) + struct.pack("<i", code) + _encoded(typed.type, [typed.value])
    array, _ = CODES["array"]
    return encoded_text(key) + struct.pack("<iiQ", array, code, len(typed.value)) + _encoded(typed.type, typed.value)


def encoded_tensor(each: Tensor, offset: int) -> bytes:
    """A tensor's entry, with where its data begin after those of the file begin."""
    shape = struct.pack(f"<I{len(each.shape)}q", len(each.shape), *each.shape)
    return encoded_text(each.name) + shape + struct.pack("<iQ", each.type.code, offset)


def encoded(keys: Mapping[str, Value], tensors: Iterable[Tensor] = (), version: int = 3) -> bytes:
    """A file up to the first byte of its data."""
    known, alignment = list(tensors), _alignment(keys)
    parts = [b"GGUF", struct.pack("<IQQ", version, len(known), len(keys))]
    parts += [encoded_key(key, value) for key, value in keys.items()]
    offset = 0
    for each in known:
        parts.append(encoded_tensor(each, offset))
        offset += padded(each.bytes, alignment)
    head = b"".join(parts)
    return head.ljust(padded(len(head), alignment), b"\0")


def data_bytes(keys: Mapping[str, Value], tensors: Iterable[Tensor]) -> int:
    """Bytes of the data, each tensor padded to the alignment."""
    return sum(padded(each.bytes, _alignment(keys)) for each in tensors)


def write(path: Path, keys: Mapping[str, Value], tensors: Iterable[Tensor] = (), *, sparse: bool = True) -> int:
    """Write a whole file; a sparse one takes as much disk as its header. Returns its length in bytes."""
    known = list(tensors)
    head, data = encoded(keys, known), data_bytes(keys, known)
    with path.open("wb") as file:
        file.write(head)
        if sparse:
            file.truncate(len(head) + data)
        else:
            file.write(bytes(data))
    return len(head) + data


def split(keys: Mapping[str, Value], parts: Sequence[Iterable[Tensor]]) -> list[tuple[dict[str, Value], list[Tensor]]]:
    """Keys and tensors of each file of a split model: the first has all keys, and each its own tensors."""
    known = [list(part) for part in parts]
    counts = {"split.count": len(known), "split.tensors.count": sum(map(len, known))}
    return [
        ({**(keys if number == 0 else {}), "split.no": number, **counts}, part) for number, part in enumerate(known)
    ]


def split_name(stem: str, number: int, count: int) -> str:
    """The name of one file of a split model, counted from one."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def padded(size: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of the alignment."""
    return -(-size // alignment) * alignment


def _alignment(keys: Mapping[str, Value]) -> int:
    value = keys.get("general.alignment", ALIGNMENT)
    return value if isinstance(value, int) and value > 0 else ALIGNMENT


def _type_of(key: str, value: Scalar | Sequence[Scalar]) -> Name:
    if isinstance(value, str):
        return "str"
    if isinstance(value, Sequence):
        return max((_type_of(key, item) for item in value), key=list(CODES).index, default="i32")
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "f32"
    return _OF_KEY.get(key) or ("i32" if value < 0 else "u32" if value < 2**32 else "u64")


def _encoded(type_: Name, values: Sequence[Scalar]) -> bytes:
    if type_ == "str":
        return b"".join(encoded_text(str(value)) for value in values)
    return struct.pack(f"<{len(values)}{CODES[type_][1]}", *values)
