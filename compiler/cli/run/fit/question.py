"""What `stackc fit` was asked, as a spec of one service would say it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from compiler.choose.demand import NODE, SERVICE
from compiler.cli.quoted import CommandLine, command_line
from compiler.cli.run.machine import detect
from compiler.engines.registry import ENGINES
from compiler.lock.models import Format
from compiler.spec.engines import LLAMA_CPP, VLLM

_LONGEST_NUMBER = 18
_SLICE = "MIG-00000000-0000-0000-0000-{:012}"


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a question, as they were typed.

    Attributes:
        gpu: a name.
        memory, compute_capability: of a card that is not in the catalogue, or in place of the catalogue's.
        mig: a slice of each.
        host_memory: main memory beside them.
        typed: what was typed in place of the name.
    """

    gpu: str
    count: int = 1
    memory: str | None = None
    compute_capability: str | None = None
    mig: str | None = None
    host_memory: str | None = None
    typed: str = ""

    def node(self, ranks: int) -> dict[str, Any]:
        """A machine with as many of them as are asked for, and as a division needs."""
        count = max(self.count, ranks)
        gpus: dict[str, Any] = {"model": self.gpu, "count": count, **self.figures}
        if self.mig is not None:
            gpus |= {"mig": self.mig, "uuids": [_SLICE.format(index) for index in range(count)]}
        return {"gpus": gpus} | ({} if self.host_memory is None else {"memory": self.host_memory})

    @property
    def figures(self) -> dict[str, str]:
        """Those that win over the catalogue's."""
        figures = {"memory": self.memory, "compute_capability": self.compute_capability}
        return {key: value for key, value in figures.items() if value is not None}

    @property
    def options(self) -> dict[str, tuple[str, Any]]:
        """As they are typed."""
        options: dict[str, tuple[str, Any]] = {"gpu": ("--gpu", self.typed or self.gpu)}
        options |= {key: (f"--{key.replace('_', '-')}", value) for key, value in self.figures.items()}
        options |= {"count": ("--count", self.count)} if self.count > 1 else {}
        options |= {"mig": ("--mig", self.mig)} if self.mig is not None else {}
        return options


@dataclass(frozen=True, slots=True)
class FitQuestion:
    """A question of the command line.

    Attributes:
        model: a repository, or the real path of a folder.
        data: of the spec that asks the same.
        typed: the command, for findings to point at.
    """

    model: str
    engine: str
    quantization: str
    publishers: tuple[str, ...]
    data: dict[str, Any]
    typed: CommandLine

    @property
    def formats(self) -> frozenset[Format]:
        """Of files that its engine reads."""
        return ENGINES[self.engine].formats

    def about(self, model: str, publishers: tuple[str, ...]) -> FitQuestion:
        """The same of a model by its full name, whose quantized variants may be by others too."""
        services = {SERVICE: {**self.data["services"][SERVICE], "model": model}}
        policy = {**self.data["policy"], "publishers": list(publishers)}
        return replace(
            self, model=model, publishers=publishers, data={**self.data, "services": services, "policy": policy}
        )


def cards_here(asked: Cards, count: int | None) -> Cards:
    """The GPUs of this machine, or their slices: of several models those of which there are most.

    Args:
        asked: what was typed besides.
        count: fewer than there are.

    Raises:
        click.UsageError: nvidia-smi finds none, or one of which it does not say enough.
    """
    found = next(iter(detect()), None)
    if found is None:
        raise click.UsageError("nvidia-smi finds no GPU on this machine: --gpu names one")
    memory = None if found.memory is None else f"{found.memory}B"
    if found.name is None and (memory is None or found.compute_capability is None):
        raise click.UsageError(f"nvidia-smi does not say enough of {found.title}: --gpu, with the figures of the card")
    return Cards(
        found.name or found.title,
        count or found.count,
        memory,
        found.compute_capability,
        found.mig,
        asked.host_memory,
    )


def fit_question(
    model: str, cards: Cards, *, concurrency: str, publishers: tuple[str, ...], engine: str | None, **service: Any
) -> FitQuestion:
    """What the options mean.

    Raises:
        click.UsageError: no model can be called so.
    """
    if "\0" in model:
        raise click.UsageError("the name of a model holds no NUL")
    place = os.path.realpath(model) if model.startswith((".", "/")) else model
    sizes = {key: value for key, value in service.items() if value is not None}
    ranks = sizes.get("tensor_parallel_size", 1) * sizes.get("pipeline_parallel_size", 1)
    chosen, engine = engine, engine or (LLAMA_CPP if "gguf" in model.lower() else VLLM)
    asked = {"model": place, "port": 8000, "concurrency": _number(concurrency), **sizes}
    data = {
        "stack": "fit",
        "engine": {engine: next(r.version for r in ENGINES[engine].releases.values() if r.build in (None, "gpu"))},
        "nodes": {NODE: cards.node(ranks)},
        "services": {SERVICE: asked},
        "policy": {"publishers": list(publishers), "gated": "allow"},
        # Nothing is deployed: images and packages are no part of the question.
        "targets": ["scripts"],
    }
    options = dict(cards.options)
    options |= {"engine": ("--engine", chosen)} if chosen is not None else {}
    options |= {"host_memory": ("--host-memory", cards.host_memory)} if cards.host_memory is not None else {}
    options |= {"concurrency": ("--concurrency", concurrency)}
    options |= {key: (_SHORT.get(key, f"--{key.replace('_', '-')}"), value) for key, value in sizes.items()}
    return FitQuestion(place, engine, sizes["quantization"], publishers, data, command_line(model, _typed(options)))


_SHORT = {"tensor_parallel_size": "--tp", "pipeline_parallel_size": "--pp"}
# What is left to its default is not quoted, but for the size of the request, which an answer is about.
_SILENT = {"concurrency": "1", "task": "completion", "quantization": "auto", "kv_cache_dtype": "auto"}


def _typed(options: Mapping[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    return {key: each for key, each in options.items() if _SILENT.get(key) != each[1]}


def _number(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER else value
