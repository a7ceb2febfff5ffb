"""The time in which a prompt is read."""

from __future__ import annotations

from compiler.speed.arithmetic import rate
from compiler.speed.decode import exchanged_ms
from compiler.speed.server import Server
from compiler.speed.shape import KvGroup


def prefill_ms(server: Server, tokens: float) -> float:
    """Milliseconds for a prompt of so many tokens, alone."""
    constants = server.constants
    projections = tokens * _each_ms(server) / (server.ranks * constants.prefill_compute)
    attention = sum(_attention_operations(group, tokens) for group in server.shape.kv)
    attention /= server.card.bf16 * 1e9 * server.ranks * constants.prefill_attention
    return projections + attention + exchanged_ms(server, tokens)


def _each_ms(server: Server) -> float:
    """Of a token through all projections of one card. The head is asked for the last one alone."""
    parts = (server.shape.attention, server.shape.dense)
    total = sum(2 * part.parameters / rate(server, part.bytes_each).compute for part in parts)
    experts = server.shape.experts
    if experts is not None:
        compute = rate(server, experts.bytes_each).compute * server.constants.expert_compute
        total += 2 * experts.layers * experts.active * experts.parameters / compute
    return total


def _attention_operations(group: KvGroup, tokens: float) -> float:
    """Of queries with keys, and of what comes of it with values; a token sees half of the others on average."""
    return 4 * tokens * group.layers * group.query_width * group.kept(tokens / 2)
