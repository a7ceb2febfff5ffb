"""How long a start of vLLM usually takes, an estimate: from starts whose times were told in public.

A start reads its weights, which depends on where they lie, and then compiles, profiles and captures graphs, which
depends on the model and on what caches hold. No start of 0.33.0 was timed; the deadline of a start is another figure.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.units import GIB


@dataclass(frozen=True, slots=True)
class TimedStart:
    """A start and its times.

    Attributes:
        gib: of weights, where it was told.
        loading, rest: seconds of reading them, and of all that comes before and after.
        source: where it was told.
    """

    model: str
    release: str
    gib: float | None
    loading: float | None
    rest: float | None
    source: str


STARTS = (
    TimedStart("Llama 3 8B, without compiling", "0.6.4", None, None, 14.2, "vllm-project/vllm#11005"),
    TimedStart("Llama 3 8B", "0.6.4", None, None, 39.3, "vllm-project/vllm#11005"),
    TimedStart("Llama 3.2 in 8 bits, compiled before", "0.9.1", 3.42, 0.9, 58.1, "vllm-project/vllm#20264"),
    TimedStart("a model of 128K tokens", "0.9.0", None, None, 90.8, "run-ai/runai-model-streamer#67"),
    TimedStart("a model in AWQ, TP 2", "0.19.1", 25.3, 31.7, None, "vllm-project/vllm#38820"),
    TimedStart("a model of three files", "0.22.0", 7.64, 33.0, None, "vllm-project/vllm#44106"),
    TimedStart("Qwen3.6-35B-A3B-NVFP4 on an RTX 5090", "0.22.1", 21.8, 18.0, 269.0, "vllm-project/vllm#44881"),
)

# What these lie within, less what the page cache gave. Beyond it are a start of 8 minutes (DeepSeek V4 Flash on eight
# H20, vllm-project/vllm#43189) and one that compiled for half an hour (vllm-project/vllm#34399).
FASTEST, SLOWEST = 3 * GIB, GIB // 5
"""Bytes of weights that are read in a second: from a local NVMe disk, and from a slow one."""
BESIDE_LOADING = {"gpu": (30, 270), "cpu": (15, 90)}
"""Seconds of everything else. With the CPU build of 0.32.0 a small model was ready in 14 to 21 s, and in 59 s where
Python had nothing compiled; on a GPU the starts above, and 30 s where nothing is compiled anew."""


def usual_start(weights: int, build: str) -> tuple[int, int]:
    """Seconds that most starts lie between, of a server with so many bytes of weights on all its devices."""
    least, most = BESIDE_LOADING[build]
    return least + weights // FASTEST, most + -(-weights // SLOWEST)
