"""Values of options that vLLM's parser takes, and with which the server would not start, or answer nonsense.

Each limit is that of vLLM 0.33.0's own configuration classes (vllm/config), or of what the option is handed to. A
number of an option without a row here could be anything, so that `tests/unit/test_spec_engine_values.py` wants one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from compiler.engines.common.options import Flag
from compiler.hosts import host_of

_INT = 2**31 - 1
Reason = str | None


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it, but for `low` where `above`. `why` is a half-sentence."""

    low: float
    high: float = _INT
    above: bool = False
    why: str | None = None

    def refuse(self, value: Any) -> Reason:
        """Why it does not hold a value; None if it does."""
        given = number(value)
        if given is None or (self.low <= given <= self.high and not (self.above and given == self.low)):
            return None
        least = f"above {self.low:g}" if self.above else f"{self.low:.0f}"
        words = f"it takes {'numbers ' if self.above else ''}{least} to {self.high:.10g}"
        return words if self.why is None else f"{words}: {self.why}"


_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def number(value: Any) -> float | None:
    """A number, or text that vLLM reads as one (32k is 32000, 32K is 32768); None for anything else."""
    if isinstance(value, str) and (found := re.fullmatch(r"(-?\d+(?:\.\d+)?)([kmgtKMGT]?)", value, re.ASCII)):
        return float(found[1]) * _SUFFIXES.get(found[2], 1)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


RANGES: Mapping[str, Range] = {
    # uvicorn's h11 reads 16 KiB at once, and clients behind proxies send some twenty headers.
    "--h11-max-header-count": Range(32, why="with fewer it refuses common clients"),
    "--h11-max-incomplete-event-size": Range(2**14, 2**30, why="headers of common clients must fit"),
    "--kv-cache-metrics-sample": Range(0, 1, above=True),
    "--long-prefill-token-threshold": Range(0),
    "--max-log-len": Range(0),
    "--max-num-queued-reqs": Range(1, why="with 0 every request is refused"),
    "--max-num-queued-tokens": Range(1, why="with 0 every request is refused"),
    "--numa-bind-nodes": Range(0, 1023),
    "--safetensors-prefetch-block-size": Range(1, 2**32),
    "--safetensors-prefetch-num-threads": Range(1, 1024),
    # numpy.random.seed (vllm/utils/torch_utils.py:set_random_seed).
    "--seed": Range(0, 2**32 - 1, why="numpy has no other seeds"),
    "--sse-keep-alive-interval": Range(0, 3600),
    "--stream-interval": Range(1),
}


@dataclass(frozen=True, slots=True)
class OneOf:
    """Values that may be given. `why` says what is wrong with others, as a half-sentence."""

    values: tuple[str, ...]
    why: str

    def refuse(self, value: Any) -> Reason:
        """Why a value is none of them; None if it is."""
        return None if value in self.values else f"it takes {' or '.join(self.values)}: {self.why}"


_FILES = "others read other files than the lock's, invent weights, or load in a way that the ledger does not follow"
ONE_OF: Mapping[str, OneOf] = {
    "--cohere-format": OneOf(("cmd3", "cmd4"), "vLLM has no other"),
    "--load-format": OneOf(("auto", "safetensors"), _FILES),
    # vllm/config/vllm.py: anything else needs speculative decoding, whose memory the ledger does not follow.
    "--per-request-spec-decode-metrics": OneOf(
        ("none",), "others need speculative decoding, which no server here does"
    ),
    "--moe-backend": OneOf(
        (
            "auto",
            "b12x",
            "batched_triton",
            "cutlass",
            "deep_gemm",
            "flashinfer_b12x",
            "flashinfer_cutedsl",
            "flashinfer_cutlass",
            "flashinfer_trtllm",
            "humming",
            "marlin",
            "triton",
            "triton_unfused",
        ),
        "others are of other hardware, or of data parallelism",
    ),
    # xxHash is no cryptographic hash: a client could make a prompt that takes another's place in the cache.
    "--prefix-caching-hash-algo": OneOf(
        ("sha256", "sha256_cbor"), "xxHash lets a client forge another's prefix, and needs a package that vLLM lacks"
    ),
    "--safetensors-load-strategy": OneOf(
        ("eager", "lazy", "prefetch"), "torchao makes other tensors of the weights than the ledger counts"
    ),
}


def _absolute(value: Any) -> Reason:
    is_path = isinstance(value, str) and value.startswith("/") and ".." not in value.split("/")
    return None if is_path else "it takes an absolute path: the unit's working folder is the stack's state"


def _template(value: Any) -> Reason:
    """vllm/renderers/chat_utils/chat_template.py: what cannot be opened and has none of these is no template."""
    is_text = isinstance(value, str) and any(mark in value for mark in "{}\n")
    return None if is_text or _absolute(value) is None else "it takes an absolute path, or a template's own text"


def _generation(value: Any) -> Reason:
    is_fine = value in ("auto", "vllm") or _absolute(value) is None
    return None if is_fine else "it takes auto, vllm, or the absolute path of a folder"


def _endpoint(value: Any) -> Reason:
    return None if isinstance(value, str) and host_of(value) else "it takes a URL or host:port"


_CPUS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)


def _cpus(value: Any) -> Reason:
    """vllm/config/parallel.py:_validate_numa_bind_cpus."""
    if not isinstance(value, str) or not _CPUS.fullmatch(value):
        return "it takes CPUs as numactl reads them, such as 0-3,8"
    ranges = [list(map(int, part.split("-"))) for part in value.split(",")]
    return None if all(ends[0] <= ends[-1] for ends in ranges) else "its ranges must ascend"


def _matching(pattern: str, words: str) -> Callable[[Any], Reason]:
    return lambda value: None if isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) else words


OTHER: Mapping[str, Callable[[Any], Reason]] = {
    "--attention-backend": _matching(r"[A-Za-z0-9_]+", "it takes the name of a backend"),
    "--chat-template": _template,
    "--generation-config": _generation,
    "--log-config-file": _absolute,
    "--numa-bind-cpus": _cpus,
    "--otlp-traces-endpoint": _endpoint,
    "--reasoning-parser-plugin": _absolute,
    "--response-role": _matching(r"[A-Za-z][A-Za-z0-9_-]*", "it takes the name of a role"),
    "--show-hidden-metrics-for-version": _matching(r"\d+\.\d+(\.\d+)?", "it takes a version such as 0.32"),
    "--tool-parser-plugin": _absolute,
}


def _flag_of(value: Any) -> Reason:
    return None if isinstance(value, bool) else "it takes true or false"


def _backend(value: Any) -> Reason:
    known = ("auto", "guidance", "outlines", "xgrammar", "lm-format-enforcer")
    return None if value in known else f"it takes one of {', '.join(known)}"


def _count(value: Any) -> Reason:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024  # noqa: PLR2004 (threads)
    return None if is_count else "it takes 1 to 1024"


def _buckets(value: Any) -> Reason:
    """vllm/config/observability.py:_validate_custom_histogram_buckets."""
    fits = isinstance(value, list) and bool(value) and all(_is_bound(bound) for bound in value)
    if not fits or any(first >= second for first, second in pairwise(value)):
        return "it takes a list of ascending numbers above 0"
    return None


def _is_bound(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


# vllm/v1/metrics/buckets.py:BUCKET_FAMILY_KEYS of 0.33.0 and 0.32.0.
_FAMILIES = (
    "request_latency",
    "time_to_first_token",
    "inter_token_latency",
    "iteration_tokens",
    "request_params_n",
    "request_num_preemptions",
    "request_tokens",
    "kv_cache_residency",
)


# Of options that take a mapping: what its keys may be. None: keys of the user's own.
_KEYS: Mapping[str, Mapping[str, Callable[[Any], Reason]] | None] = {
    "--custom-histogram-buckets": dict.fromkeys(_FAMILIES, _buckets),
    "--default-chat-template-kwargs": None,
    "--logging-config": None,
    # vllm/model_executor/model_loader/default_loader.py
    "--model-loader-extra-config": {
        "enable_multithread_load": _flag_of,
        "num_threads": _count,
        "enable_weights_track": _flag_of,
    },
    "--override-generation-config": None,
    "--reasoning-effort-map": None,
    # vllm/config/structured_outputs.py; its parsers are options of their own.
    "--structured-outputs-config": {
        "backend": _backend,
        "disable_any_whitespace": _flag_of,
        "disable_additional_properties": _flag_of,
        "enable_in_reasoning": _flag_of,
    },
}
_NEEDS_BACKEND: Mapping[str, tuple[str, ...]] = {
    "disable_any_whitespace": ("xgrammar", "guidance"),
    "disable_additional_properties": ("guidance",),
}
"""Keys of `--structured-outputs-config` that vLLM takes beside some backends alone, which must then be named."""

# Registered names that vLLM's own list of the option lacks (vllm/tokenizers/registry.py, 0.32.0 and 0.33.0).
_ALSO_KNOWN: Mapping[str, tuple[str, ...]] = {"--tokenizer-mode": ("deepseek_v41", "kimi_audio")}
_LISTS = ("--allowed-headers", "--allowed-methods", "--allowed-origins")


def check_limits(flag: Flag, value: object) -> Reason:
    """Why a value that the parser takes is none to start a server with, as a half-sentence; None if it is."""
    if isinstance(value, list) and flag.name not in (*_LISTS, *_KEYS):
        value = value[0] if len(value) == 1 else value
    if flag.name in _KEYS:
        return _mapping(_KEYS[flag.name], _read(value))
    if flag.name in _LISTS:
        return _list_of_text(_read(value))
    known = (*flag.known, *_ALSO_KNOWN.get(flag.name, ()))
    if flag.known and value not in known:
        return f"it takes one of {', '.join(sorted(map(str, known)))}"
    for table in (RANGES, ONE_OF):
        if flag.name in table:
            return table[flag.name].refuse(value)
    return OTHER[flag.name](value) if flag.name in OTHER else None


def _read(value: object) -> object:
    """JSON in quotes is what it says."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _list_of_text(value: object) -> Reason:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if is_list else "it takes a list of text"


def _mapping(keys: Mapping[str, Callable[[Any], Reason]] | None, value: object) -> Reason:
    if not isinstance(value, dict):
        return "it takes a mapping"
    if keys is None:
        return None
    for key, item in value.items():
        if key not in keys:
            return f"`{key}` is none of its keys that may be given: {', '.join(keys)}"
        if (reason := keys[key](item)) is not None:
            return f"`{key}`: {reason}"
        backends = _NEEDS_BACKEND.get(key, ())
        if item is True and backends and value.get("backend") not in backends:
            return f"`{key}` needs `backend` to be {' or '.join(backends)}"
    return None
