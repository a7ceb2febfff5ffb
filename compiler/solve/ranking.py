"""Which of the candidates that may be served is tried first. The first that fits is served.

Downloads do not count: they change by the day, and the same lock must give the same stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from compiler.engines.vllm.judge.variants import Variant
from compiler.lock.models import repository_of
from compiler.lock.quantization import quantization_names
from compiler.spec.models import PolicySpec, ServiceSpec

_UNQUANTIZED_BITS = 16


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


def why_after(variant: Variant, better: Variant, asked: Asked) -> str:
    """The first rule that puts `variant` after `better`, in words."""
    rule = next((rule for rule in RANKING if rule.key(variant, asked) != rule.key(better, asked)), RANKING[-1])
    return rule.why(variant, better)


def bits_of(variant: Variant) -> int:
    """Bits per weight of the quantized layers."""
    return variant.quantization.bits if variant.quantization is not None else _UNQUANTIZED_BITS


def publisher_of(variant: Variant) -> str:
    """Who made it, in lower case, because the Hub ignores case."""
    return repository_of(variant.name).rpartition("/")[0].lower()


# At equal bits. FP8 keeps the spread of values that integers cut off, activation-aware rounding (compressed-tensors'
# recipes, AWQ) loses less than GPTQ's.
_METHODS = ("none", "fp8", "int8", "compressed-tensors", "awq", "gptq")


def _preference(variant: Variant, asked: Asked) -> int:
    names = quantization_names(variant.facts)
    wanted = asked.service.quantization
    return next((place for place, name in enumerate(wanted) if name == "auto" or name in names), len(wanted))


def _bits(variant: Variant, _: Asked) -> int:
    return -bits_of(variant)


def _method(variant: Variant, _: Asked) -> int:
    return _METHODS.index(variant.method) if variant.method in _METHODS else len(_METHODS)


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
    Rule(_bits, lambda variant, better: f"{bits_of(variant)} bits, the chosen one has {bits_of(better)}"),
    Rule(_method, lambda variant, better: f"{better.method} comes before {variant.method} at {bits_of(better)} bits"),
    # Who made it: the model's own publisher, then policy.publishers in order.
    Rule(_maker, lambda variant, better: f"{publisher_of(better)} comes before {publisher_of(variant)}"),
    # Anything, as long as it is the same tomorrow. `main` comes before a repository's other branches.
    Rule(_name, lambda _, better: f"as good as {better.name}, whose name sorts first"),
)
