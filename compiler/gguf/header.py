"""Headers of GGUF files, read piece by piece as they come, and never the data behind them.

The rules are those of llama.cpp's reader (ggml/src/gguf.cpp:gguf_init_from_reader, b10435): what it refuses is refused
here. Beyond them there are bounds that no model comes near, so that a stranger's file takes little time and memory.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Final, TypeAlias

from compiler.gguf.error import GgufError
from compiler.gguf.input import Input
from compiler.gguf.model import Scalar, Tensor, Value
from compiler.gguf.types import REMOVED_TYPES, TENSOR_TYPES, TensorType

MAX_KEYS: Final = 4096
"""Models have 20 to 60, and those that were merged of others some more."""
MAX_TENSORS: Final = 65536
"""DeepSeek-V3 has 1,147: experts of a layer stand in one tensor. Old files with one for each have some thousands."""
MAX_NAME: Final = 63
"""Bytes of a tensor's name (ggml/include/ggml.h:GGML_MAX_NAME, with its end, b10435)."""
MAX_KEY: Final = 256
"""Bytes of a key's name; the longest of llama.cpp's have about 60."""
MAX_DIMENSIONS: Final = 4
"""Of a tensor (ggml/include/ggml.h:GGML_MAX_DIMS, b10435)."""
MAX_TEXT: Final = 4096
"""Bytes of a text that is kept; longer ones, such as licences, are only counted."""
MAX_ELEMENTS: Final = 4096
"""Of a list that is kept: eight times as many as llama.cpp has layers (src/llama-hparams.h:LLAMA_MAX_LAYERS)."""
MAX_KEPT: Final = 1 << 20
"""Bytes of all texts and lists that are kept."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MAX_BYTES = 2**63 - 1
_TEMPLATE = "tokenizer.chat_template"

# Types of values by their code, as ggml/include/gguf.h:gguf_type numbers them (b10435), and how struct reads each.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "b", 10: "Q", 11: "q", 12: "d"}
_U16, _U32, _I32, _BOOL, _TEXT, _ARRAY = 2, 4, 5, 7, 8, 9
# Keys that llama.cpp reads as one type only, whatever the model (src/llama-model-loader.cpp, b10435).
_TYPED = {
    "general.alignment": _U32,
    "general.architecture": _TEXT,
    "general.file_type": _U32,
    "split.count": _U16,
    "split.no": _U16,
    "split.tensors.count": _I32,
}

# Llama.cpp takes any bytes; its own names are words, numbers, dots and dashes.
_KEY = re.compile(rb"[ -~]+")
_NAME = re.compile(rb"[A-Za-z0-9_.:/-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the data of one file.

    Attributes:
        version: of the format, 2 or 3.
        keys: numbers, short texts and short lists; none of a tokenizer's lists.
        lengths: of what is not kept, by key: elements of a list, bytes of a text.
        tensors: of this file alone.
        offsets: where the data of each begin, counted from `data_start`.
        alignment: bytes to a multiple of which each tensor's data are padded.
        data_start: the byte of the file at which the data begin.
    """

    version: int
    keys: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    alignment: int
    data_start: int

    @property
    def vocabulary(self) -> int:
        """Tokens that `tokenizer.ggml.tokens` lists; 0 where there is no such list."""
        return self.lengths.get("tokenizer.ggml.tokens", 0)

    @property
    def templates(self) -> tuple[str, ...]:
        """Names of chat templates, the default one as the empty name first; sorted."""
        found = {*self.keys, *self.lengths}
        names = (key.removeprefix(_TEMPLATE) for key in found if key == _TEMPLATE or key.startswith(f"{_TEMPLATE}."))
        return tuple(sorted(name.removeprefix(".") for name in names))

    @property
    def data_stop(self) -> int:
        """The byte of the file after the last tensor's data: what it must at least have."""
        last = self.offsets[-1] + self.tensors[-1].bytes if self.tensors else 0
        return self.data_start + last


@dataclass(frozen=True, slots=True)
class NeedMore:
    """A header that goes on beyond what was given.

    Attributes:
        bytes: that are needed at least.
    """

    bytes: int


class HeaderParser:
    """Reads one header, of which pieces come in order; each is forgotten as soon as it is read."""

    def __init__(self, size: int | None = None) -> None:
        """Make one that has read nothing yet.

        Args:
            size: of the whole file, where known: then its data must lie inside.
        """
        self._steps = _parse(Input(size), size)
        self._needs = next(self._steps)
        self._header: Header | None = None

    def feed(self, piece: bytes) -> Header | NeedMore:
        """Read the next piece; it may reach beyond the header, and those after it are not looked at.

        Raises:
            GgufError: it is no header that llama.cpp reads, or larger than that of any model.
        """
        if self._header is None and piece:
            try:
                self._needs = self._steps.send(piece)
            except StopIteration as end:
                self._header = end.value
        return self._header or NeedMore(self._needs)


def read_header(content: bytes, size: int | None = None) -> Header | NeedMore:
    """The header at the start of a file, of which `content` holds as much as there is so far.

    Args:
        content: the file's first bytes.
        size: of the whole file, where known.

    Raises:
        GgufError: it is no header that llama.cpp reads, or larger than that of any model.
    """
    return HeaderParser(size).feed(content)


_Steps: TypeAlias = Generator[int, bytes, None]


@dataclass(slots=True)
class _Keys:
    """Keys as they are read."""

    kept: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    room: int = MAX_KEPT

    def keep(self, key: str, value: Value, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise GgufError(f"with the keys before it, it holds more than {MAX_KEPT} bytes", f"key `{key}`")
        self.kept[key] = value


def _parse(source: Input, size: int | None) -> Generator[int, bytes, Header]:
    magic = yield from source.take(len(_MAGIC))
    if magic != _MAGIC:
        raise GgufError("it does not begin with GGUF, as every GGUF file does", "byte 0")
    version = yield from source.number("I")
    _check_version(version)
    tensor_count = yield from source.number("q")
    key_count = yield from source.number("q")
    if not 0 <= tensor_count <= MAX_TENSORS:
        raise GgufError(f"{tensor_count} tensors, and at most {MAX_TENSORS} are read", "byte 8")
    if not 0 <= key_count <= MAX_KEYS:
        raise GgufError(f"{key_count} keys, and at most {MAX_KEYS} are read", "byte 16")
    keys = _Keys()
    for number in range(key_count):
        yield from _read_key(source, keys, number)
    alignment = _alignment(keys.kept)
    tensors, offsets = yield from _read_tensors(source, tensor_count, alignment)
    start = _padded(source.position, alignment) if tensors else source.position
    header = Header(version, keys.kept, keys.lengths, tensors, offsets, alignment, start)
    if size is not None and header.data_stop > size:
        what = f"its data end at byte {header.data_stop}, and the file has {size}: it is cut"
        raise GgufError(what, f"tensor `{tensors[-1].name}`" if tensors else "its end")
    return header


def _check_version(version: int) -> None:
    if version in _VERSIONS:
        return
    swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
    if swapped in _VERSIONS:
        raise GgufError("it is written for machines of the other byte order, big-endian", "byte 4")
    raise GgufError(f"version {version} of the format, and llama.cpp reads 2 and 3", "byte 4")


def _read_key(source: Input, keys: _Keys, number: int) -> _Steps:
    name = yield from source.text(MAX_KEY, f"key {number}")
    if _KEY.fullmatch(name) is None:
        raise GgufError("a name that is empty or not printable ASCII", f"key {number}")
    key = name.decode("ascii")
    where = f"key `{key}`"
    if key in keys.kept or key in keys.lengths:
        raise GgufError("it is there twice", where)
    code = yield from source.number("i")
    if _TYPED.get(key, code) != code:
        raise GgufError("its value is of a type that llama.cpp does not take for it", where)
    if code == _ARRAY:
        yield from _read_array(source, keys, key)
    elif code == _TEXT:
        yield from _read_text(source, keys, key)
    elif code in _FORMATS:
        (value,) = yield from _numbers(source, code, 1, where)
        keys.keep(key, value, 8)
    else:
        raise GgufError(f"its value is of type {code}, which there is not", where)


def _read_text(source: Input, keys: _Keys, key: str) -> _Steps:
    length = yield from source.number("Q")
    source.check(length, f"key `{key}`")
    if length > MAX_TEXT or key.startswith(_TEMPLATE):
        keys.lengths[key] = length
        yield from source.skip(length)
        return
    content = yield from source.take(length)
    keys.keep(key, content.decode(errors="replace"), length)


def _read_array(source: Input, keys: _Keys, key: str) -> _Steps:
    where = f"key `{key}`"
    code = yield from source.number("i")
    count = yield from source.number("Q")
    is_kept = not key.startswith("tokenizer.") and count <= MAX_ELEMENTS
    if code == _TEXT and is_kept:
        texts = yield from _texts(source, count, where)
        keys.keep(key, texts, sum(8 + len(text) for text in texts))
        return
    if code in _FORMATS and is_kept:
        numbers = yield from _numbers(source, code, count, where)
        keys.keep(key, numbers, 8 * count)
        return
    keys.lengths[key] = count
    if code == _TEXT:
        yield from source.skip_texts(count, where)
    elif code in _FORMATS:
        size = count * source.size_of(_FORMATS[code])
        source.check(size, where)
        yield from source.skip(size)
    else:
        kind = "lists" if code == _ARRAY else f"type {code}, which there is not"
        raise GgufError(f"a list of {kind}", where)


def _texts(source: Input, count: int, where: str) -> Generator[int, bytes, tuple[str, ...]]:
    found = []
    for _ in range(count):
        text = yield from source.text(MAX_TEXT, where)
        found.append(text.decode(errors="replace"))
    return tuple(found)


def _numbers(source: Input, code: int, count: int, where: str) -> Generator[int, bytes, tuple[Scalar, ...]]:
    values = yield from source.numbers(_FORMATS[code], count, where)
    if not all(isfinite(value) for value in values):
        raise GgufError("a number that is not finite", where)
    return tuple(bool(value) for value in values) if code == _BOOL else values


def _alignment(keys: Mapping[str, Value]) -> int:
    value = keys.get("general.alignment", _ALIGNMENT)
    if not isinstance(value, int) or value <= 0 or value & (value - 1):
        raise GgufError(f"{value}, which is no power of two", "key `general.alignment`")
    return value


def _read_tensors(
    source: Input, count: int, alignment: int
) -> Generator[int, bytes, tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """Tensors, whose data follow each other in their order, each padded."""
    found: dict[str, Tensor] = {}
    offsets: list[int] = []
    stop = 0
    for number in range(count):
        tensor = yield from _read_tensor(source, number)
        offset = yield from source.number("Q")
        where = f"tensor `{tensor.name}`"
        if tensor.name in found:
            raise GgufError("it is there twice", where)
        if offset != stop:
            raise GgufError(f"its data begin at {offset}, and those before it end at {stop}", where)
        found[tensor.name] = tensor
        offsets.append(offset)
        stop += _padded(tensor.bytes, alignment)
        if stop > _MAX_BYTES:
            raise GgufError("its data end beyond what a file can have", where)
    return tuple(found.values()), tuple(offsets)


def _read_tensor(source: Input, number: int) -> Generator[int, bytes, Tensor]:
    content = yield from source.text(MAX_NAME, f"tensor {number}")
    if _NAME.fullmatch(content) is None:
        raise GgufError("a name that is empty or has other letters than those of tensors", f"tensor {number}")
    name = content.decode("ascii")
    where = f"tensor `{name}`"
    dimensions = yield from source.number("I")
    if dimensions > MAX_DIMENSIONS:
        raise GgufError(f"{dimensions} dimensions, and a tensor has at most {MAX_DIMENSIONS}", where)
    shape = yield from source.numbers("q", dimensions, where)
    code = yield from source.number("i")
    known = _tensor_type(code, where)
    return Tensor(name, known, _checked_shape(known, shape or (1,), where))


def _tensor_type(code: int, where: str) -> TensorType:
    if code in TENSOR_TYPES:
        return TENSOR_TYPES[code]
    if code in REMOVED_TYPES:
        raise GgufError(f"its type {REMOVED_TYPES[code]} is one that llama.cpp loads no more", where)
    raise GgufError(f"its type {code} is none that llama.cpp b10435 knows", where)


def _checked_shape(known: TensorType, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    if min(shape) <= 0:
        raise GgufError(f"its shape {list(shape)} has no elements", where)
    if prod(shape) * max(known.block_bytes, 1) > _MAX_BYTES:
        raise GgufError(f"its shape {list(shape)} has more elements than can be counted", where)
    if shape[0] % known.block:
        raise GgufError(f"its rows of {shape[0]} are no whole blocks of {known.block}, as {known.name} has", where)
    return shape


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
