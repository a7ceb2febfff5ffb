"""What was fitted to measurements, and what it was judged with.

Fitted on 2026-11-30 to 1,223 published measurements of vLLM 0.2 to 0.26 on 24 cards, by `python -m
benchmarks.speeds.fit`: robust regression of log errors, with priors around physical values. Where no measurement
depends on one it is its prior: Turing, Xe, `fp8m`, `fp4moe`, and `eager`, which is not fitted at all.
Fitted anew without each unit (source and model family) in turn, the median error of tokens a second, time per token
and time of a request on what was left out is 10.2 %: `python -m benchmarks.speed_model --held-out unit`.
The constants belong together: the efficiency of FP8 on Hopper and the overhead of a layer, say, make up for
each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class CardClass(StrEnum):
    """Cards that share constants."""

    TURING = "turing"
    AMPERE_PCIE = "ampere-pcie"
    AMPERE_HBM = "ampere-hbm"
    ADA = "ada"
    HOPPER = "hopper"
    BLACKWELL_HBM = "blackwell-hbm"
    BLACKWELL_GDDR = "blackwell-gddr"
    GB10 = "gb10"
    CDNA = "cdna"
    XE = "xe"


class Link(StrEnum):
    """How cards reach each other."""

    NVLINK = "nvlink"
    XGMI = "xgmi"
    PCIE = "pcie"
    HOST = "host"


class Era(StrEnum):
    """Releases of the engine whose overhead is alike: before 0.8, to 0.13, and from 0.14 on."""

    V0 = "v0"
    V1 = "v1"
    ASYNC = "v1async"


@dataclass(frozen=True, slots=True)
class ClassConstants:
    """Of a class of cards.

    Attributes:
        bandwidth, compute: share of the data sheet's figure that is reached.
        layer_ms: overhead of a layer in each step.
    """

    bandwidth: float
    compute: float
    layer_ms: float


@dataclass(frozen=True, slots=True)
class FormatConstants:
    """Of a way to store and multiply weights: share of the class's own efficiency that is reached."""

    bandwidth: float
    compute: float


@dataclass(frozen=True, slots=True)
class LinkConstants:
    """Of a kind of link: time of an all-reduce over two cards, and share of the bandwidth that is reached."""

    latency_ms: float
    share: float


@dataclass(frozen=True, slots=True)
class EraConstants:
    """Of releases: factor on the overhead of layers, and time of the host for a step and for each of its sequences."""

    layer: float
    host_ms: float
    sequence_ms: float


@dataclass(frozen=True, slots=True)
class Constants:
    """All of them.

    Attributes:
        hidden_power: of the hidden size, up to `hidden_most`, in what share of the peak is reached.
        expert_batch_power: of the batch, in how many experts it touches: tokens of a batch choose alike.
        expert_bandwidth, expert_compute: share of what dense layers reach.
        expert_layer_ms, linear_layer_ms: overhead of a layer with experts, or of any where some are linear attention.
        eager, lora: factors on overhead, and on the step. Priors: hardly any measurement has them.
        kv_bandwidth: share of the data sheet's bandwidth at which caches are read.
        prefill_compute, prefill_attention: share of decode's efficiency and of the peak.
        prefill_overlap: of a prefill's time that a step of others grows by.
        held: of its output's tokens that a request holds on average.
        request_ms, request_each_ms: before a request is served, and for each that is served beside it.
        queue_lockstep, queue_spread: of the prefills of others that a request waits for.
        busy_most: load beyond which waiting is not told by the formula of a queue.
        tail: of a burst's last requests, which run with a tenth of the others; `long_tail` where lengths differ much.
    """

    classes: Mapping[CardClass, ClassConstants]
    formats: Mapping[str, FormatConstants]
    links: Mapping[Link, LinkConstants]
    eras: Mapping[Era, EraConstants]
    hidden_power: float
    expert_batch_power: float
    expert_bandwidth: float
    expert_compute: float
    expert_layer_ms: float
    linear_layer_ms: float
    eager: float
    lora: float
    kv_bandwidth: float
    prefill_compute: float
    prefill_attention: float
    prefill_overlap: float
    held_lockstep: float
    held_spread: float
    request_ms: float
    request_each_ms: float
    queue_lockstep: float
    queue_spread: float
    busy_most: float
    tail: float
    long_tail: float


HIDDEN_MOST, HIDDEN_UNIT = 8192, 4096

FITTED = Constants(
    classes={
        CardClass.TURING: ClassConstants(0.82, 0.5, 0.03),
        CardClass.AMPERE_PCIE: ClassConstants(0.9139, 0.5119, 0.02297),
        CardClass.AMPERE_HBM: ClassConstants(0.8116, 0.5581, 0.03385),
        CardClass.ADA: ClassConstants(0.8958, 0.6762, 0.02256),
        CardClass.HOPPER: ClassConstants(0.7977, 0.4827, 0.03182),
        CardClass.BLACKWELL_HBM: ClassConstants(0.8135, 0.4332, 0.03342),
        CardClass.BLACKWELL_GDDR: ClassConstants(0.897, 0.4786, 0.02409),
        CardClass.GB10: ClassConstants(0.8257, 0.319, 0.03069),
        CardClass.CDNA: ClassConstants(0.7788, 0.4608, 0.05019),
        CardClass.XE: ClassConstants(0.82, 0.5, 0.03),
    },
    formats={
        "bf16": FormatConstants(1.0, 1.0),
        "fp8": FormatConstants(0.8628, 0.7174),
        "fp8m": FormatConstants(0.85, 0.8),
        "int8": FormatConstants(0.8612, 0.7549),
        "w4a": FormatConstants(0.879, 0.8614),
        "w4d": FormatConstants(0.9353, 1.019),
        "w4h": FormatConstants(0.8242, 0.7355),
        "fp4": FormatConstants(0.8474, 0.7074),
        "mxfp4": FormatConstants(0.8632, 0.7773),
        "mxm": FormatConstants(0.8505, 1.003),
        "fp4moe": FormatConstants(0.85, 0.8),
    },
    links={
        Link.NVLINK: LinkConstants(0.01045, 0.3381),
        Link.XGMI: LinkConstants(0.05203, 0.3338),
        Link.PCIE: LinkConstants(0.01596, 0.5201),
        Link.HOST: LinkConstants(0.02153, 0.4244),
    },
    eras={
        Era.V0: EraConstants(1.36, 1.399, 0.1051),
        Era.V1: EraConstants(1.238, 1.32, 0.01553),
        Era.ASYNC: EraConstants(0.9199, 0.5203, 0.01309),
    },
    hidden_power=0.04035,
    expert_batch_power=0.8659,
    expert_bandwidth=0.8491,
    expert_compute=0.2711,
    expert_layer_ms=0.02685,
    linear_layer_ms=0.01528,
    eager=2.0,
    lora=1.302,
    kv_bandwidth=0.811,
    prefill_compute=1.167,
    prefill_attention=0.5532,
    prefill_overlap=0.7899,
    held_lockstep=0.5,
    held_spread=0.5475,
    request_ms=28.31,
    request_each_ms=0.9533,
    queue_lockstep=0.7629,
    queue_spread=0.1394,
    busy_most=0.95,
    tail=0.2,
    long_tail=3.338,
)
