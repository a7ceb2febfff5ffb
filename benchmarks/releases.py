"""What releases of vLLM did otherwise than the one that stackc compiles for, so that logs of old ones can be read.

The compiler lays out what its pinned release does, and that alone. Overheads of old releases, which a calibration reads
too, are in compiler/engines/vllm/releases/history.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.engines.vllm.releases.history import overheads_of
from compiler.engines.vllm.releases.overheads import GpuOverheads, GraphOverhead, SamplerPass
from compiler.units import KIB, ByteRange

_CHARGED_SINCE = (0, 21)
# What vLLM takes from a cache that it sizes itself, which is more than it then captures on one rank.
_CHARGED = GraphOverhead(
    ByteRange.exact(0),
    ByteRange(220 * KIB, 480 * KIB, 640 * KIB),
    "estimates of 0.38 to 1.09 times 576 KiB for each size and layer in 9 logs of vLLM 0.25 to 0.31",
)
_CHARGED_SHARED = GraphOverhead(
    ByteRange.exact(0),
    ByteRange(100 * KIB, 450 * KIB, 1229 * KIB),
    "estimates of 310 to 540 KiB, and one of 1090, for each size and layer on 2 and 4 ranks in 7 logs of 0.19 to 0.27",
)
# The second model runner: of dense models since 0.25.1 (vLLM's pull request 44443), of all since 0.28, which logs of
# 0.29 show. Until then it charged no graphs: https://github.com/vllm-project/vllm/issues/49224.
_SECOND_RUNNER, _SECOND_RUNNER_OF_ALL = (0, 25), (0, 28)
# Before 0.33.0 gave it a pass with parameters: 0.258 GiB for 256 sequences and 151936 tokens by vLLM's pull request
# 57926, 7.1 bytes a logit.
_BARE_UNTIL = (0, 33)
_BARE_SAMPLER = SamplerPass(
    bytes_per_logit=(6.0, 6.9, 14.5),
    source="16-bit logits and one pass without parameters: v1/worker/gpu/model_runner.py:_dummy_sampler_run of 0.32.0",
)


def charging_overheads(number: tuple[int, int], *, dense: bool) -> GpuOverheads | None:
    """Of a release whose cache is sized by utilization; None for releases from 1.0 on.

    Args:
        number: its first two numbers.
        dense: whether the model has neither experts nor recurrent states.
    """
    second = number >= (_SECOND_RUNNER if dense else _SECOND_RUNNER_OF_ALL)
    since = max(number, _SECOND_RUNNER_OF_ALL) if second else number
    known = overheads_of(f"{since[0]}.{since[1]}")
    if known is None or number < _CHARGED_SINCE:
        return known
    if second and number < _BARE_UNTIL:
        bare = replace(known.rules, sampler_buffers_rows=False, sampler_state=True)
        known = replace(known, rules=bare, sampler=_BARE_SAMPLER)
    if second and number < _SECOND_RUNNER_OF_ALL:
        return replace(known, rules=replace(known.rules, graphs_in_budget=False))
    return replace(known, graphs=_CHARGED, graphs_large=_CHARGED, graphs_shared=_CHARGED_SHARED)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a release sizes and lays out a cache.

    Attributes:
        utilization: default of gpu_memory_utilization.
        wants_seats: whether it refuses more sequences than blocks in models with recurrent states.
        times_kernels: whether it times kernels that it compiles on tensors as large as the embedding table.
        in_flight: whether batches beside the one that runs hold their tokens of a sliding window.
        keeps_segments: whether what it counts as used holds segments that a small tensor keeps from being released.
        caches_states: whether prefixes are cached by default in models with recurrent states.
        exports_states: whether a prefill exports a state from its midst, so that a request holds one more.
    """

    utilization: float = 0.9
    wants_seats: bool = False
    times_kernels: bool = False
    in_flight: bool = False
    keeps_segments: bool = False
    caches_states: bool = False
    exports_states: bool = False


_FIRST = Rules()
# Default utilization: vllm/config/cache.py. Seats: logs of 0.27.1 to 0.29.0 are refused by the rule, and those of 0.21
# on that started have blocks enough. Kernels are timed where torch is 2.9 or later; seen in logs of 0.27.1 to 0.31.0.
_SINCE_0_21 = replace(_FIRST, utilization=0.92, wants_seats=True, times_kernels=True)
# Out-of-window blocks are freed when a batch has run: vLLM's pull request 47728 of July 2026. One batch by a log of
# 0.23.0 (3909 blocks a request of Gemma 4 31B), two by one of 0.30.0 (2313 blocks a request of gpt-oss-20b).
_SINCE_0_25 = replace(_SINCE_0_21, in_flight=True)
# What is used is measured by what is free (the line `weights + non-torch` of 0.27.1), and at first without a limit for
# what the allocator splits, which 0.32.0 has (v1/worker/gpu_worker.py:_scoped_allocator_max_split, with its reason).
_SINCE_0_27 = replace(_SINCE_0_25, keeps_segments=True)
# One state a request by logs of 0.27.1 (829 blocks / 14 = 59.21), two by those of 0.28.0 to 0.30.0 (388 / 341 = 1.14).
_SINCE_0_28 = replace(_SINCE_0_27, caches_states=True)
# vllm/v1/kv_cache_interface.py:MambaSpec of 0.32.0 and 0.33.0; two states by logs of 0.30.0.
_SINCE_0_31 = replace(_SINCE_0_28, exports_states=True)
_SINCE_0_32 = replace(_SINCE_0_31, keeps_segments=False)
_RULES: tuple[tuple[tuple[int, int], Rules], ...] = (
    ((0, 0), _FIRST),
    (_CHARGED_SINCE, _SINCE_0_21),
    ((0, 25), _SINCE_0_25),
    ((0, 27), _SINCE_0_27),
    ((0, 28), _SINCE_0_28),
    ((0, 31), _SINCE_0_31),
    ((0, 32), _SINCE_0_32),
)


def rules_of(number: tuple[int, int]) -> Rules:
    """Those of a release, by its first two numbers."""
    return [rules for since, rules in _RULES if since <= number][-1]
