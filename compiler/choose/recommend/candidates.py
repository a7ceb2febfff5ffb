"""The checkpoints of a model, and which of them is proved to run on a machine as a wish asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

from compiler.choose.demand import SERVICE, Demand, gpus, question_of
from compiler.choose.fits import Fit, ask
from compiler.choose.recommend.wish import DEFAULT_CONTEXT, Cards, Wish
from compiler.ledger import Verdict
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import answers_quantization, checkpoint_format, quantization_method
from compiler.plan.speed import Estimator, estimator
from compiler.registry.entry import ModelEntry
from compiler.registry.facts import Unplannable, checkpoint_of, facts_of, variants_of
from compiler.solve.attempt import machine_of
from compiler.spec.engines import EngineName

_PLAIN_BITS, _LEAST_BITS, _BYTE = 16, 2, 8
_SURELY_LOADED = 0.9
"""Of a model's parameters: heads for drafting, which are counted and not loaded, are less than a tenth."""

_SHORTER = (2048, 512)
"""Tokens of a request that are tried where nobody says how many, and those of a chat do not fit."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A repository with weights of a model.

    Attributes:
        method: of quantization, as a spec has it, or `none`.
        form: the same in the registry's words, which say more, such as `w4a16` where a spec says `compressed-tensors`.
        bits: of most of its weights.
        is_own: the model's own repository.
        is_usual: its quantization block was not read: it is the one that is usual for its format.
    """

    entry: ModelEntry
    repository: str
    facts: ModelFacts
    method: str
    form: str
    bits: int
    is_own: bool
    is_usual: bool

    @property
    def least_bytes(self) -> int:
        """Less than its weights take in memory, by its parameters alone."""
        return int(self.entry.parameters * self.bits * _SURELY_LOADED) // _BYTE

    @property
    def read_bytes(self) -> int:
        """About what one token reads of it, by which checkpoints are put in an order before any is asked about."""
        return self.entry.active_parameters * self.bits // _BYTE


@dataclass(frozen=True, slots=True)
class Proof:
    """A checkpoint that is proved to run as it is asked.

    Attributes:
        context: tokens of the request that it was asked about.
        cards: the machine.
        engine: which runs it, as a spec has its name.
        engine_args: that a spec has to name.
        shortened: only requests shorter than are usual fit, and nobody said how long they are to be.
        split: GPUs over which each layer is split, where that was asked for and not chosen.
        speed: what predicts its speed; None where nothing is known of that.
    """

    checkpoint: Checkpoint
    fit: Fit
    context: int
    cards: Cards
    engine: EngineName
    engine_args: tuple[tuple[str, str], ...]
    shortened: bool
    split: int | None
    speed: Estimator | None


def checkpoints(entry: ModelEntry) -> tuple[Checkpoint, ...] | Unplannable:
    """Those that can be planned, in the order in which they are tried: the model's own, then those with more bits.

    Where its own cannot be planned and no other can, the reason.
    """
    own = facts_of(entry)
    known = [] if isinstance(own, Unplannable) else [_checkpoint(entry, entry.id, None, own)]
    for repository, form in variants_of(entry):
        facts = facts_of(entry, repository)
        known += [] if isinstance(facts, Unplannable) else [_checkpoint(entry, repository, form, facts)]
    if not known and isinstance(own, Unplannable):
        return own
    return tuple(sorted(known, key=lambda each: (not each.is_own, -each.bits)))


def _checkpoint(entry: ModelEntry, repository: str, form: str | None, facts: ModelFacts) -> Checkpoint:
    method = quantization_method(facts)
    return Checkpoint(
        entry, repository, facts, method, form or method, _bits(facts), form is None, checkpoint_of(repository) is None
    )


def _bits(facts: ModelFacts) -> int:
    """Of most weights, by what the checkpoint says of itself; the least that there is where it does not say."""
    if facts.quantization is None:
        return _PLAIN_BITS
    said = [bits for bits in _said_bits(facts.quantization) if _LEAST_BITS <= bits <= _PLAIN_BITS]
    if said:
        return min(said)
    words = f"{checkpoint_format(facts)} {facts.quantization}".lower()
    known = (("fp4", 4), ("awq", 4), ("4bit", 4), ("fp8", 8), ("int8", 8))
    return next((bits for word, bits in known if word in words), _LEAST_BITS)


def _said_bits(block: Mapping[str, Any]) -> Iterator[int]:
    for key, value in block.items():
        if key in ("bits", "num_bits", "w_bit") and isinstance(value, int):
            yield value
        elif isinstance(value, Mapping) and key != "input_activations":
            yield from _said_bits(value)


def contexts(entry: ModelEntry, wish: Wish) -> tuple[int, ...]:
    """Tokens of a request that are asked about, most first."""
    if wish.context is not None:
        return (wish.context,)
    longest = min(DEFAULT_CONTEXT, entry.context)
    return (longest, *(shorter for shorter in _SHORTER if shorter < longest))


def proofs(
    tried: Sequence[Checkpoint], wish: Wish, cards: Cards, *, split: int | None = None, needs_all: bool = False
) -> Iterator[Proof | Fit]:
    """Checkpoints that are proved to run, best first; and between them what stands against others.

    Args:
        tried: of one model, those with more bits first.
        split: GPUs over which each layer is split; chosen where it is None.
        needs_all: what fits only with shorter requests is left out.
    """
    left = [each for each in tried if is_small_enough(each, cards)]
    if not left:
        return
    lengths = contexts(left[0].entry, wish)[: 1 if needs_all else None]
    groups = [tuple(group) for _, group in groupby(left, key=lambda each: (not each.is_own, each.bits))]
    shortfall = _shortfall(groups, lengths, wish, cards, split)
    for context in lengths:
        found = False
        for group in groups:
            proof = prove(group, wish, cards, context, split=split)
            found = found or isinstance(proof, Proof)
            yield proof
            lacks = None if found or isinstance(proof, Proof) or proof.short is None else shortfall()
            if lacks is not None:
                yield lacks
                return
        if found:
            return


def _shortfall(
    groups: Sequence[tuple[Checkpoint, ...]], lengths: Sequence[int], wish: Wish, cards: Cards, split: int | None
) -> Callable[[], Fit | None]:
    """What those with the fewest bits lack for the shortest requests; None where they lack nothing. It is asked once.

    Where nothing fits, most of the time would go into asking it of each.
    """

    @cache
    def asked() -> Fit | None:
        if len(groups) * len(lengths) <= _FEW:
            return None
        least = min(groups, key=lambda group: group[0].bits)
        fit = prove(least, wish, cards, lengths[-1], split=split)
        return fit if isinstance(fit, Fit) and fit.short is not None else None

    return asked


_FEW = 2
"""Questions that take no longer than to find out whether they are worth it."""


def proved(tried: Sequence[Checkpoint], wish: Wish, cards: Cards, *, split: int | None = None) -> tuple[Proof, ...]:
    """Those that run as they are asked, without shorter requests."""
    found = proofs(tried, wish, cards, split=split, needs_all=True)
    return tuple(each for each in found if isinstance(each, Proof))


def is_small_enough(checkpoint: Checkpoint, cards: Cards) -> bool:
    """Whether its weights alone could be held."""
    return checkpoint.least_bytes <= memory_of(cards)


@lru_cache(maxsize=256)
def memory_of(cards: Cards) -> int:
    """Bytes of all its GPUs."""
    return sum(device.total for device in machine_of(gpus(cards.gpu, cards.count)).devices)


def prove(
    tried: Sequence[Checkpoint], wish: Wish, cards: Cards, context: int, *, split: int | None = None
) -> Proof | Fit:
    """The best of some checkpoints of one model; where none is proved to fit, what stands against them."""
    entry, node = tried[0].entry, gpus(cards.gpu, cards.count)
    models = {each.repository: each.facts for each in tried}
    demand = replace(demand_of(wish, context), tensor_parallel_size=split)
    fit = ask(models, node, demand, wants_most=False)
    parsers = _parsers(entry, wish)
    if fit.code == _FEATURE and parsers:
        demand = replace(demand, engine_args=parsers)
        fit = ask(models, node, demand, wants_most=False)
    if fit.verdict is not Verdict.FITS or fit.server is None:
        return fit
    chosen = next(each for each in tried if each.repository == fit.candidate)
    is_short = wish.context is None and context < contexts(entry, wish)[0]
    speed = _estimator(fit, demand, cards)
    return Proof(chosen, fit, context, cards, demand.engine, demand.engine_args, is_short, split, speed)


def most_context(checkpoint: Checkpoint, wish: Wish, cards: Cards) -> int | None:
    """Tokens of the longest requests, where those that were asked for do not fit; None where none does."""
    if not is_small_enough(checkpoint, cards):
        return None
    demand = demand_of(wish, contexts(checkpoint.entry, wish)[0])
    fit = ask({checkpoint.repository: checkpoint.facts}, gpus(cards.gpu, cards.count), demand)
    return fit.most_context if fit.short is not None else None


_FEATURE = "E0219"
"""No parser is known by the model's architecture alone; a recipe of the model may name one."""


def _parsers(entry: ModelEntry, wish: Wish) -> tuple[tuple[str, str], ...]:
    """Options that the registry has of a model's recipe, for what clients need."""
    known = {
        "tools": ("tool-call-parser", entry.tool_call_parser),
        "reasoning": ("reasoning-parser", entry.reasoning_parser),
    }
    asked = (known[feature] for feature in wish.features if feature in known)
    return tuple((option, parser) for option, parser in asked if parser is not None)


def demand_of(wish: Wish, context: int) -> Demand:
    """What is asked of a server."""
    return Demand(context=context, concurrency=wish.at_once, task=wish.profile.serving, features=wish.features)


def answers_methods(checkpoint: Checkpoint, wish: Wish) -> bool:
    """Whether it is stored in one of the ways that are asked for."""
    return not wish.methods or answers_quantization(checkpoint.facts, wish.methods) or checkpoint.method in wish.methods


def _estimator(fit: Fit, demand: Demand, cards: Cards) -> Estimator | None:
    question, server = question_of(demand), fit.server
    if server is None:
        return None
    service = question.file.spec.services[SERVICE]
    seats = max(server.demand.terms.seats, server.demand.terms.concurrency)
    return estimator(question.engines[service.engine], service, gpus(cards.gpu, cards.count), server, seats)
