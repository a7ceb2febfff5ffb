"""A recommendation as a spec: what each choice becomes in it, and its text with a word on what may be changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from compiler.choose.demand import release_for_gpus
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.wish import Cards, Wish
from compiler.spec.engines import EngineName
from compiler.units import format_tokens

PORT = 8000
_WIDTH = 80
_SERVICES: Mapping[str, str] = {"embedding": "embed"}


@dataclass(frozen=True, slots=True)
class Part:
    """A service of a stack.

    Attributes:
        name: of the service.
        why: it and no other, in a sentence or two.
    """

    name: str
    choice: Choice
    wish: Wish
    why: str


def service_name(task: str) -> str:
    """By its task, in the word of specs."""
    return _SERVICES.get(task, task)


def quantization_word(choice: Choice) -> str:
    """As a spec asks for the repository alone: one that is quantized already needs no search for others."""
    return "none" if choice.checkpoint.method == "none" else "auto"


def service_data(part: Part, port: int) -> dict[str, Any]:
    """As a spec has it. The repository that was proved is named itself, so that no search may find another."""
    choice, wish = part.choice, part.wish
    data: dict[str, Any] = {
        "model": choice.checkpoint.repository,
        "quantization": quantization_word(choice),
        "task": wish.profile.serving,
        "context": choice.proof.context,
        "concurrency": wish.at_once,
        "port": port,
    }
    if wish.features:
        data["features"] = list(wish.features)
    if choice.proof.engine_args:
        data["engine_args"] = dict(choice.proof.engine_args)
    split = choice.proof.split
    if split is not None:
        data["tensor_parallel_size"] = split
    if wish.min_rate is not None or wish.max_ttft is not None:
        data["objectives"] = _objectives(wish)
    return data


def _objectives(wish: Wish) -> dict[str, Any]:
    rate = {} if wish.min_rate is None else {"tokens_per_second": wish.min_rate}
    return rate if wish.max_ttft is None else {**rate, "ttft_p95": f"{round(wish.max_ttft, 3):g}s"}


def stack_data(parts: Sequence[Part], cards: Cards) -> dict[str, Any]:
    """A spec of these services on one machine, as the solver is asked about it."""
    engines = {part.choice.proof.engine for part in parts}
    return {
        "stack": "fit",
        "engine": {engine: release_for_gpus(engine) for engine in sorted(engines)},
        "nodes": {"node": {"gpus": {"model": cards.gpu, "count": cards.count}}},
        "services": {part.name: service_data(part, PORT + index) for index, part in enumerate(parts)},
        "policy": _policy(parts),
        "targets": ["scripts"],
    }


def _policy(parts: Sequence[Part]) -> dict[str, Any]:
    is_commercial = any(part.wish.commercial for part in parts)
    return {"gated": "allow", **({"commercial": True} if is_commercial else {})}


def spec_text(name: str, parts: Sequence[Part], cards: Cards, modeline: str) -> str:
    """The spec, with why each model is in it and what its licence asks.

    Args:
        name: of the stack.
        modeline: for editors, with its comment sign.
    """
    engines: list[EngineName] = sorted({part.choice.proof.engine for part in parts})
    lines = [
        modeline,
        f"# {', '.join(part.name for part in parts)} on {cards.count} × {cards.gpu}.",
        "# Written by `stackc recommend`; yours to change.",
        f"stack: {name}",
        f"engine: {{{', '.join(f'{engine}: {release_for_gpus(engine)}' for engine in engines)}}}",
        "nodes:",
        "  gpu01: # one machine, by a name of your choice",
        f"    gpus: {{model: {cards.gpu}, count: {cards.count}}}",
        "services:",
    ]
    for index, part in enumerate(parts):
        lines += _service(part, PORT + index)
    lines += ["policy:", *(f"  {key}: {_scalar(value)}{_REMARKS[key]}" for key, value in _policy(parts).items())]
    return "\n".join(lines) + "\n"


def _service(part: Part, port: int) -> list[str]:
    entry = part.choice.entry
    condition = "" if entry.license.condition is None else f": {entry.license.condition}"
    license_ = f"Licence: {entry.license.name}, commercial use {entry.license.commercial}{condition}."
    of = "" if part.choice.checkpoint.is_own else f"Quantized from {entry.id}. "
    words = [f"{of}{part.why}", license_, *([] if entry.trap is None else [f"Trap: {entry.trap}."])]
    lines = [f"  {part.name}:", *(f"    # {line}" for text in words for line in wrap(_plain(text), _WIDTH - 6))]
    return [*lines, *(f"    {key}: {_written(key, value)}" for key, value in service_data(part, port).items())]


def _plain(text: str) -> str:
    """One line of a comment, whatever a user's own file says."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+", " ", text)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_REMARKS: Mapping[str, str] = {
    "gated": " # terms that a model's page on the Hub may ask for are yours to accept",
    "commercial": " # refuses a model whose licence forbids it",
    "context": " # tokens of a request, prompt and answer together",
    "concurrency": " # such requests at once, promised",
    "objectives": " # estimated when it is compiled, and checked",
}


def _written(key: str, value: Any) -> str:
    remark = _REMARKS.get(key, "")
    if key == "context":
        return f"{format_tokens(value)}{remark}"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]{remark}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {each}' for name, each in value.items())}}}{remark}"
    return f"{value}{remark}"
