"""`stackc recommend`: read what is asked, answer it, and end the run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.recommend.candidates import memory_of
from compiler.choose.recommend.lists import Criterion
from compiler.choose.recommend.machines import offers
from compiler.choose.recommend.recommend import Recommendation, recommend, why_not
from compiler.choose.recommend.relax import Asked, Relaxation, relaxations
from compiler.choose.recommend.reverse import machines_for
from compiler.choose.recommend.shared import stack_for
from compiler.choose.recommend.stack import Stack
from compiler.choose.recommend.wish import Cards
from compiler.choose.recommend.written import Part, service_name
from compiler.cli.report import Exit, finish
from compiler.cli.run.models.known import known_models, unknown_model
from compiler.cli.run.recommend.asked import also_of, cards_of, wish_of
from compiler.cli.run.recommend.document import choice_object, recommendation_object
from compiler.cli.run.recommend.lines import machine_words, recommendation_lines
from compiler.cli.run.recommend.machines import machines_lines, machines_object
from compiler.cli.run.recommend.stacks import stack_lines, stack_object
from compiler.cli.run.recommend.write import place, write_spec
from compiler.cli.terminal import wrapped
from compiler.diagnostics import Diagnostic
from compiler.prices.text import amount_text
from compiler.prices.user import UserPrices, user_prices
from compiler.registry.entry import ModelEntry, Task
from compiler.registry.read import Registry
from compiler.report.paint import Line
from compiler.source.user_file import SPECS, user_files

_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class _Told:
    """What a run says at its end."""

    lines: list[str | Line] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _World:
    """What is known whatever is asked."""

    known: Registry
    user: UserPrices
    problems: tuple[Diagnostic, ...]
    form: str

    def entry(self, name: str) -> ModelEntry:
        """A model by its name; the run ends where it is not known."""
        found = self.known.find(name)
        if found is None:
            finish(self.form, (*self.problems, unknown_model(name, self.known)), result={}, lines=())
        return found


def run(
    *,
    task: str | None,
    gpu: str | None,
    count: int | None,
    here: bool,
    model: str | None,
    also: str | None,
    questioned: tuple[str, ...],
    shows_all: bool,
    target: Path | None,
    pick: Criterion,
    form: str,
    **options: Any,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    cards, others = cards_of(gpu, count, here=here), also_of(also)
    if target is not None:
        place(target)
    known = known_models()
    user, problems = user_prices(user_files(Path(SPECS)), dt.datetime.now(dt.UTC).date())
    world = _World(known, user, (*known.problems, *problems), form)
    if model is not None:
        if others or target is not None or questioned:
            raise click.UsageError("--model asks for cards; --also, --write and --why-not are about models")
        _cards_for(world.entry(model), task, cards, options, world, shows_all=shows_all)
    if task is None:
        raise click.UsageError("say what for: --task")
    if task in others:
        raise click.UsageError(f"--also is of other tasks than {task}")
    wish = wish_of(task, **options)
    machine = _largest_owned(user) if cards is None and wish.budget is None else cards
    if machine is None and others:
        raise click.UsageError("--also is of services on the same cards: name them with --gpu")
    entries = [world.entry(name) for name in questioned]
    found = _checked(lambda: recommend(known, wish, machine, user))
    told = _Told([*recommendation_lines(found, known, shows_all=shows_all)], recommendation_object(found, known))
    _answer(entries, found, told)
    _finish(found, _Rest(machine, others, target, pick), world, told)


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is asked beside a recommendation.

    Attributes:
        cards: None for rented ones.
        target: where a spec goes; None where none is asked for.
    """

    cards: Cards | None
    others: Sequence[Task]
    target: Path | None
    pick: Criterion


def _finish(found: Recommendation, rest: _Rest, world: _World, told: _Told) -> NoReturn:
    """Stacks, what would help, and the spec; then the run ends."""
    stack = _together(found, rest.others, rest.cards, world, told)
    if not found.rows:
        _relax(found, rest.cards, world, told)
    is_served = bool(found.rows) and (stack is not None or not rest.others)
    if rest.target is not None and is_served:
        parts, machine = _parts(found, stack, rest.pick, rest.cards)
        told.lines += write_spec(rest.target, parts, machine, world.form)
        told.result["written"] = str(rest.target)
    code = Exit.FINE if is_served else Exit.FAILED
    finish(world.form, world.problems, result=told.result, lines=told.lines, otherwise=code)


def _largest_owned(user: UserPrices) -> Cards:
    """The user's own machine with most memory.

    Raises:
        click.UsageError: no file describes any.
    """
    machines = [Cards(each.gpu, each.count, are_owned=True) for each in user.owned if each.gpu in GPUS]
    if not machines:
        raise click.UsageError("say on what: --gpu, --here, --budget for rented cards, or `hardware` in models.yaml")
    return max(machines, key=lambda cards: (memory_of(cards), cards.gpu))


def _checked(answer: Callable[[], _Answer]) -> _Answer:
    """Values that no spec can have are the user's to mend."""
    try:
        return answer()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _cards_for(
    entry: ModelEntry,
    task: str | None,
    cards: Cards | None,
    options: dict[str, Any],
    world: _World,
    *,
    shows_all: bool,
) -> NoReturn:
    """The other way round; a model's own first task where none is asked for."""
    wish = wish_of(task or (entry.tasks[0] if entry.tasks else "chat"), **options)
    found = _checked(lambda: machines_for(entry, wish, world.known, world.user, cards))
    is_served = bool(found.let or found.owned)
    finish(
        world.form,
        world.problems,
        result=machines_object(found, world.known),
        lines=list(machines_lines(found, shows_all=shows_all)),
        otherwise=Exit.FINE if is_served else Exit.FAILED,
    )


def _answer(entries: Sequence[ModelEntry], found: Recommendation, told: _Told) -> None:
    """Where the models stand that were asked about, and why."""
    told.result["why_not"] = {entry.id: why_not(entry, found) for entry in entries}
    for entry in entries:
        trap = "" if entry.trap is None else f"; trap: {entry.trap}"
        told.lines += wrapped(f"{entry.id}: {why_not(entry, found)}{trap}", indent=0)


def _together(
    found: Recommendation, others: Sequence[Task], cards: Cards | None, world: _World, told: _Told
) -> Stack | None:
    """The stack of all tasks, where there are several."""
    if not others or cards is None:
        return None
    stack = stack_for(found, others, cards, world.known, world.user)
    told.lines += stack_lines(stack)
    told.result["stack"] = None if stack is None else stack_object(stack, world.known)
    return stack


def _relax(found: Recommendation, cards: Cards | None, world: _World, told: _Told) -> None:
    """What took the last model out, and what would help."""
    last = next((each for each in reversed(found.removed) if each.count), None)
    asked = Asked(tuple(world.known.models.values()), found.wish, cards, world.user, found.grades)
    helps = relaxations(asked)
    told.result["last_removed_by"] = None if last is None else last.constraint
    told.result["relaxations"] = [
        {"change": each.change, "example": choice_object(each.example, world.known)} for each in helps
    ]
    told.lines += ["", *_nothing(found, world), *(line for each in helps for line in wrapped(_help(each)))]


def _nothing(found: Recommendation, world: _World) -> Sequence[str]:
    last = next((each for each in reversed(found.removed) if each.count), None)
    budget = found.wish.budget
    if not found.machines and budget is not None:
        known = offers(world.user, budget.currency)
        least = f"; the least is {amount_text(known[0].per_hour)}, for {machine_words(known[0].cards)}" if known else ""
        return list(
            wrapped(f"no card is offered for so little in {budget.currency}{least}. What would help:", indent=0)
        )
    by = "" if last is None else f": {last.constraint} takes out the last"
    return list(wrapped(f"nothing is left{by}. What would help, each tried:", indent=0))


def _help(each: Relaxation) -> str:
    return f"{each.change}: then {each.example.checkpoint.repository} serves, for one"


def _parts(
    found: Recommendation, stack: Stack | None, pick: Criterion, cards: Cards | None
) -> tuple[Sequence[Part], Cards]:
    """The services of the spec, and the machine."""
    if stack is not None and cards is not None:
        return stack.parts, cards
    chosen = next((each for each in found.lists if each.criterion == pick), None)
    if chosen is None:
        raise click.UsageError(f"--pick {pick}: nothing is known of that for these models")
    choice = chosen.choices[0]
    why = f"{pick}: of {chosen.among}, {chosen.decided}."
    return (Part(service_name(found.wish.task), choice, found.wish, why),), cards or choice.proof.cards
