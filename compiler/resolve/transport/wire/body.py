"""The body of an answer: no more of it than its limit is ever held, whatever it unpacks to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from compiler.resolve.transport.wire.deadline import Attempt

# The one encoding that is asked for. Others, and several at once, are refused: each unpacks to who knows what.
ENCODING = "gzip"
_PLAIN = ("", "identity")
_GZIP = (ENCODING, "x-gzip")
# A compressed body may say nothing at great length.
_PACKED_MARGIN = 1 << 16


class TooLongError(Exception):
    """A body is longer than its limit."""


class EncodingError(ValueError):
    """A body is not packed in the way that was asked for."""


def read_body(response: Any, limit: int, attempt: Attempt) -> bytes:
    """The whole body, unpacked.

    Raises:
        TooLongError: it is longer than `limit`.
        EncodingError: it cannot be unpacked.
        LateError: its time was over.
    """
    body = bytearray()
    for part in _unpacked(response, limit, attempt):
        body += part
        if len(body) > limit:
            raise TooLongError
    return bytes(body)


def read_start(response: Any, limit: int, attempt: Attempt) -> bytes:
    """The body where it is short, for its words; nothing where it is long or cannot be unpacked."""
    try:
        return read_body(response, limit, attempt)
    except (TooLongError, EncodingError):
        return b""


def _unpacked(response: Any, limit: int, attempt: Attempt) -> Iterator[bytes]:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in _PLAIN:
        yield from _raw(response, attempt)
    elif encoding in _GZIP:
        yield from _gunzipped(response, limit, attempt)
    else:
        raise EncodingError(f"an encoding that was not asked for: {encoding}")


def _gunzipped(response: Any, limit: int, attempt: Attempt) -> Iterator[bytes]:
    unpacker, left = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), limit + 1
    for packed in _raw(response, attempt):
        if attempt.received > limit + _PACKED_MARGIN:
            raise TooLongError
        try:
            part = unpacker.decompress(packed, left)
        except zlib.error as error:
            raise EncodingError("it is not gzip, as it says") from error
        left -= len(part)
        yield part
        if left <= 0:
            return
    if not unpacker.eof and attempt.received:
        raise EncodingError("it ends in the middle of its gzip")


def _raw(response: Any, attempt: Attempt) -> Iterator[bytes]:
    for part in response.iter_raw():
        attempt.check()
        attempt.received += len(part)
        yield part
