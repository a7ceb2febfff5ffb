"""The time of one step in which every sequence of a batch gets a token."""

from __future__ import annotations

import math

from compiler.speed.arithmetic import rate
from compiler.speed.constants import Constants
from compiler.speed.server import Server
from compiler.speed.shape import Experts, Part


def step_ms(server: Server, batch: float, context: float) -> float:
    """Milliseconds of a step.

    Args:
        batch: sequences at once; a mean may be a fraction.
        context: tokens of each, on average.
    """
    shape, constants = server.shape, server.constants
    cache = batch * shape.cache_bytes(context, server.ranks)
    device = _dense_ms(server, batch) + _experts_ms(server, batch) + _overhead_ms(server)
    device += cache / (server.card.bandwidth * 1e6 * constants.kv_bandwidth)
    device += _all_reduce_ms(server, batch)
    era = constants.eras[shape.era]
    return device * (constants.lora if shape.lora else 1) + era.host_ms + era.sequence_ms * batch


def soft_max(memory: float, compute: float) -> float:
    """What takes as long as the longer of two things that overlap, but for where they are alike."""
    return math.cbrt(memory**3 + compute**3)


def _dense_ms(server: Server, batch: float) -> float:
    memory = compute = 0.0
    for part in (server.shape.attention, server.shape.dense, server.shape.head):
        memory_ms, compute_ms = _part_ms(server, part, batch)
        memory, compute = memory + memory_ms, compute + compute_ms
    return soft_max(memory / server.ranks, compute / server.ranks)


def _part_ms(server: Server, part: Part, batch: float) -> tuple[float, float]:
    of_part = rate(server, part.bytes_each)
    return part.size / of_part.bandwidth, 2 * batch * part.parameters / of_part.compute


def _experts_ms(server: Server, batch: float) -> float:
    experts, ranks, constants = server.shape.experts, server.ranks, server.constants
    if experts is None:
        return 0.0
    of_part = rate(server, experts.bytes_each)
    read = experts.size * _touched(experts, batch, constants)
    operations = 2 * batch * experts.layers * experts.active * experts.parameters
    return soft_max(
        read / (ranks * of_part.bandwidth * constants.expert_bandwidth),
        operations / (ranks * of_part.compute * constants.expert_compute),
    )


def _touched(experts: Experts, batch: float, constants: Constants) -> float:
    """The share of experts that a batch goes through; fewer than by chance, as its tokens choose alike."""
    one = experts.active / experts.count
    return max(one, 1 - math.pow(1 - one, math.pow(batch, constants.expert_batch_power)))


def _overhead_ms(server: Server) -> float:
    """Of starting kernels, which does not shrink with the batch."""
    shape, constants = server.shape, server.constants
    layers = constants.classes[server.card.kind].layer_ms * shape.layers
    if shape.experts is not None:
        layers += constants.expert_layer_ms * shape.experts.layers
    if shape.linear_attention:
        layers += constants.linear_layer_ms * shape.layers
    return constants.eras[shape.era].layer * layers * (constants.eager if shape.eager else 1)


def _all_reduce_ms(server: Server, batch: float) -> float:
    if server.ranks == 1:
        return 0.0
    latency = server.constants.links[server.card.link].latency_ms * math.sqrt(math.log2(server.ranks))
    return server.shape.all_reduces * latency + exchanged_ms(server, batch)


def exchanged_ms(server: Server, tokens: float) -> float:
    """What the bytes of all all-reduces over so many tokens take: hidden states of 16 bits, round a ring."""
    moved = tokens * server.shape.hidden * 2 * 2 * (server.ranks - 1) / server.ranks
    link = server.constants.links[server.card.link].share * server.card.link_bandwidth * 1e6
    return server.shape.all_reduces * moved / link
