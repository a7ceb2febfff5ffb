"""How long a start of vLLM usually takes, an estimate: from starts whose times were told in public.

A start reads its weights, which depends on where they lie, and then compiles, profiles and captures graphs, which
depends on the model and on what caches hold. No start of 0.33.0 was timed; the deadline of a start is another figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.engines.interface.host import StartSpeed
from compiler.engines.vllm.releases.release import Build
from compiler.units import GIB


@dataclass(frozen=True, slots=True)
class TimedStart:
    """A start and its times.

    Attributes:
        release: of vLLM, where it was told; the date of the source stands for it elsewhere.
        gib: of weights, where it was told.
        loading, rest: seconds of reading them, and of all that comes before and after.
        source: where it was told.
    """

    model: str
    release: str | None
    gib: float | None
    loading: float | None
    rest: float | None
    source: str


STARTS = (
    TimedStart("Meta-Llama-3-8B, without compiling", None, None, None, 14.2, "vllm-project/vllm#11005, 2024-12"),
    TimedStart("Meta-Llama-3-8B", None, None, None, 39.3, "vllm-project/vllm#11005, 2024-12"),
    TimedStart("Llama 3.2 in 8 bits, compiled before", None, 3.42, 0.9, 58.1, "vllm-project/vllm#20264, 2025-06"),
    TimedStart("a model of 128K tokens", None, None, None, 90.8, "run-ai/runai-model-streamer#67, a log of June"),
    TimedStart("nine files on two GPUs", None, 25.3, 31.7, None, "vllm-project/vllm#38820, a log of May"),
    TimedStart("three files on one GPU", None, 7.64, 33.0, None, "vllm-project/vllm#44106, a log of June"),
    TimedStart("Qwen3.6-35B-A3B-NVFP4, RTX 5090", "0.22.1rc1", 21.82, 18.0, 269.0, "vllm-project/vllm#44881, 2026-06"),
)

# What these lie within, less what the page cache gave. Beyond it are a start of 8 minutes (DeepSeek V4 Flash on eight
# H20, vllm-project/vllm#43189) and one that compiled for half an hour (vllm-project/vllm#34399).
FASTEST, SLOWEST = 3 * GIB, GIB // 5
"""Bytes of weights that are read in a second: by a local NVMe disk, which is assumed, and by a slow one: 0.23 GiB/s is
the slowest of the above. What was faster than both came from the page cache."""
BESIDE_LOADING: Mapping[Build, tuple[int, int]] = {"gpu": (30, 270), "cpu": (15, 90)}
"""Seconds of everything else. With the CPU build of 0.32.0 a small model was ready in 14 to 21 s, and in 59 s where
Python had nothing compiled; on a GPU the starts above, and 30 s where nothing is compiled anew."""


def start_speed(build: Build) -> StartSpeed:
    """What most starts lie between."""
    return StartSpeed(FASTEST, SLOWEST, BESIDE_LOADING[build])
