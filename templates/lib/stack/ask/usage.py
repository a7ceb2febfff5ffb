"""A question of the smoke test: does a server take the memory that the plan's ledger says?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

from typing import NamedTuple

from stack import JsonObject, Skipped, StackError
from stack.ask.probes import Target, expect
from stack.machine.gpu import Gpu, find_gpu, memory_by_process, memory_in_use, query_gpus
from stack.machine.process import listeners, proportional_memory, with_children

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
