"""What `stackc licenses` says to people: each licence once, the strictest first, with what is used under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from compiler.cli.run.licenses.stack import ModelTerms
from compiler.cli.terminal import wrapped
from compiler.registry.entry import Commercial
from compiler.registry.terms import Held

_SAYS: Mapping[Commercial, str] = {
    "no": "forbidden for",
    "unknown": "not known to be allowed for",
    "conditional": "allowed under conditions for",
    "yes": "allowed for",
}
"""The strictest first."""


def stack_lines(name: str, models: Sequence[ModelTerms]) -> Iterator[str]:
    """One stack."""
    yield from wrapped(f"{name}: {_verdict(models)}", indent=0)
    groups: dict[tuple[str | None, ...], list[tuple[ModelTerms, Held]]] = {}
    for model in models:
        for held in model.held:
            groups.setdefault((held.name, held.condition, held.link), []).append((model, held))
    order = list(_SAYS)
    for group in sorted(groups.values(), key=lambda group: order.index(group[0][1].commercial)):
        yield ""
        yield from _licence(group)
    yield ""


def _verdict(models: Sequence[ModelTerms]) -> str:
    """Never more than the strictest of a model's licences allows."""
    services = {word: [each.service for each in models if each.strictest.commercial == word] for word in _SAYS}
    said = (f"{_SAYS[word]} {', '.join(dict.fromkeys(names))}" for word, names in services.items() if names)
    return f"commercial use is {'; '.join(said)}; what counts is the text behind each link"


def _licence(group: Sequence[tuple[ModelTerms, Held]]) -> Iterator[str]:
    held = group[0][1]
    tag = "" if held.tag is None or held.tag.lower() == held.name.lower() else f" (tag {held.tag})"
    title = "no licence is stated" if held.tag is None else f"{held.name}{tag}"
    yield from wrapped(f"{title}, commercial use: {held.commercial}", indent=0)
    if held.condition is not None:
        yield from wrapped(held.condition)
    yield from wrapped(held.link or "no place is known where its text stands")
    for model, each in group:
        service = model.service if model.is_served else f"{model.service}, if it is served"
        made = "" if each.made_into is None else f", from which {each.made_into} was made"
        said = "" if each.source is None else f" (by the {each.source})"
        yield from wrapped(f"{service}: {each.repository}{made}{said}")
