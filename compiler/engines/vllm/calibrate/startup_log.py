"""What the log of a start-up says of memory (vLLM's V1 engine, 0.8 to 0.33).

Formats: vllm/v1/engine/core.py, vllm/v1/worker/gpu_worker.py, vllm/utils/mem_utils.py. Some lines come only with
VLLM_LOGGING_LEVEL=DEBUG: the worker's memory snapshot and the profile's result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from compiler.engines.interface.calibration import LogError
from compiler.engines.vllm.releases.rules import Rules
from compiler.units import GIB

_LONGEST_FIGURE = 10

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_ENGINE = re.compile(r"LLM engine \(v(?P<version>[^)\s]+)\) with config: (?P<config>.*)")
_TEXT = {
    "model": re.compile(r"\bmodel='([^']*)'"),
    "dtype": re.compile(r"\bdtype=torch\.(\w+)"),
}
_COUNTS = {
    "max_model_len": re.compile(r"\bmax_seq_len=(\d+)"),
    "tensor_parallel_size": re.compile(r"\btensor_parallel_size=(\d+)"),
    "pipeline_parallel_size": re.compile(r"\bpipeline_parallel_size=(\d+)"),
}
_LIMITS = {
    "max_num_batched_tokens": re.compile(r"max_num_batched_tokens['\"]?[=:]\s*(\d+)"),
    "max_num_seqs": re.compile(r"max_num_seqs['\"]?[=:]\s*(\d+)"),
}
_UTILIZATION = re.compile(r"gpu_memory_utilization['\"]?[=:]\s*(\d(?:\.\d+)?)")
_FIGURE = r"(-?\d+(?:\.\d+)?) ?GiB"
# No snapshot reaches into the next: a line of nothing but their beginnings would otherwise be read over and over.
_SNAPSHOT = r"worker init memory snapshot: (?:(?!worker init ).)*?"
_FIGURES = {
    "total": re.compile(rf"{_SNAPSHOT}total_memory={_FIGURE}"),
    "context": re.compile(rf"{_SNAPSHOT}non_torch_memory={_FIGURE}"),
    "weights": re.compile(rf"Model loading took {_FIGURE}"),
    "activation": re.compile(rf"torch peak memory increase: {_FIGURE}"),
    "non_torch": re.compile(rf"non-torch forward increase memory: {_FIGURE}"),
    "consumed": re.compile(rf"total consumed \(from mem_get_info\): {_FIGURE}"),
    "kv_cache": re.compile(rf"Available KV cache memory: {_FIGURE}"),
    "graphs_estimate": re.compile(rf"Estimated CUDA graph memory: {_FIGURE}"),
    "graphs": re.compile(rf"Graph capturing finished in \d+ secs?, took {_FIGURE}"),
}


# vllm/compilation/backends.py and decorators.py: what is compiled is said range by range, or where it is loaded from.
_COMPILED = re.compile(r"Compiling a graph for (?:compile range|dynamic shape|shape)")
_LOADED = re.compile(r"Directly load (?:AOT compilation|the compiled graph)")


@dataclass(frozen=True, slots=True)
class StartupLog:
    """One start-up, of the first rank that wrote. Figures are bytes, None where the log does not have them.

    Attributes:
        compiled: whether it compiled the model, and did not load what an earlier start had compiled; as if it had where
            the log does not say.
    """

    version: str
    model: str
    dtype: str
    max_model_len: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool
    gpu_memory_utilization: float | None
    compiled: bool
    figures: dict[str, int]


def is_log(text: str) -> bool:
    """Whether an engine says in it what it is started with."""
    return _ENGINE.search(_ESCAPE.sub("", text)) is not None


def read_log(text: str) -> StartupLog:
    """The start-up in a log.

    Raises:
        LogError: there is none, or more than one release.
    """
    text = _ESCAPE.sub("", text)
    engines = list(_ENGINE.finditer(text))
    if not engines:
        raise LogError("no line `Initializing a V1 LLM engine (v…) with config`")
    versions = {engine["version"] for engine in engines}
    if len(versions) > 1:
        raise LogError(f"start-ups of {len(versions)} releases: {', '.join(sorted(versions))[:80]}")
    config = engines[0]["config"]
    figures = {name: _bytes(match[1]) for name, line in _FIGURES.items() if (match := line.search(text))}
    if any(figures.get(name, 0) < 0 for name in ("total", "context", "weights", "activation")):
        raise LogError("it holds a figure below zero that is a size of memory")
    if "weights" not in figures or "kv_cache" not in figures:
        raise LogError("no line `Model loading took …` or `Available KV cache memory`")
    counts = {name: _whole(match[1]) if (match := key.search(config)) else 1 for name, key in _COUNTS.items()}
    limits = {name: _whole(match[1]) if (match := key.search(text)) else None for name, key in _LIMITS.items()}
    texts = {name: match[1] if (match := key.search(config)) else "" for name, key in _TEXT.items()}
    utilization = _UTILIZATION.search(text)
    return StartupLog(
        version=engines[0]["version"],
        model=texts["model"],
        dtype=texts["dtype"],
        max_model_len=counts["max_model_len"],
        tensor_parallel_size=counts["tensor_parallel_size"],
        pipeline_parallel_size=counts["pipeline_parallel_size"],
        max_num_seqs=limits["max_num_seqs"],
        max_num_batched_tokens=limits["max_num_batched_tokens"],
        enforce_eager="enforce_eager=True" in config,
        gpu_memory_utilization=float(utilization[1]) if utilization else None,
        compiled=_COMPILED.search(text) is not None or _LOADED.search(text) is None,
        figures=figures,
    )


def _bytes(figure: str) -> int:
    if len(figure) > _LONGEST_FIGURE:
        raise LogError("it holds a figure that is no size of memory")
    return int(Decimal(figure) * GIB)


def _whole(figure: str) -> int:
    if len(figure) > _LONGEST_FIGURE or not int(figure):
        raise LogError("it holds a count that no server has")
    return int(figure)


def unexplained(log: StartupLog, rules: Rules) -> int | None:
    """Bytes that the log's own figures do not account for; None where one of them is missing.

    Requested − weights − activation − growth outside torch (− graphs, by the release's rules) should be the KV cache.
    """
    figures = log.figures
    needed = ("total", "weights", "activation", "non_torch", "kv_cache")
    if log.gpu_memory_utilization is None or any(name not in figures for name in needed):
        return None
    requested = int(figures["total"] * log.gpu_memory_utilization)
    taken = sum(figures[name] for name in ("weights", "activation", "non_torch", "kv_cache"))
    return requested - taken - (figures.get("graphs_estimate", 0) if rules.graphs_in_budget else 0)
