"""Questions of the smoke test: does a server fetch what a client names, and does it read what a request holds?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import base64
import socket
import struct
import zlib

from stack import JsonObject, Skipped, StackError
from stack.ask.probes import EXIT_FAILED, SAMPLING, Target, expect, reply_of

KINDS = ("image_url", "audio_url", "video_url")
PATH = "/v1/chat/completions"
SIDE = 64


def check_remote_media(target: Target) -> str:
    """A URL of this machine is refused, and nobody comes to fetch it."""
    _needs_media(target)
    if not target.is_local:
        raise Skipped("the server is on another machine, which cannot come to a listener of this one")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(len(KINDS))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/never-fetched"
        statuses = {kind: _status(target, kind, address) for kind in KINDS}
        expect(not _has_visitor(listener), "the server fetches URLs of this machine that clients name")
    taken = [f"HTTP {status} for {kind}" for kind, status in statuses.items() if not 400 <= status < 500]
    expect(not taken, f"{', '.join(taken)} of this machine, instead of 400")
    return "URLs of media are refused, and nobody came to fetch them"


def check_data_media(target: Target) -> str:
    """An image inside a request is read."""
    _needs_media(target)
    url = "data:image/png;base64," + base64.b64encode(_picture()).decode()
    reply = reply_of(target.server, "POST", PATH, _request(target, "image_url", url))
    if reply.status == 400 and any(words in reply.body.decode(errors="replace") for words in _NO_IMAGES):
        raise Skipped("the model takes no image in this way")
    if reply.status != 200:
        raise StackError(EXIT_FAILED, f"an image inside the request: HTTP {reply.status} instead of 200")
    return "an image inside the request is read"


# vllm/multimodal/processing/context.py (a model of sound), and a context too short for the image.
_NO_IMAGES = ("At most 0 image", "is not a multimodal model", "maximum model length", "maximum context length")


def _needs_media(target: Target) -> None:
    if target.service["media_domains"] is None:
        raise Skipped("the model takes text alone")
    if target.task != "chat":
        raise Skipped(f"the task is {target.task}")


def _status(target: Target, kind: str, url: str) -> int:
    return reply_of(target.server, "POST", PATH, _request(target, kind, url)).status


def _request(target: Target, kind: str, url: str) -> JsonObject:
    content: list[JsonObject] = [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "What is this?"}]
    return {"model": target.name, "messages": [{"role": "user", "content": content}], **SAMPLING}


def _has_visitor(listener: socket.socket) -> bool:
    listener.settimeout(0)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _picture() -> bytes:
    """A grey PNG, large enough for every model's patches."""
    rows = (b"\0" + b"\x80" * SIDE * 3) * SIDE
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
