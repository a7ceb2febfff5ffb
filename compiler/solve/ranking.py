"""Which of the candidates that may be served is tried first. The first that fits is served.

Downloads do not count: they change by the day, and the same lock must give the same stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from compiler.engines.interface.demand import Variant
from compiler.lock.models import repository_of
from compiler.spec.models import PolicySpec
from compiler.spec.services import ServiceSpec


@dataclass(frozen=True, slots=True)
class Asked:
    """What the order depends on besides the variants."""

    service: ServiceSpec
    policy: PolicySpec


@dataclass(frozen=True, slots=True)
class Rule:
    """One criterion.

    Attributes:
        key: the least goes first.
        why: says why one variant comes after another, which has a smaller key.
    """

    key: Callable[[Variant, Asked], int | str]
    why: Callable[[Variant, Variant], str]


def rank(variants: Iterable[Variant], asked: Asked) -> tuple[Variant, ...]:
    """Best first, by RANKING."""
    return tuple(sorted(variants, key=lambda variant: tuple(rule.key(variant, asked) for rule in RANKING)))


def offloading(variants: Iterable[Variant], asked: Asked) -> tuple[Variant, ...]:
    """In the order in which they are tried with parts in main memory, which takes the longer the more lies there.

    While 4 bits are kept the smallest goes first, below that the largest. A spec that names methods has its own order.
    """
    ranked = rank(variants, asked)
    if asked.service.quantization != ("auto",):
        return ranked
    enough = [variant for variant in ranked if variant.bits_per_weight >= ENOUGH_BITS]
    return (*reversed(enough), *(variant for variant in ranked if variant.bits_per_weight < ENOUGH_BITS))


ENOUGH_BITS = 4
"""Per weight: below that each bit costs more than the one before (llama.cpp, tools/quantize/README.md, b10435)."""


def why_after(variant: Variant, better: Variant, asked: Asked) -> str:
    """The first rule that puts `variant` after `better`, in words."""
    rule = next((rule for rule in RANKING if rule.key(variant, asked) != rule.key(better, asked)), RANKING[-1])
    return rule.why(variant, better)


def publisher_of(variant: Variant) -> str:
    """Who made it, in lower case, because the Hub ignores case."""
    return repository_of(variant.name).rpartition("/")[0].lower()


def _preference(variant: Variant, asked: Asked) -> int:
    names = variant.names
    wanted = asked.service.quantization
    return next((place for place, name in enumerate(wanted) if name == "auto" or name in names), len(wanted))


def _bits(variant: Variant, _: Asked) -> int:
    return -variant.bits


def _method(variant: Variant, _: Asked) -> int:
    return variant.place_of_method


def _why_by_method(variant: Variant, better: Variant) -> str:
    own, other = variant.bits_per_weight, better.bits_per_weight
    if own != other:
        return f"{own:.2f} bits a weight, the chosen one has {other:.2f}"
    return f"{better.method} comes before {variant.method} at {better.bits} bits"


def _maker(variant: Variant, asked: Asked) -> int:
    """The model's own publisher knows it best; then those the user trusts, in the user's order."""
    own = asked.service.model.rpartition("/")[0]
    makers = [own.lower(), *(publisher.lower() for publisher in asked.policy.publishers)]
    return makers.index(publisher_of(variant)) if publisher_of(variant) in makers else len(makers)


def _name(variant: Variant, _: Asked) -> str:
    return variant.name


# Before any of these, fitting: a candidate that may not be served is no variant, and one too large is passed over.
RANKING = (
    # The order in which the spec names methods is the user's own judgement of quality.
    Rule(_preference, lambda variant, better: f"the spec asks for {better.method} before {variant.method}"),
    # Quality: more bits lose less.
    Rule(_bits, lambda variant, better: f"{variant.bits} bits, the chosen one has {better.bits}"),
    Rule(_method, _why_by_method),
    # Who made it: the model's own publisher, then policy.publishers in order.
    Rule(_maker, lambda variant, better: f"{publisher_of(better)} comes before {publisher_of(variant)}"),
    # Anything, as long as it is the same tomorrow. `main` comes before a repository's other branches.
    Rule(_name, lambda _, better: f"as good as {better.name}, whose name sorts first"),
)
