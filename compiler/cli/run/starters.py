"""What a first spec may serve: models for each task, best first, and the spec's text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from compiler.cli.run.examples import recorded
from compiler.cli.run.machine import Cards
from compiler.engines.registry import ENGINES
from compiler.lock.models import Lock, LockedService
from compiler.schemas.documents import MODELINE
from compiler.spec.engines import LLAMA_CPP, VLLM, EngineName
from compiler.units import GIB, MIB

SCHEMA_FILE = "spec.schema.json"
_PORT = 8000


@dataclass(frozen=True, slots=True)
class Starter:
    """A model that may serve a task.

    Attributes:
        quantization: methods that may be served, in order of preference.
        license: that the policy has to allow; None where nobody has read it yet.
        engine: that serves it.
        keys: others of its service in the spec, as they are written there.
    """

    model: str
    quantization: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    license: str | None = "apache-2.0"
    engine: EngineName = VLLM


# Below 4K a chat soon forgets how it began; more than 32K is asked for by whoever needs it.
_LONG = (("context", "{min: 4K, max: 32K}"), ("concurrency", "{min: 1, max: 16}"))
_SHORT = (("context", "{min: 1K, max: 8K}"), ("concurrency", "{min: 1, max: 4}"))

CHAT = (
    Starter("Qwen/Qwen2.5-14B-Instruct", ("awq", "gptq"), _LONG),
    Starter("Qwen/Qwen2.5-7B-Instruct", ("none",), _LONG),
    Starter("Qwen/Qwen2.5-7B-Instruct", ("awq",), _LONG),
)
CODE = (
    Starter("Qwen/Qwen2.5-Coder-32B-Instruct", ("awq",), _LONG),
    Starter("Qwen/Qwen2.5-Coder-14B-Instruct", ("none",), _LONG),
    Starter("Qwen/Qwen2.5-7B-Instruct", ("awq",), _LONG),
)
EMBED = (Starter("Qwen/Qwen3-Embedding-0.6B", ("none",), (("task", "embed"), *_SHORT)),)
RERANK = (
    Starter("Qwen/Qwen3-Reranker-0.6B", ("none",), (("task", "score"), ("score_tokens", '["no", "yes"]'), *_SHORT)),
)

TASKS: dict[str, dict[str, tuple[Starter, ...]]] = {
    "chat": {"chat": CHAT},
    "code": {"code": CODE},
    "embed": {"embed": EMBED},
    "rerank": {"rerank": RERANK},
    "rag": {"chat": CHAT, "embed": EMBED, "rerank": RERANK},
}
"""The services of each task, and what may serve each, the best first."""

# Every part can be seen to work with it; larger ones a CPU serves slowly.
_SMALL = (("context", "2K"), ("concurrency", "4"), ("max_num_seqs", "8"))
CPU_CHAT = (Starter("HuggingFaceTB/SmolLM2-135M-Instruct", ("none",), _SMALL),)
CPU_TASKS: dict[str, dict[str, tuple[Starter, ...]]] = {
    "chat": {"chat": CPU_CHAT},
    "embed": {"embed": EMBED},
    "rerank": {"rerank": RERANK},
    "rag": {"chat": CPU_CHAT, "embed": EMBED, "rerank": RERANK},
}
"""The same of the CPU, for which no model for code is small enough."""

Choice = dict[str, Starter]


def named(model: str) -> Choice:
    """A model that the user names, for chat; in GGUF files where its name says so, which llama.cpp serves."""
    engine = LLAMA_CPP if "gguf" in model.lower() else VLLM
    keys = (("context", "{min: 4K, max: 32K}"), ("concurrency", "{min: 1, max: 4}"))
    return {"chat": Starter(model, ("auto",), keys, None, engine)}


def choices(tasks: Sequence[str], *, on_cpu: bool = False) -> Iterator[Choice]:
    """Every way to serve the tasks, the best first: the first service gives way last."""
    known = CPU_TASKS if on_cpu else TASKS
    services = {name: starters for task in tasks for name, starters in known[task].items()}
    for combination in product(*services.values()):
        yield dict(zip(services, combination, strict=True))


def recorded_lock(choice: Choice) -> Lock | None:
    """A lock of facts that ship with stackc; None where they do not have all models."""
    services = {name: _recorded(starter) for name, starter in choice.items()}
    found = {name: entry for name, entry in services.items() if entry is not None}
    if len(found) < len(services):
        return None
    return Lock(
        schema=1,
        services={name: entry for name, (entry, _) in found.items()},
        models={key: lock.models[key] for entry, lock in found.values() for key in entry.candidates},
    )


def recorded_tasks(*, on_cpu: bool = False) -> list[str]:
    """Tasks that can be compiled without a network."""
    known = CPU_TASKS if on_cpu else TASKS
    return [task for task in known if any(recorded_lock(each) for each in choices((task,), on_cpu=on_cpu))]


_ALONE: Mapping[str, Any] = {"publishers": (), "adapters": {}, "draft": None, "draft_key": None}


def _recorded(starter: Starter) -> tuple[LockedService, Lock] | None:
    """What a lock found for the same model and quantization by the model's own publisher, whom every policy trusts.

    Where it was locked with adapters or a second model, these are left out.
    """
    for lock in recorded():
        for entry in lock.services.values():
            own = all(name.split("/")[0] == starter.model.split("/")[0] for name in entry.candidates)
            if (entry.model, entry.quantization) == (starter.model, starter.quantization) and own:
                return entry.model_copy(update=_ALONE), lock
    return None


def default_name(tasks: Sequence[str], cards: Cards) -> str:
    """A name that says what runs where, as the spec's names are."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join((*tasks, "cpu" if cards.is_cpu else cards.name or "gpu")).lower())
    return words[:40].strip("-")


def spec_text(name: str, cards: Cards, choice: Choice) -> str:
    """The spec, with a word on each key that a newcomer may want to change."""
    where = "a CPU" if cards.is_cpu else f"{cards.count} × {_plain(cards.title)}"
    engines = {starter.engine: _release(starter.engine, on_cpu=cards.is_cpu) for starter in choice.values()}
    lines = [
        f"{MODELINE}{SCHEMA_FILE}",
        f"# {', '.join(choice)} on {where}, written by `stackc init`; yours to change.",
        f"stack: {name}",
        f"engine: {{{', '.join(f'{engine}: {release}' for engine, release in engines.items())}}}",
        "nodes:",
        *_node(cards),
        "services:",
    ]
    for offset, (service, starter) in enumerate(choice.items()):
        methods = ", ".join(starter.quantization)
        quantization = methods if len(starter.quantization) == 1 else f"[{methods}]"
        lines += [f"  {service}:", f"    model: {starter.model}", f"    quantization: {quantization}{_METHODS}"]
        lines += [
            f"    {key}: {value}{_REMARKS.get(key, '') if value.startswith('{') else ''}" for key, value in starter.keys
        ]
        lines += [f"    port: {_PORT + offset}"]
    licenses = ", ".join(sorted({starter.license for starter in choice.values() if starter.license is not None}))
    if licenses:
        lines += [f"policy: {{licenses: [{licenses}]}} # what may be served; nothing that runs its repository's code"]
    return "\n".join(lines) + "\n"


def _release(engine: EngineName, *, on_cpu: bool) -> str:
    build = "cpu" if on_cpu else "gpu"
    return next(release.version for release in ENGINES[engine].releases.values() if release.build in (None, build))


_METHODS = " # what may be served: none, awq, Q4_K_M, …, or auto"
_REMARKS = {
    "context": " # tokens of a request, prompt and answer: the most that fit",
    "concurrency": " # such requests at once: the most that fit",
}


def _node(cards: Cards) -> tuple[str, ...]:
    if cards.is_cpu:
        cpu = f"    cpu: {{memory: {(cards.memory or GIB) // GIB}GiB}} # of its main memory"
        return "  cpu01: # one machine, by a name of your choice", cpu
    return (
        "  gpu01: # one machine, by a name of your choice",
        f"    gpus: {_gpus(cards)}",
        "    reserve: 1GiB # kept free on each GPU: a desktop session, monitoring",
    )


def _plain(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ().-]", "", title)[:60]


def _gpus(cards: Cards) -> str:
    keys = [f"model: {cards.name}"] if cards.name else []
    if cards.memory is not None:
        keys += [f"memory: {cards.memory // MIB}MiB"]
        keys += [f'compute_capability: "{cards.compute_capability}"']
    keys += [f"count: {cards.count}"]
    keys += [f"mig: {cards.mig}"] if cards.mig else []
    keys += [f"uuids: [{', '.join(cards.uuids)}]"] if cards.uuids else []
    return f"{{{', '.join(keys)}}}"
