"""Headers of safetensors files: eight bytes of length, then JSON that names every tensor. Pure."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from compiler.lock.models import TensorFacts, TensorKind
from compiler.resolve.answers import MalformedError, TooLargeError, plain, without_controls
from compiler.resolve.limits import MAX_HEADER, MAX_HEADER_VALUES, MAX_TENSOR_KINDS, MAX_TENSORS
from compiler.resolve.strangers import load_json

PREFIX = 8
# Nearly every header fits in this, so that one request is enough.
FIRST_READ = 100_000

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip

_START_AND_STOP = 2
# Longer names are not remembered.
_REMEMBERED = 256
# Longer headers are read one at a time.
_LONG = 1 << 20
_LONG_HEADERS = threading.Lock()

RangeReader = Callable[[int, int], bytes | None]
Account = Callable[[int], None]


class Tensor(NamedTuple):
    """One tensor as a header describes it. There are tens of thousands: a tuple is the cheapest record."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def read_tensors(
    read_range: RangeReader, file: str, size: int | None, take: Account = lambda _: None
) -> tuple[Tensor, ...] | None:
    """Read the header of one file, and never its data.

    Args:
        read_range: gives bytes from a start up to a stop or the end of the file; None where there is no such file.
        file: what errors call it.
        size: of the whole file, where known; the header must account for all of it.
        take: is told how many bytes of header will be held.

    Raises:
        MalformedError: the header is too long, is no JSON, or contradicts itself or `size`.
        TooLargeError: it has more values than that of any model.
    """
    first = read_range(0, FIRST_READ)
    if first is None:
        return None
    length = int.from_bytes(first[:PREFIX], "little")
    if len(first) < PREFIX or not 0 < length <= MAX_HEADER:
        raise _malformed(file, f"a header of {length} bytes, and at most {MAX_HEADER} are read")
    if size is not None and PREFIX + length > size:
        raise _malformed(file, f"a header of {length} bytes in a file of {size}")
    take(length)
    if length < _LONG:
        tensors = parse_header(_header(read_range, file, first, length), file)
    else:
        with _LONG_HEADERS:
            tensors = parse_header(_header(read_range, file, first, length), file)
    data = sum(tensor.size for tensor in tensors)
    if size is not None and PREFIX + length + data != size:
        raise _malformed(file, f"a header for {PREFIX + length + data} bytes in a file of {size}")
    return tensors


def _header(read_range: RangeReader, file: str, first: bytes, length: int) -> bytes:
    header = first[PREFIX : PREFIX + length]
    if len(header) < length:
        header = read_range(PREFIX, PREFIX + length) or b""
    if len(header) != length:
        raise _malformed(file, f"{len(header)} of {length} bytes of its header")
    return header


def parse_header(header: bytes, file: str) -> tuple[Tensor, ...]:
    """Tensors of one header, whose data must follow each other without gap or overlap."""
    try:
        entries = load_json(header, file, MAX_HEADER_VALUES)
    except (ValueError, RecursionError) as error:
        raise _malformed(file, "a header that is not JSON") from error
    if not isinstance(entries, dict):
        raise _malformed(file, "a header that is not a JSON object")
    entries.pop("__metadata__", None)
    tensors: list[Tensor] = []
    spans: list[tuple[int, int]] = []
    for name in list(entries):
        # What is read is let go: a header takes ten times as much as what is kept of it.
        tensor, span = _tensor(name, entries.pop(name), file)
        tensors.append(tensor)
        spans.append(span)
    spans.sort()
    _check_spans(spans, file)
    return tuple(tensors)


def _check_spans(spans: Iterable[tuple[int, int]], file: str) -> None:
    end = 0
    for start, stop in spans:
        if start != end:
            raise _malformed(file, f"tensors with a gap or an overlap at byte {end} of its data")
        end = stop


def _tensor(name: str, entry: Any, file: str) -> tuple[Tensor, tuple[int, int]]:
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), _counts(fields.get("shape")), _counts(fields.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != _START_AND_STOP:
        raise _malformed(file, f"a tensor `{plain(name)}` without dtype, shape and data_offsets")
    start, stop = offsets
    bits = _BITS.get(dtype)
    if stop < start or (bits is not None and math.prod(shape) * bits != (stop - start) * 8):
        raise _malformed(file, f"a tensor `{plain(name)}` whose bytes do not match its shape")
    return Tensor(_known(name), _known(dtype), shape, stop - start), (start, stop)


def _counts(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not int or item < 0:
            return None
    return tuple(value)


def _known(text: str) -> str:
    return _remembered(text) if len(text) <= _REMEMBERED else without_controls(text)


# Variants of one model have the same names.
_remembered = lru_cache(maxsize=1 << 15)(without_controls)


def aggregate(tensors: Iterable[Tensor]) -> TensorFacts:
    """All tensors of a model as counted kinds and one digest.

    Raises:
        TooLargeError: no model has so many tensors, or so many kinds of them.
    """
    known = sorted(islice(tensors, MAX_TENSORS + 1))
    if len(known) > MAX_TENSORS:
        raise _too_many(MAX_TENSORS, "tensors")
    counts: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    digest = hashlib.sha256()
    for name, dtype, shape, _ in known:
        counts[_pattern(name), dtype, shape] += 1
        if len(counts) > MAX_TENSOR_KINDS:
            raise _too_many(MAX_TENSOR_KINDS, "kinds of tensors")
        digest.update(f"{name} {dtype} {list(shape)}\n".encode(errors="replace"))
    kinds = (
        TensorKind(name=name, dtype=dtype, shape=shape, count=n) for (name, dtype, shape), n in sorted(counts.items())
    )
    return TensorFacts(
        digest=f"sha256:{digest.hexdigest()}",
        total_bytes=sum([tensor.size for tensor in known]),
        kinds=tuple(kinds),
    )


# Components of a name that are digits only; one expression for tens of thousands of names.
_NUMBERS = re.compile(r"(?<![^.])[0-9]+(?![^.])")


def _too_many(most: int, what: str) -> TooLargeError:
    return TooLargeError("the headers describe more than any model", (f"more than {most} {what}",))


def _pattern(name: str) -> str:
    return _known_pattern(name) if len(name) <= _REMEMBERED else _NUMBERS.sub("*", name)


@lru_cache(maxsize=1 << 15)
def _known_pattern(name: str) -> str:
    return _NUMBERS.sub("*", name)


def _malformed(file: str, what: str) -> MalformedError:
    return MalformedError(f"the header of `{plain(file)}` is malformed", (f"it has {what}",))
