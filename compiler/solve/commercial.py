"""`policy.commercial`: models whose licence, or that of what they were made from, does not allow commercial use.

What is not known is refused as well: a guess would be the user's risk. What a licence demands is told, with its link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import ModelFacts, repository_of
from compiler.registry.read import Registry, registry
from compiler.registry.terms import Held, strictest, terms_of
from compiler.spec.models import PolicySpec
from compiler.spec.reading.load import SpecFile


def commercial_refusal(candidate: Candidate, locked: Mapping[str, ModelFacts], policy: PolicySpec) -> Refusal | None:
    """E0322: a licence that forbids commercial use, or of which that is not known."""
    held = _binding(candidate.name, locked, policy)
    worst = strictest(held) if held else None
    if worst is None or worst.commercial in ("yes", "conditional"):
        return None
    reason = _reason(worst)
    message = f"`{candidate.name}` is not for `policy.commercial`: {reason}"
    problem = Problem(
        "E0322",
        candidate.service,
        ("model",),
        message,
        notes=_notes(worst),
        remedies=_remedies(candidate, worst, policy),
    )
    return Refusal(candidate.name, candidate.method, reason, problem)


def conditions(
    file: SpecFile, locked: Mapping[str, ModelFacts], served: Iterable[tuple[str, str]]
) -> Iterator[Diagnostic]:
    """W0308: what licences demand of commercial use.

    Args:
        served: services and the keys of what they serve.
    """
    policy = file.spec.policy
    for service, name in served:
        for each in _binding(name, locked, policy):
            if each.commercial == "conditional":
                message = f"commercial use of `{name}` has conditions: {_whose(each)} licence is {each.name}"
                label = file.at("services", service, "model")
                helps = (Help(f"read it, then name `{repository_of(name)}` in `policy.licensed`"),)
                yield Diagnostic("W0308", message, label, _notes(each), helps)


def _binding(name: str, locked: Mapping[str, ModelFacts], policy: PolicySpec) -> tuple[Held, ...]:
    """Licences of a model without those that the user answers for."""
    cleared = {each.lower() for each in policy.licensed}
    if not cleared.isdisjoint((name.lower(), repository_of(name).lower())):
        return ()
    return tuple(each for each in terms_of(name, locked, _known()) if each.repository.lower() not in cleared)


@cache
def _known() -> Registry:
    """Only what ships: a stack must compile to the same on every machine."""
    return registry()


def _reason(held: Held) -> str:
    if held.tag is None:
        return "its licence is not known" if held.made_into is None else f"{_whose(held)} licence is not known"
    says = "forbids commercial use" if held.commercial == "no" else "is not known to allow commercial use"
    return f"{_whose(held)} licence, {held.name}, {says}"


def _whose(held: Held) -> str:
    return "its" if held.made_into is None else f"it was made from `{held.repository}`, whose"


def _notes(held: Held) -> tuple[str, ...]:
    condition = () if held.condition is None else (held.condition,)
    return (*condition, *(() if held.link is None else (_link(held.link, held.repository),)))


def _link(link: str, repository: str) -> str:
    return f"its page: {link}" if link.endswith(f"/{repository}") else f"its text: {link}"


def _remedies(candidate: Candidate, held: Held, policy: PolicySpec) -> tuple[Remedy, ...]:
    name = repository_of(candidate.name)
    why = "an agreement of your own allows it" if held.commercial == "no" else "you read its licence and it allows it"
    clear = Edit(("policy", "licensed"), (*policy.licensed, name))
    return (
        Remedy(f"name `{name}` in `policy.licensed`, if {why}", (clear,), kind="licence"),
        Remedy("remove `policy.commercial`, if nothing here is commercial use", (_NOT_COMMERCIAL,), kind="commercial"),
    )


_NOT_COMMERCIAL = Edit(("policy", "commercial"), None)
