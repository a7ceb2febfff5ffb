"""The table of candidates: whether each is served, and if not, why. For people; nothing is chosen here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from compiler.engines.interface.demand import Variant
from compiler.engines.interface.pinned import PinnedEngines
from compiler.ledger import Verdict
from compiler.lock.models import Lock
from compiler.solve.attempt import expected, high, least_terms, machine_of_stack
from compiler.solve.budget import Solution
from compiler.solve.exact import find_place
from compiler.solve.field import Field, judge_field, worth_trying
from compiler.solve.place import Choice, Shortfall
from compiler.solve.ranking import Asked, why_after
from compiler.solve.stack import seats_of
from compiler.spec.models import Spec
from compiler.units import format_gib


class Standing(StrEnum):
    """What became of a candidate."""

    CHOSEN = "chosen"
    PASSED_OVER = "not chosen"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    UNREAD = "not read"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One row of the table.

    Attributes:
        candidate: key of `Lock.models`, or the name of a repository that was not read.
        method: quantization method, `none`, or None where the repository was not read.
        reason: for its standing.
        code: of a refusal, as in the catalogue of codes.
        short_bytes: by how much it does not fit, where that is why it was passed over.
    """

    candidate: str
    method: str | None
    standing: Standing
    reason: str
    code: str | None = None
    short_bytes: int | None = None


def judge_stack(
    spec: Spec, lock: Lock, engines: PinnedEngines, solutions: Mapping[str, Solution]
) -> dict[str, tuple[Judgement, ...]]:
    """Every service's candidates: the chosen one, the others that may serve in order, the refused, the unread.

    Args:
        solutions: of each node of the spec, by its name; none where the stack does not compile.
    """
    rows: dict[str, tuple[Judgement, ...]] = {}
    for node, here in seats_of(spec, solutions).items():
        rows |= _judge_node(spec.on(node, here), lock, engines, solutions.get(node))
    return {name: rows[name] for name in spec.services}


def _judge_node(
    spec: Spec, lock: Lock, engines: PinnedEngines, solution: Solution | None
) -> dict[str, tuple[Judgement, ...]]:
    """The same for a stack of one node, as it was solved."""
    machine = machine_of_stack(spec)
    field = judge_field(spec, lock, engines, machine)
    table = _Table(spec, field, solution, _reference(spec, engines, field, solution))
    return {name: tuple(_rows(name, lock, table)) for name in spec.services}


@dataclass(frozen=True, slots=True)
class _Table:
    """What rows are made from. `reference` is the choice in which one service's variant at a time is exchanged."""

    spec: Spec
    field: Field
    solution: Solution | None
    reference: Choice


def _reference(spec: Spec, engines: PinnedEngines, field: Field, solution: Solution | None) -> Choice:
    """The stack as solved; where it could not be, every service that can be served, at its smallest."""
    machine = machine_of_stack(spec)
    terms = least_terms(spec.services, engines)
    if solution is not None:
        chosen = {server.demand.service: server.demand.variant for server in solution.servers}
        measure = expected if solution.verdict is Verdict.MARGIN else high
        is_offloaded = any(server.demand.division in server.demand.variant.offloads for server in solution.servers)
        return Choice(terms, chosen, machine, measure, is_offloaded)
    least = Choice(terms, {}, machine, high)
    smallest = {name: tried[-1] for name, tried in worth_trying(field, least).items() if tried}
    return Choice({name: terms[name] for name in smallest}, smallest, machine, high)


def _rows(name: str, lock: Lock, table: _Table) -> Iterator[Judgement]:
    variants, served = table.field.variants[name], table.solution is not None
    chosen = table.reference.variants.get(name) if served else None
    if chosen is not None:
        yield _row(chosen, Standing.CHOSEN, _why_chosen(chosen, variants))
    for variant in variants:
        if variant is not chosen and (chosen is None or variant.name != chosen.name):
            yield _passed_over(name, variant, chosen, table)
    for refusal in table.field.refusals[name]:
        code = refusal.problem.code
        yield Judgement(refusal.candidate, refusal.method, Standing.REFUSED, refusal.reason, code)
    for repository, reason in lock.services[name].unreadable.items():
        yield Judgement(repository, None, Standing.UNREADABLE, reason)
    for repository in lock.services[name].unread:
        publisher = repository.rpartition("/")[0]
        yield Judgement(repository, None, Standing.UNREAD, f"publisher {publisher} is not in policy.publishers")


def _row(variant: Variant, standing: Standing, reason: str) -> Judgement:
    return Judgement(variant.name, variant.method, standing, reason)


def _why_chosen(variant: Variant, variants: tuple[Variant, ...]) -> str:
    first = "the only one that may be served" if len(variants) == 1 else "the best of those that may be served"
    reason = first if variant.name == variants[0].name else "the best that fits"
    return reason if variant.remark is None else f"{reason}; {variant.remark}"


def _passed_over(name: str, variant: Variant, chosen: Variant | None, table: _Table) -> Judgement:
    asked = Asked(table.spec.services[name], table.spec.policy)
    names = [one.name for one in table.field.variants[name]]
    if chosen is not None and names.index(variant.name) > names.index(chosen.name):
        return _row(variant, Standing.PASSED_OVER, why_after(variant, chosen, asked))
    choice = table.reference.exchanged({**table.reference.variants, name: variant})
    found = find_place(choice)
    if not isinstance(found, Shortfall):
        reason = "it may be served, and the stack fails for another reason"
        return _row(variant, Standing.PASSED_OVER, reason if chosen is None else "more of it would lie in main memory")
    return _too_large(name, variant, found, choice)


def _too_large(name: str, variant: Variant, shortfall: Shortfall, choice: Choice) -> Judgement:
    short, other = shortfall.short(choice.measure), shortfall.demand.service
    whom = "it does" if other == name else f"then service `{other}` does"
    reason = f"{whom} not fit: {format_gib(short)} GiB ({short} bytes) short"
    return replace(_row(variant, Standing.PASSED_OVER, reason), short_bytes=short)
