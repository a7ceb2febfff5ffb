"""Further questions of the smoke test: all servers at once, the gateway, pictures and sounds, memory.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stack import JsonObject, Skipped, StackError
from stack.ask import tls
from stack.ask.probes import EXIT_FAILED, EXIT_UNREACHABLE, Target, ask, expect, probe_request, reply_of
from stack.ask.server import Server, ServerError, listeners, proportional_memory, with_children
from stack.machine.gpu import Gpu, find_gpu, memory_by_process, memory_in_use, query_gpus


def check_together(targets: Sequence[Target]) -> str:
    """Every server answers while all of them are asked."""
    if len(targets) < 2:
        raise Skipped(f"{len(targets)} server to ask, which has answered alone")
    barrier = threading.Barrier(len(targets))

    def one(target: Target) -> str | None:
        barrier.wait(timeout=30)
        try:
            ask(target, "POST", *probe_request(target))
        except StackError as error:
            return f"{target.service['name']}: {error}"
        return None

    with ThreadPoolExecutor(len(targets)) as pool:
        failures = [failure for failure in pool.map(one, targets) if failure is not None]
    if failures:
        raise StackError(EXIT_FAILED, "; ".join(failures))
    return f"{', '.join(target.service['name'] for target in targets)} answered at the same time"


# LiteLLM without a database answers 400 where a key is not its own.
REFUSALS = {"nginx": (401,), "litellm": (400, 401, 403)}


class Entrance(NamedTuple):
    """The gateway.

    Attributes:
        server: asked with a client's key, or with none where the plan has none.
        backend_key: the servers' own key, which no client has.
        targets: of the routes, to be asked through the gateway.
    """

    server: Server
    gateway: JsonObject
    has_key: bool
    backend_key: str | None
    targets: tuple[Target, ...]
    ready_seconds: float


def check_reachable(entrance: Entrance) -> str:
    """Something answers HTTP on its port, now or before the deadline."""
    server, start = entrance.server, time.monotonic()
    while True:
        try:
            left = entrance.ready_seconds - (time.monotonic() - start)
            status = server.within(left).request("GET", "/no-such-path").status
        except ServerError as error:
            if time.monotonic() - start >= entrance.ready_seconds:
                raise StackError(EXIT_UNREACHABLE, f"{server.host}:{server.port}: {error}") from error
            time.sleep(min(1.0, entrance.ready_seconds))
        else:
            expect(status == 404, f"/no-such-path: HTTP {status} instead of 404")
            return f"{server.host}:{server.port} answers, and an unknown path gets 404"


def check_certificate(entrance: Entrance) -> str:
    """The gateway's certificate is trusted, and good for its names and for some time."""
    encryption = entrance.server.encryption
    if encryption is None:
        raise Skipped("the gateway speaks plain HTTP")
    domains: list[str] = entrance.gateway["tls"]["domains"]
    return tls.check_certificate(entrance.server.host, entrance.server.port, encryption, domains, EXIT_FAILED)


def check_client_keys(entrance: Entrance) -> str:
    """No key, a wrong one and the servers' own do not open the gateway."""
    if not entrance.has_key:
        raise Skipped("the plan has no client keys: everyone who reaches the gateway may use it")
    path, body = probe_request(entrance.targets[0])
    refusals = REFUSALS[entrance.gateway["kind"]]
    keys = [("no key", None), ("a wrong key", "wrong-" + "0" * 26)]
    if entrance.backend_key is not None and not entrance.server.has_key(entrance.backend_key):
        keys.append(("the servers' own key", entrance.backend_key))
    for title, key in keys:
        status = reply_of(entrance.server.with_key(key), "POST", path, body).status
        expect(status in refusals, f"{title}: HTTP {status} instead of {refusals[0]}")
    return f"{', '.join(title for title, _ in keys)}: refused"


def check_hidden(entrance: Entrance) -> str:
    """Paths that are not for clients cannot be reached, even with a client's key."""
    hidden = tuple(dict.fromkeys(each for target in entrance.targets for each in target.dialect.hidden))
    for method, path in hidden:
        body = None if method == "GET" else {"model": entrance.targets[0].name, "prompt": "a", "input": "a"}
        status = reply_of(entrance.server, method, path, body).status
        expect(status in (401, 403, 404, 405), f"{path}: HTTP {status} instead of 404")
    return f"{', '.join(path for _, path in hidden)} are not to be reached"


def check_unknown_model(entrance: Entrance) -> str:
    """A model that the stack has not is refused by the gateway."""
    path, body = probe_request(entrance.targets[0])
    status = reply_of(entrance.server, "POST", path, {**body, "model": "no-such-model"}).status
    expect(400 <= status < 500, f"HTTP {status} for a model that the stack has not, 4xx expected")
    return f"HTTP {status}"


def check_answer(target: Target) -> str:
    """A request for a model gets an answer through the gateway."""
    path, body = probe_request(target)
    reply = ask(target, "POST", path, body)
    if not reply.body:
        raise StackError(EXIT_FAILED, f"{path}: the answer is empty")
    return f"{path}: HTTP {reply.status}, {len(reply.body)} bytes"


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
    return {"model": target.name, "messages": [{"role": "user", "content": content}], **target.dialect.sampling}


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


GIB = 2**30


class Planned(NamedTuple):
    """What the ledger says of one server on one device, in bytes.

    Attributes:
        least: weights and KV cache, which it holds as long as it runs.
        most: everything, at the high end of every interval.
        everybody: of all servers and what is reserved, likewise.
    """

    device: int
    least: int
    most: int
    everybody: int


def check_memory(target: Target) -> str:
    """What the server's processes hold lies between its weights with its KV cache, and the ledger's high end."""
    if not target.is_local:
        raise Skipped("--host names another machine, whose memory cannot be read from here")
    pids = with_children(listeners(target.server.port))
    planned = [_planned(target, device) for device in target.service["devices"]]
    if target.plan["node"]["kind"] == "cpu":
        return _check_main_memory(pids, planned[0])
    return _check_gpus(target.plan["node"], pids, planned)


def _planned(target: Target, index: int) -> Planned:
    device = next(device for device in target.plan["devices"] if device["index"] == index)
    servers = {server["service"]: server["rows"] for server in device["servers"]}
    rows = servers[target.service["name"]]
    held = [row["bytes"]["low"] for row in rows if row["kind"] in ("weights", "kv_cache")]
    return Planned(index, sum(held), sum(row["bytes"]["high"] for row in rows), device["used_bytes"]["high"])


def _check_main_memory(pids: set[int], planned: Planned) -> str:
    sizes = [size for size in map(proportional_memory, sorted(pids)) if size is not None]
    if not sizes:
        raise Skipped("the server's processes are not visible here: another user's, or in a container")
    used = sum(sizes)
    # Pages of the KV cache that no request has touched yet are not there: main memory has no lower bound.
    expect(used <= planned.most, f"{_gib(used)} of main memory, the ledger has {_gib(planned.most)} at most")
    return f"{_gib(used)} of main memory, the ledger has {_gib(planned.most)} at most"


def _check_gpus(node: JsonObject, pids: set[int], planned: list[Planned]) -> str:
    try:
        sizes, gpus = memory_by_process(), query_gpus()
    except StackError as error:
        raise Skipped(str(error)) from None
    own = {key: size for key, size in sizes.items() if key[1] in pids}
    if not own:
        return _check_whole_gpus(node, gpus, planned)
    if any(size is None for size in own.values()):
        raise Skipped("the driver does not count memory by process")
    held: dict[str, int] = {}
    for (uuid, _), size in own.items():
        held[uuid] = held.get(uuid, 0) + (size or 0)
    if node["mig"]:  # the driver names the GPU, not the slice
        everything = Planned(0, sum(p.least for p in planned), sum(p.most for p in planned), 0)
        return _compare("slices", sum(held.values()), everything)
    uuids = {p.device: find_gpu(gpus, node, p.device).uuid for p in planned}
    return "; ".join(_compare(f"GPU {p.device}", held.get(uuids[p.device], 0), p) for p in planned)


def _compare(title: str, used: int, planned: Planned) -> str:
    expect(used <= planned.most, f"{title}: {_gib(used)}, the ledger has {_gib(planned.most)} at most")
    expect(used >= planned.least, f"{title}: {_gib(used)}, weights and KV cache alone take {_gib(planned.least)}")
    return f"{title}: {_gib(used)}, the ledger has {_gib(planned.least)} to {_gib(planned.most)}"


def _check_whole_gpus(node: JsonObject, gpus: list[Gpu], planned: list[Planned]) -> str:
    """Where the server's processes cannot be told apart: what everybody holds against what everybody may hold."""
    if node["mig"]:
        raise Skipped("the server's processes are not visible here, and the driver counts whole GPUs, not slices")
    used = memory_in_use()
    seen = []
    for p in planned:
        uuid = find_gpu(gpus, node, p.device).uuid
        if uuid not in used:
            raise Skipped("the driver does not count this GPU's memory")
        text = f"GPU {p.device}: {_gib(used[uuid])} held by everybody, the ledger has {_gib(p.everybody)} at most"
        expect(used[uuid] <= p.everybody, text)
        expect(used[uuid] >= p.least, f"{text}, and this server's weights and KV cache alone {_gib(p.least)}")
        seen.append(text)
    return "; ".join(seen) + " (the server's own processes are not visible here)"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
