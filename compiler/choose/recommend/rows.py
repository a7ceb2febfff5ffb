"""Every model that conditions leave, with the best of its checkpoints that does on a machine what is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.choose.fits import Fit
from compiler.choose.recommend.candidates import Proof, is_small_enough, memory_of, proofs, prove, proved
from compiler.choose.recommend.choice import Choice, choice_of, is_fast_enough
from compiler.choose.recommend.constraints import Option, Removed
from compiler.choose.recommend.wish import Cards, Wish
from compiler.prices.user import UserPrices
from compiler.spec.services import POOLING
from compiler.units import format_gib, format_tokens


@dataclass(frozen=True, slots=True)
class Rows:
    """What is proved on one machine.

    Attributes:
        choices: one a model, the best first.
        removed: by memory and by speed.
        whys: of each of these the condition and why it does not meet it, by the model's name.
    """

    choices: tuple[Choice, ...]
    removed: tuple[Removed, ...]
    whys: Mapping[str, tuple[str, str]]


def rows_on(options: Sequence[Option], wish: Wish, cards: Cards, user: UserPrices) -> Rows:
    """The best checkpoint of each model that fits there, and is as fast as is asked."""
    choices: list[Choice] = []
    refused: list[tuple[Option, Fit | None]] = []
    slow: list[tuple[Option, Choice]] = []
    for option in options:
        found = best_of(option, wish, cards, user)
        if not isinstance(found, Choice):
            refused.append((option, found))
        elif is_fast_enough(found, wish):
            choices.append(found)
        else:
            slow.append((option, found))
    removed = (*_unfit(refused, wish, cards), *_slow(slow, wish))
    whys = {option.entry.id: (_named(fit), why_unfit(option, fit, cards)) for option, fit in refused}
    whys |= {option.entry.id: ("speed", _speed_words(choice) or "") for option, choice in slow}
    return Rows(tuple(sorted(choices, key=lambda choice: choice.place)), removed, whys)


def best_of(option: Option, wish: Wish, cards: Cards, user: UserPrices) -> Choice | Fit | None:
    """The first checkpoint of a model that is fast enough; where none is, the fastest that fits.

    Returns:
        Where none fits, what stands against the one that came closest; None where the weights of each are too large.
    """
    fastest: Choice | None = None
    refusal: Fit | None = None
    for proof in _proofs(option, wish, cards):
        if not isinstance(proof, Proof):
            refusal = proof if refusal is None or _is_closer(proof, refusal) else refusal
            continue
        choice = _with_speed(choice_of(option, proof, wish, user), option, wish, user)
        if is_fast_enough(choice, wish):
            return choice
        if fastest is None or (choice.rate or 0) > (fastest.rate or 0):
            fastest = choice
    return fastest or refusal


def _with_speed(choice: Choice, option: Option, wish: Wish, user: UserPrices) -> Choice:
    """Each layer split over its GPUs, where nothing is known of the speed of stages and it fits that way too."""
    count = choice.cards.count
    if choice.measure is not None or count == 1 or wish.profile.serving in POOLING:
        return choice
    cards = replace(choice.proof.cards, count=count)
    split = prove((choice.checkpoint,), wish, cards, choice.proof.context, split=count)
    return choice_of(option, split, wish, user) if isinstance(split, Proof) else choice


def _is_closer(fit: Fit, other: Fit) -> bool:
    """A lack of memory is closer than a refusal, and the least of it closest."""
    return fit.short is not None and (other.short is None or fit.short < other.short)


def _proofs(option: Option, wish: Wish, cards: Cards) -> Iterable[Proof | Fit]:
    """As the solver divides them; where speed is asked for, also over all GPUs, which makes a server faster."""
    yield from proofs(option.checkpoints, wish, cards)
    if cards.count > 1 and (wish.min_rate is not None or wish.max_ttft is not None):
        yield from proofs(option.checkpoints, wish, cards, split=cards.count)


def _unfit(found: Sequence[tuple[Option, Fit | None]], wish: Wish, cards: Cards) -> Iterable[Removed]:
    """What the engine does not serve there as it is asked, and what lacks memory."""
    asked = ", ".join((f"{cards.count} × {cards.gpu}", *(f"`{feature}`" for feature in wish.features)))
    served = [each for each in found if _named(each[1]) == "served"]
    yield _refused("served", f"by the engine on {asked}", served, cards)
    context = "" if wish.context is None else f", {wish.at_once} × {format_tokens(wish.context)} tokens"
    proof = f"proved to fit {cards.count} × {cards.gpu}{context}"
    yield _refused("fit", proof, [each for each in found if each not in served], cards)


def _named(fit: Fit | None) -> str:
    """The condition that is not met: whether the engine serves it at all, or whether it fits."""
    return "served" if fit is not None and fit.short is None else "fit"


def _refused(name: str, asked: str, found: Sequence[tuple[Option, Fit | None]], cards: Cards) -> Removed:
    # What lacks some memory says more than what is many times too large.
    near = [option for option, fit in found if fit is not None]
    best = _best_graded(near or [option for option, _ in found])
    if best is None:
        return Removed(name, asked, 0, is_open=False)
    fit = next(fit for option, fit in found if option is best)
    return Removed(name, asked, len(found), best.entry.id, why_unfit(best, fit, cards), is_open=False)


def why_unfit(option: Option, fit: Fit | None, cards: Cards) -> str:
    """In a compilation's words; by arithmetic alone where that says enough."""
    if fit is None:
        least = min(each.least_bytes for each in option.checkpoints)
        return f"its weights alone take more than {format_gib(least)} GiB of {format_gib(memory_of(cards))}"
    if fit.short is not None:
        return f"the closest of what is known of it is {format_gib(fit.short)} GiB short"
    return f"{fit.reason} [{fit.code}]"


def _slow(found: Sequence[tuple[Option, Choice]], wish: Wish) -> Iterable[Removed]:
    """What of speed takes how many out: time to the first token only those that the rate left."""
    if wish.min_rate is not None:
        slow = [each for each in found if (each[1].rate or 0) < wish.min_rate]
        yield _too_slow("min-speed", f"{wish.min_rate:g} tokens/s for each request", slow)
        found = [each for each in found if each not in slow]
    if wish.max_ttft is not None:
        yield _too_slow("max-ttft", f"{wish.max_ttft:g} s to the first token", found)


def _too_slow(name: str, asked: str, found: Sequence[tuple[Option, Choice]]) -> Removed:
    best = _best_graded([option for option, _ in found])
    choice = next((choice for option, choice in found if option is best), None)
    unsaid = sum(choice.speed is None for _, choice in found)
    return Removed(name, asked, len(found), None if best is None else best.entry.id, _speed_words(choice), unsaid)


def _speed_words(choice: Choice | None) -> str | None:
    if choice is None:
        return None
    if choice.rate is None or choice.ttft is None:
        return "nothing is known of its speed there"
    return f"{choice.rate:.0f} tokens/s and {choice.ttft.expected:.1f} s to the first are expected of it"


def _best_graded(options: Sequence[Option]) -> Option | None:
    return min(options, key=lambda each: (-(each.grade.position or 0), each.entry.id), default=None)


def other_ways(
    options: Mapping[str, Option], rows: Sequence[Choice], wish: Wish, cards: Cards, user: UserPrices, *, most: int
) -> tuple[Choice, ...]:
    """Other checkpoints and divisions of models that are rows, those that read least for a token first.

    Args:
        most: proofs that are worth their time.
    """
    used = {choice.entry.id: choice.checkpoint.repository for choice in rows}
    tried = [
        (option, checkpoint)
        for name, option in options.items()
        if name in used
        for checkpoint in option.checkpoints
        if checkpoint.repository != used[name] and is_small_enough(checkpoint, cards)
    ]
    tried.sort(key=lambda each: (each[1].read_bytes, each[1].repository))
    found: list[Choice] = []
    for option, checkpoint in tried[:most]:
        found += [choice_of(option, proof, wish, user) for proof in proved((checkpoint,), wish, cards)]
    return tuple(choice for choice in found if is_fast_enough(choice, wish))


def wider(rows: Sequence[Choice], wish: Wish, cards: Cards, user: UserPrices, *, most: int) -> tuple[Choice, ...]:
    """The fastest rows again, split over all GPUs of the machine."""
    if cards.count == 1:
        return ()
    fastest = sorted(rows, key=lambda choice: (-(choice.rate or 0), choice.entry.id))[:most]
    found: list[Choice] = []
    for choice in (each for each in fastest if each.cards.count < cards.count):
        option = Option(choice.entry, (choice.checkpoint,), choice.grade)
        split = proved((choice.checkpoint,), wish, cards, split=cards.count)
        found += [choice_of(option, proof, wish, user) for proof in split]
    return tuple(choice for choice in found if is_fast_enough(choice, wish))
