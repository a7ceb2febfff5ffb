"""What the log of a start of `llama-server` says of memory. Buffers are said from `-lv 4` on, which is not the default.

Formats: src/llama-context.cpp, src/llama-model.cpp, src/llama-kv-cache.cpp, src/llama-memory-recurrent.cpp,
ggml/src/ggml-alloc.c, ggml/src/ggml-cuda/ggml-cuda.cu, common/fit.cpp and tools/server/server-context.cpp, b10435. The
same lines came from functions of other names before (llm_load_tensors, llama_kv_cache_unified,
llama_new_context_with_model, llama_init_from_model), so what a line says decides, and not who says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from compiler.engines.interface.calibration import LogError
from compiler.engines.llama_cpp.calibrate.startup_record import (
    Buffer,
    BufferKind,
    Cache,
    DeviceMemory,
    Refusal,
    StartupLog,
)
from compiler.units import MIB

MAX_CHARACTERS: Final = 32 << 20
_LONGEST_LINE: Final = 1000
_MOST_BUFFERS: Final = 1000


def hundredths_of(size: int) -> int:
    """Bytes in hundredths of a MiB, rounded as C's `%.2f` rounds them in the log."""
    return int(f"{size / MIB:.2f}".replace(".", ""))


def is_log(text: str) -> bool:
    """Whether a text is a log of llama-server, or of a part of its start."""
    return _LOAD.search(text) is not None or _BUILD.search(text) is not None


def read_log(text: str) -> StartupLog:
    """The last start in a log.

    Raises:
        LogError: it is too long, holds no start, or the start does not say its buffers.
    """
    if len(text) > MAX_CHARACTERS:
        raise LogError(f"it has more than {MAX_CHARACTERS} characters")
    start = _Start()
    for line in _lines(text):
        if start.loads and "build" in line and _BUILD.search(line):
            start = _Start()
        for word, pattern, read in _READERS:
            if word in line and (match := pattern.search(line)):
                read(start, match)
                break
    return _record(start)


_ESCAPE = re.compile(r"\x1b\[[0-9;]{0,20}m")


def _lines(text: str) -> Iterator[str]:
    """Lines without colours, cut where no line that says something is as long."""
    for line in text.splitlines():
        yield _ESCAPE.sub("", line[:_LONGEST_LINE]) if "\x1b" in line else line[:_LONGEST_LINE]


@dataclass(slots=True)
class _Start:
    """What has been read of one start. The buffers of each load: of the model, then of a draft."""

    loads: list[list[Buffer]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    caches: list[Cache] = field(default_factory=list)
    breakdown: list[DeviceMemory] = field(default_factory=list)
    model: str | None = None
    commit: str | None = None
    refusal: Refusal | None = None
    error: str | None = None

    @property
    def is_of_model(self) -> bool:
        """Whether what is said is of the first load that really takes memory."""
        return len(self.loads) <= 1

    def set_number(self, name: str, figure: str) -> None:
        """Keep a number of the model, and not of what is loaded after it."""
        if self.is_of_model:
            self.numbers[name] = int(figure)


def _record(start: _Start) -> StartupLog:
    if not start.loads and start.refusal is None and start.error is None:
        raise LogError("it holds no load of a model by llama-server")
    buffers = start.loads[0] if start.loads else []
    if start.loads and not buffers and start.refusal is None and start.error is None:
        raise LogError("it does not say the sizes of buffers: start llama-server with `-lv 4`")
    number, flag = start.numbers.get, start.flags.get
    return StartupLog(
        model=start.model,
        build=number("build"),
        commit=start.commit,
        context=number("n_ctx"),
        slot_context=number("n_ctx_seq"),
        batch=number("n_batch"),
        ubatch=number("n_ubatch"),
        sequences=number("n_seq_max"),
        slots=number("n_slots"),
        is_unified=flag("kv_unified"),
        flash_attention=flag("flash_attn"),
        layers_offloaded=number("offloaded"),
        layers=number("layers"),
        splits=number("splits"),
        copies=number("copies"),
        longest_prompt=number("prompt"),
        buffers=tuple(buffers),
        other_buffers=tuple(buffer for load in start.loads[1:] for buffer in load),
        caches=tuple(start.caches),
        breakdown=tuple(start.breakdown),
        refusal=start.refusal,
        error=start.error,
        is_ready="ready" in start.flags,
    )


_COMPUTE_OF_MODEL = frozenset(
    {"sched_reserve", "llama_context", "llama_init_from_model", "llama_new_context_with_model"}
)
_KINDS: Mapping[str, BufferKind] = {kind.value: kind for kind in BufferKind}


def _read_build(start: _Start, match: re.Match[str]) -> None:
    start.numbers["build"], start.commit = int(match[1]), match[2]


def _read_load(start: _Start, _: re.Match[str]) -> None:
    if len(start.loads) >= _MOST_BUFFERS:
        raise LogError("it loads more models than a server does")
    start.loads.append([])


def _read_dry_run(start: _Start, _: re.Match[str]) -> None:
    """The load that has begun takes no memory: `--fit` looks at it, and says its buffers from `-lv 5` on."""
    if start.loads:
        start.loads.pop()
    start.flags["dry"] = True


def _read_buffer(start: _Start, match: re.Match[str]) -> None:
    function, device, words, size = match[1], match[2], match[3].strip(), match[4]
    if not start.loads:
        if start.flags.get("dry"):
            return
        start.loads.append([])
    load = start.loads[-1]
    if len(load) >= _MOST_BUFFERS:
        raise LogError("it names more buffers than a server has")
    kind = _KINDS.get(words or "model", BufferKind.OTHER)
    if kind is BufferKind.COMPUTE and function not in _COMPUTE_OF_MODEL:
        kind = BufferKind.OTHER
    buffer = Buffer(device, kind, int(size.replace(".", "")))
    if kind in (BufferKind.COMPUTE, BufferKind.OUTPUT):
        # It reserves again where something has changed, and gives the former buffer back.
        load[:] = [each for each in load if (each.device, each.kind) != (device, kind)]
    load.append(buffer)


def _read_count(start: _Start, match: re.Match[str]) -> None:
    name = "n_ctx_seq" if match[1] == "n_ctx_per_seq" else match[1]
    start.set_number(name, match[2])


def _read_flag(start: _Start, match: re.Match[str]) -> None:
    if start.is_of_model and match[2] != "auto":
        start.flags[match[1]] = match[2] in ("true", "enabled", "1")


def _read_flash_attention(start: _Start, match: re.Match[str]) -> None:
    if start.is_of_model:
        start.flags["flash_attn"] = match[1] == "enabled"


def _read_slots(start: _Start, match: re.Match[str]) -> None:
    start.numbers["n_slots"] = int(match[1])


def _read_offloaded(start: _Start, match: re.Match[str]) -> None:
    start.set_number("offloaded", match[1])
    start.set_number("layers", match[2])


def _read_splits(start: _Start, match: re.Match[str]) -> None:
    start.set_number("splits", match[1])


def _read_copies(start: _Start, match: re.Match[str]) -> None:
    start.set_number("copies", match[1])


def _read_cache(start: _Start, match: re.Match[str]) -> None:
    if start.is_of_model and start.loads and len(start.caches) < _MOST_BUFFERS:
        size, cells, layers, sequences, streams, type_k, type_v = match.groups()
        numbers = (int(size.replace(".", "")), int(cells), int(layers), int(sequences), int(streams or sequences))
        start.caches.append(Cache(*numbers, type_k, type_v))


def _read_breakdown(start: _Start, match: re.Match[str]) -> None:
    if match[1]:
        start.breakdown = []
        return
    if len(start.breakdown) >= _MOST_BUFFERS:
        raise LogError("it names more devices than a machine has")
    device, total, free, model, context, compute, unaccounted = match.groups()[1:]
    start.breakdown.append(
        DeviceMemory(
            device,
            int(model),
            int(context),
            int(compute),
            *(int(each) if each else None for each in (total, free, unaccounted)),
        )
    )


def _read_exact_refusal(start: _Start, match: re.Match[str]) -> None:
    start.refusal = Refusal(match[1], int(match[2]))


def _read_rounded_refusal(start: _Start, match: re.Match[str]) -> None:
    start.refusal = Refusal(f"CUDA{match[2]}", int(match[1].replace(".", "")) * MIB // 100)


def _read_retry(start: _Start, _: re.Match[str]) -> None:
    start.refusal = None


def _read_error(start: _Start, match: re.Match[str]) -> None:
    start.error = match[1].strip()


def _read_ready(start: _Start, _: re.Match[str]) -> None:
    """What failed before, as where `--fit` tried, was made good."""
    start.flags["ready"] = True
    start.refusal = start.error = None
    start.breakdown = []


def _read_model(start: _Start, match: re.Match[str]) -> None:
    if start.is_of_model:
        start.model = match[1].strip()


def _read_prompt(start: _Start, match: re.Match[str]) -> None:
    start.numbers["prompt"] = max(int(match[1]), start.numbers.get("prompt", 0))


_N = r"(\d{1,12})"
_MIB = r"(\d{1,9}\.\d\d)"
_BUILD = re.compile(r"\bbuild:? (\d{1,9}) \(([0-9a-f]{6,40})\) with ")
_LOAD = re.compile(r"llama_model_loader: loaded meta data with ")
_CACHE = re.compile(
    rf"size = +{_MIB} MiB \( *{_N} cells, +{_N} layers, +{_N}(?:/{_N})? seqs\), "
    r"K \((\w{1,20})\): +[\d.]{1,12} MiB, V \((\w{1,20})\)"
)
_DEVICE_ROW = (
    r"\|   - (\S{1,60})(?: \([^|]{0,100})? +\| +(?:(\d{1,9}) = +(\d{1,9}) \+ \( *)?\d{1,9}"
    r" = +(\d{1,9}) \+ +(\d{1,9}) \+ +(\d{1,9})(?:\) \+ +(-?\d{1,20}))? "
)
# A word that a line must hold, what it says, and who reads it; the first that matches.
_READERS: Final[tuple[tuple[str, re.Pattern[str], Callable[[_Start, re.Match[str]], None]], ...]] = (
    ("build", _BUILD, _read_build),
    ("loaded meta data", _LOAD, _read_load),
    ("general.name", re.compile(r"print_info: general\.name += (.{1,200})"), _read_model),
    ("no_alloc", re.compile(r"print_info: no_alloc += 1"), _read_dry_run),
    ("buffer size", re.compile(rf"(\w+): +(\S+) +((?:\w+ ){{0,4}})buffer size = +{_MIB} MiB"), _read_buffer),
    ("n_", re.compile(rf": (n_ctx|n_ctx_seq|n_ctx_per_seq|n_batch|n_ubatch|n_seq_max) += {_N} *$"), _read_count),
    (" = ", re.compile(r": (flash_attn|kv_unified) += (auto|enabled|disabled|true|false|0|1) *$"), _read_flag),
    (
        "Flash Attention",
        re.compile(r"Flash Attention (?:was auto, set to )?(enabled|not supported|disabled)"),
        _read_flash_attention,
    ),
    ("n_slots", re.compile(rf"initializing(?: slots)?, n_slots = {_N}"), _read_slots),
    ("offloaded", re.compile(rf"offloaded {_N}/{_N} layers to GPU"), _read_offloaded),
    ("splits", re.compile(rf"graph splits = {_N}"), _read_splits),
    ("copies", re.compile(rf"(?:sched copies = |pipeline parallelism enabled \(n_copies=){_N}"), _read_copies),
    (" cells", _CACHE, _read_cache),
    (
        "breakdown_print",
        re.compile(rf"memory_breakdown_print: (?:(\| memory breakdown)|{_DEVICE_ROW})"),
        _read_breakdown,
    ),
    ("buffer of size", re.compile(rf"failed to allocate (\S+) buffer of size {_N}"), _read_exact_refusal),
    (
        "cudaMalloc failed",
        re.compile(rf"allocating {_MIB} MiB on device (\d{{1,4}}): cudaMalloc failed"),
        _read_rounded_refusal,
    ),
    ("prompt eval", re.compile(rf"prompt eval time = +[\d.]{{1,20}} ms / +{_N} tokens"), _read_prompt),
    ("retrying", re.compile(r"retrying without pipeline parallelism"), _read_retry),
    (": ", re.compile(r"(?:error loading model|failed to initialize the context): (.{1,300})"), _read_error),
    ("model loaded", re.compile(r"(?:main|server): model loaded"), _read_ready),
    ("is listening", re.compile(r"server is listening"), _read_ready),
)
