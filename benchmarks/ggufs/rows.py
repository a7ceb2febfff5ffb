"""What a row of truth says of llama-server's memory, beside what is said of it here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.ggufs.shapes import model_of, tensor_type
from benchmarks.ggufs.verdicts import Judged
from compiler.engines.llama_cpp.memory.compute import Computing, card_compute, host_compute
from compiler.engines.llama_cpp.memory.output import output_bytes
from compiler.engines.llama_cpp.memory.outside import CONTEXT, pool_bytes
from compiler.engines.llama_cpp.memory.placement import HOST
from compiler.engines.llama_cpp.memory.plan import Served, computing_of, read_served
from compiler.engines.llama_cpp.memory.recurrent import state_bytes
from compiler.engines.llama_cpp.memory.rows import weight_bytes
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.releases import RELEASES
from compiler.engines.llama_cpp.settings import FlashAttention, Settings, SettingsError
from compiler.gguf.model import GgufModel, Tensor
from compiler.units import MIB, ByteRange

_PRINTED, _WHOLE, _COMPUTE, _WHOLES = 0.0051, 0.0, 0.3, 3.0
_DEFAULT_SLOTS = 4
_ARCHITECTURE = "general.architecture"
_FORK = "ik_llama"
"""A fork whose cache has one size for all layers."""


class UnjudgedError(ValueError):
    """A row that lacks what is needed to judge it."""


def header_model(row: Mapping[str, Any]) -> GgufModel:
    """The model of a row that carries keys (`keys`, `meta`) and perhaps tensors: name, type and sizes each."""
    found = row.get("keys") or row.get("meta") or {}
    keys = {str(name): _number(value) for name, value in found.items()}
    architecture = keys.get(_ARCHITECTURE) or row.get("arch")
    if not isinstance(architecture, str):
        raise UnjudgedError("no architecture")
    own = {name.removeprefix(f"{architecture}."): v for name, v in keys.items() if name.startswith(f"{architecture}.")}
    own.setdefault("vocab_size", row.get("n_vocab") or 0)
    tensors = tuple(Tensor(name, tensor_type(kind), tuple(sizes)) for name, kind, sizes in row.get("tensors", ()))
    return model_of(architecture, own, tensors)


def judge_oracle(row: Mapping[str, Any], model: GgufModel | None) -> Iterator[Judged]:
    """Everything that an oracle's row prints."""
    computing = _computing(row, model, RELEASES.get(row["build"]), oracle_settings(row))
    name = f"{row['build']} {row['model']} {row['setting']}"
    yield from _oracle_bytes(row, computing, name) if "buffers" in row else _oracle_printed(row, computing, name)


def _oracle_bytes(row: Mapping[str, Any], computing: Computing, name: str) -> Iterator[Judged]:
    for device, (weights, context, compute) in row["buffers"].items():
        index = _index(device)
        if index is not None:
            yield _size(name, "weights", weight_bytes(computing, index), weights / MIB, 0)
            yield _size(name, _context_name(computing), _context(computing, index), context / MIB, 0)
            yield _compute(name, computing, index, compute / MIB)
            yield _device(name, computing, index, (weights + context + compute) / MIB, _COMPUTE)
        elif device == "CUDA_Host":
            yield _compute(name, computing, HOST, compute / MIB)


def _oracle_printed(row: Mapping[str, Any], computing: Computing, name: str) -> Iterator[Judged]:
    for device, (weights, context, compute) in row["device_mib"].items():
        index = _index(device)
        assert index is not None
        yield _device(name, computing, index, weights + context + compute, _WHOLES)
        yield _whole(name, "weights", weight_bytes(computing, index), weights)
        yield _whole(name, _context_name(computing), _context(computing, index), context)
    for device, size in row["refused"]:
        yield _size(name, "refused", weight_bytes(computing, _index(device) or 0), size / MIB, 0)
    if row["gpus"]:
        yield _whole(name, "host_weights", weight_bytes(computing, HOST), row["host_mib"][0])
    if "output_mib" in row:
        output = output_bytes(computing.shape, computing.sizes.slots)
        yield _size(name, "output", output, row["output_mib"], _PRINTED)
    if "rs" in row:
        states = state_bytes(computing.shape, computing.sizes.slots, computing.places, HOST)
        states += sum(
            state_bytes(computing.shape, computing.sizes.slots, computing.places, device)
            for device in range(computing.settings.devices)
        )
        yield _size(name, "recurrent", states, row["rs"]["mib"], _PRINTED)
    for device, size in row["compute_mib"].items():
        index = _index(device)
        if index is not None or device in ("CUDA_Host", "CPU"):
            yield _compute(name, computing, HOST if index is None else index, size)


def judge_log(row: Mapping[str, Any], model: GgufModel | None) -> Iterator[Judged]:
    """A log's caches, and on one whole card what it prints together; its build is unknown, so all are asked."""
    if model is None:
        model = header_model(row)
    settings = log_settings(row)
    builds = [_computing(row, model, release, settings) for release in RELEASES.values()]
    computing = builds[-1]
    name = f"log {row.get('id')} {row['model'][:40]}"
    if row.get("outcome") == "oom":
        yield from _log_failure(row, computing, name)
        return
    found = _log_cache(row, computing)
    # The line `size =` leaves out what CUDA pads, as the host's caches do.
    said = _cache(replace(computing, places=replace(computing.places, cache_hosted=True)), HOST)
    yield _size(name, "log_kv", said, found, _PRINTED if found % 1 else 0.5)
    if "rs" in row:
        states = state_bytes(computing.shape, computing.sizes.slots, computing.places, 0)
        yield _size(name, "recurrent", states, row["rs"]["mib"], _PRINTED)
    yield from _log_total(row, builds, name)


def _log_failure(row: Mapping[str, Any], computing: Computing, name: str) -> Iterator[Judged]:
    """A start that failed for lack of memory: what is said must not fit what was free."""
    free = row.get("gpu_free_mib", row.get("gpu_total_mib"))
    weights = weight_bytes(computing, 0)
    if not isinstance(free, (int, float)) or not weights:
        raise UnjudgedError("a failed start without free memory or weights")
    size = (weights + _context(computing, 0)) / MIB
    compute = card_compute(computing, 0) + CONTEXT
    low, said, high = (size + each / MIB for each in (compute.low, compute.expected, compute.high))
    yield Judged(name, "failed_starts", low, said, high, free, 0, is_interval=True)


def _log_total(row: Mapping[str, Any], builds: list[Computing], name: str) -> Iterator[Judged]:
    """One card that holds everything, with a build whose compute buffers are known."""
    computing = builds[-1]
    compute, weights = row.get("compute_mib", {}), row.get("model_mib", {})
    cards = [device for device in compute if _index(device) is not None]
    if len(cards) != 1 or cards[0] not in weights or not computing.places.is_whole or not _is_recent(row):
        return
    (card,) = cards
    each = [card_compute(build, 0) for build in builds]
    # Builds before these copied a quantized cache in the pool, outside the buffer.
    low = max(min(buffer.low for buffer in each) - computing.graph.copies, 0)
    buffers = ByteRange(low, each[-1].expected, max(buffer.high for buffer in each))
    measured = weights[card] + _log_cache(row, computing) + row.get("rs", {}).get("mib", 0) + compute[card]
    yield _interval(name, "log_compute", buffers, compute[card], 1.0)
    if isinstance(row.get("process_used_mib"), (int, float)):
        measured = row["process_used_mib"]
        buffers += CONTEXT + pool_bytes(computing.graph)
    rest = int(weights[card] * MIB) + _context(computing, 0)
    yield _interval(name, "log_device", buffers + ByteRange.exact(rest), measured, 1.0)


def _is_recent(row: Mapping[str, Any]) -> bool:
    """Builds since logits of a whole ubatch are no longer kept: mid-2026, as rows with `n_seq` or fractions show."""
    return str(row.get("engine", "")).startswith(("llama-server", "llama-cli")) and "ctx" not in row


def _log_cache(row: Mapping[str, Any], computing: Computing) -> float:
    """Of contexts and of windows; more caches than the model has are those of a second start in the same log."""
    if row.get("kv"):
        caches = 2 if computing.shape.window and not computing.settings.full_window else 1
        return float(sum(part["mib"] for part in row["kv"][:caches]))
    found = row.get("kv_mib")
    if isinstance(found, (int, float)):
        return float(found)
    raise UnjudgedError("no cache is printed")


def _computing(row: Mapping[str, Any], model: GgufModel | None, release: Any, settings: Settings) -> Computing:
    if model is None:
        model = header_model(row)
    if release is None:
        raise UnjudgedError(f"build {row.get('build')}")
    try:
        return computing_of(release, _served(model), settings)
    except (ModelError, SettingsError) as error:
        raise UnjudgedError(str(error)) from error


_SERVED: dict[int, tuple[GgufModel, Served]] = {}


def _served(model: GgufModel) -> Served:
    """Read once for all rows of a model; the model is kept so that its identity stays its own."""
    if id(model) not in _SERVED:
        _SERVED[id(model)] = model, read_served(model)
    return _SERVED[id(model)][1]


def oracle_settings(row: Mapping[str, Any]) -> Settings:
    """Flags of an oracle's row."""
    arguments = row["args"]
    flags = {flag: arguments[i + 1] if i + 1 < len(arguments) else "" for i, flag in enumerate(arguments)}
    slots = int(flags["-np"]) if "-np" in flags else None
    split = flags.get("-ts", ",".join("1" * row["gpus"]))
    return Settings(
        context=int(flags.get("-c", 0)),
        slots=slots or _DEFAULT_SLOTS,
        unified="-kvu" in flags or slots is None,
        batch=int(flags.get("-b", 2048)),
        ubatch=int(flags.get("-ub", 512)),
        gpu_layers=int(flags["-ngl"]) if "-ngl" in flags else None,
        cpu_moe=10**6 if "-cmoe" in flags else int(flags.get("-ncmoe", 0)),
        key_type=flags.get("-ctk", "f16"),
        value_type=flags.get("-ctv", "f16"),
        flash_attention=FlashAttention[flags.get("-fa", "auto").upper()],
        split=tuple(float(share) for share in split.split(",") if share) if row["gpus"] else (),
        offload_kv="-nkvo" not in flags,
        full_window="--swa-full" in flags,
        is_dry=True,
    )


def log_settings(row: Mapping[str, Any]) -> Settings:
    """Flags of a log, from what it prints and from how it was started."""
    arguments, context = str(row.get("args", "")), row.get("ctx", {})
    cache = (row.get("kv") or [{}])[0]
    slots = row.get("n_seq") or int(context.get("n_seq_max", 0)) or _flag(arguments, "-np")
    is_auto = "auto" in arguments or bool(row.get("kv_unified"))
    size = row.get("n_ctx") or int(context.get("n_ctx", 0)) or _flag(arguments, "-c")
    if not size:
        raise UnjudgedError("no context is printed")
    flash = int(context.get("flash_attn", row.get("flash_attn", True)))
    return Settings(
        context=int(size),
        slots=int(slots or (_DEFAULT_SLOTS if is_auto else 1)),
        unified=is_auto,
        ubatch=int(row.get("n_ubatch") or context.get("n_ubatch") or _flag(arguments, "-ub") or 512),
        key_type=cache.get("type_k") or _word(arguments, "-ctk") or "f16",
        value_type=cache.get("type_v") or _word(arguments, "-ctv") or "f16",
        gpu_layers=row["offloaded"][0] if "offloaded" in row else None,
        flash_attention=FlashAttention.AUTO if flash else FlashAttention.OFF,
        split=(1.0,),
        full_window=str(row.get("engine", "")).startswith(_FORK),
    )


def _word(arguments: str, flag: str) -> str | None:
    match = re.search(rf"(?:^|\s){flag}\s+([\w.]+)", arguments)
    return match[1] if match else None


def _flag(arguments: str, flag: str) -> int:
    word = _word(arguments, flag)
    return int(word) if word and word.isdigit() else 0


def _number(value: Any) -> Any:
    """Logs print numbers and lists of them as text."""
    if isinstance(value, str) and re.fullmatch(r"\d+|\[\d+(, \d+)*\]", value):
        return json.loads(value)
    return value


def _index(device: str) -> int | None:
    match = re.fullmatch(r"CUDA(\d+)", device)
    return int(match[1]) if match else None


def _cache(computing: Computing, device: int) -> int:
    return computing.caches.on(device, computing.places)


def _context(computing: Computing, device: int) -> int:
    return _cache(computing, device) + state_bytes(computing.shape, computing.sizes.slots, computing.places, device)


def _context_name(computing: Computing) -> str:
    return "recurrent" if computing.shape.architecture.is_recurrent else "kv"


def _size(name: str, component: str, said: int, measured: float, slack: float) -> Judged:
    size = said / MIB
    return Judged(name, component, size, size, size, measured, slack)


def _whole(name: str, component: str, said: int, measured: int) -> Judged:
    """The server's table has whole MiB, rounded down."""
    size = said // MIB
    return Judged(name, component, size, size, size, measured, _WHOLE)


def _compute(name: str, computing: Computing, device: int, measured: float) -> Judged:
    size = host_compute(computing) if device == HOST else card_compute(computing, device)
    kind = "compute" if computing.places.is_whole else "compute_partial"
    return _interval(name, "host_compute" if device == HOST else kind, size, measured, _COMPUTE)


def _device(name: str, computing: Computing, device: int, measured: float, slack: float) -> Judged:
    """All buffers of one card; the server's table leaves up to a MiB out of each."""
    exact = weight_bytes(computing, device) + _context(computing, device)
    size = card_compute(computing, device) + ByteRange.exact(exact)
    return _interval(name, "device", size, measured, slack)


def _interval(name: str, component: str, size: ByteRange, measured: float, slack: float) -> Judged:
    low, said, high = (each / MIB for each in (size.low, size.expected, size.high))
    return Judged(name, component, low, said, high, measured, slack, is_interval=True)
