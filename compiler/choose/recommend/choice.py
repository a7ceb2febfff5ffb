"""A proved way to serve a model, with everything by which it is compared with others."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.choose.grades import Grade, Penalty, penalty
from compiler.choose.recommend.candidates import Checkpoint, Proof
from compiler.choose.recommend.constraints import Option
from compiler.choose.recommend.wish import Budget, Cards, Wish
from compiler.plan.speed import Measure
from compiler.prices.costs import per_million
from compiler.prices.machines import MachineCost, machine_cost
from compiler.prices.ranges import Range
from compiler.prices.user import UserPrices
from compiler.registry.entry import ModelEntry
from compiler.speed.estimate import Estimate
from compiler.speed.speed import Speed

GRADE_ORDER = ("graded", "thin", "no_common_test", "unknown")
"""In which models are listed: those of whose quality less is known come later, whatever that is."""

_DAY = len("20260131")
_LITTLE = Penalty(0.0, 0.0, "")


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to serve a model.

    Attributes:
        grade: of the model as its makers publish it.
        penalty: what the checkpoint's format costs of it; None where nothing is published of that.
        measure: its speed with as many requests as are asked for; None where nothing is known of that.
        cost: of the GPUs that it takes, by the hour; None where no price of them is known.
    """

    proof: Proof
    grade: Grade
    penalty: Penalty | None
    measure: Measure | None
    cost: MachineCost | None

    @property
    def checkpoint(self) -> Checkpoint:
        """What is served."""
        return self.proof.checkpoint

    @property
    def entry(self) -> ModelEntry:
        """The model."""
        return self.proof.checkpoint.entry

    @property
    def cards(self) -> Cards:
        """The GPUs that it takes: of the machine's no more than it is divided over."""
        return Cards(self.proof.cards.gpu, self.proof.fit.gpus or 1, self.proof.cards.are_owned)

    @property
    def quality(self) -> float | None:
        """Its place at the task, less what the format costs in the middle; None where it has no place."""
        if self.grade.position is None:
            return None
        lost = self.penalty or _LITTLE
        return self.grade.position * (1 - (lost.low + lost.high) / 2)

    @property
    def quality_bounds(self) -> tuple[float, float] | None:
        """Between which that lies, with what is unsure of both."""
        low, high = self.grade.low, self.grade.high
        if low is None or high is None:
            return None
        lost = self.penalty or _LITTLE
        return low * (1 - lost.high), high * (1 - lost.low)

    @property
    def speed(self) -> Speed | None:
        """What one request sees, and the server does in all."""
        return None if self.measure is None else self.measure.speed

    @property
    def ttft(self) -> Estimate | None:
        """Seconds to the first token that 95 of 100 requests see at most."""
        return None if self.measure is None else self.measure.ttft_p95

    @property
    def rate(self) -> float | None:
        """Tokens a second that one request gets, as expected."""
        return None if self.speed is None else self.speed.request_rate.expected

    @property
    def weights(self) -> int:
        """Bytes of the weights on all GPUs."""
        return self.proof.fit.weights or 0

    @property
    def per_hour(self) -> Range | None:
        """Of its GPUs, in the currency of `cost.counted`."""
        counted = None if self.cost is None else self.cost.counted
        return None if counted is None else counted.per_hour

    @property
    def currency(self) -> str | None:
        """Of all amounts."""
        counted = None if self.cost is None else self.cost.counted
        return None if counted is None else counted.currency

    @property
    def per_million(self) -> Range | None:
        """Of output tokens, if the server were always as busy as is asked; None without a price or a speed."""
        if self.per_hour is None or self.speed is None:
            return None
        rate = self.speed.output_rate
        return per_million(self.per_hour, (rate.low, rate.expected, rate.high), 1)

    @property
    def place(self) -> tuple[bool, int, float, int, str]:
        """In a list by quality, the best first; what only shorter requests fit comes last.

        Of those without a place the newest comes first.
        """
        kind, quality = GRADE_ORDER.index(self.grade.kind), -(self.quality or 0.0)
        newest = -int((self.entry.released or "0").replace("-", "").ljust(_DAY, "0")) if not quality else 0
        return self.proof.shortened, kind, quality, newest, self.entry.id.lower()


def choice_of(option: Option, proof: Proof, wish: Wish, user: UserPrices) -> Choice:
    """A proof with what else is known of it."""
    lost = _penalty(proof.checkpoint)
    measure = None if proof.speed is None else proof.speed.under(wish.at_once)
    cost = machine_cost(proof.cards.gpu, proof.fit.gpus or 1, user)
    return Choice(proof, option.grade, lost, measure, cost if cost.counted is not None else None)


def _penalty(checkpoint: Checkpoint) -> Penalty | None:
    """A checkpoint as its maker trained it has lost nothing."""
    if checkpoint.is_own:
        return _LITTLE
    return penalty(checkpoint.form, checkpoint.entry.parameters, native=False)


def is_fast_enough(choice: Choice, wish: Wish) -> bool:
    """Whether it is expected to be as fast as is asked; never where nothing is known of its speed."""
    if wish.min_rate is None and wish.max_ttft is None:
        return True
    if choice.rate is None or choice.ttft is None:
        return False
    is_quick = wish.min_rate is None or choice.rate >= wish.min_rate
    return is_quick and (wish.max_ttft is None or choice.ttft.expected <= wish.max_ttft)


def is_within(choice: Choice, budget: Budget | None) -> bool:
    """Whether its GPUs are owned, or somebody offers them for no more."""
    if budget is None or choice.cards.are_owned:
        return True
    return choice.per_hour is not None and choice.currency == budget.currency and choice.per_hour.low <= budget.per_hour
