"""What a model is asked to do, without a file: a demand becomes a spec of one service, checked as any other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, Severity, SourceText
from compiler.engines.interface.pinned import PinnedEngine, PinnedEngines
from compiler.engines.registry import ENGINES
from compiler.spec.engines import VLLM, EngineName
from compiler.spec.models import PolicySpec
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.ranges import ConcurrencyRange, ContextRange
from compiler.spec.reading.load import SpecFile, load_spec
from compiler.spec.services import Feature, ServiceSpec, Task

SERVICE, NODE = "server", "node"
_STACK = "fit"
_MODEL = "publisher/model"


# Who asks about gated models has been let in already.
_OPEN = PolicySpec(gated="allow")


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a server, whichever model it has.

    Attributes:
        context: tokens of one request, prompt and answer together; None for as many as fit.
        concurrency: such requests at once; None for as many as fit.
        task: as in a spec.
        features: what clients need beyond it.
        quantization: methods that may be served, in order of preference.
        kv_cache_dtype: as in a spec.
        tensor_parallel_size: GPUs over which each layer is split; chosen where it is None.
        pipeline_parallel_size: stages; chosen where it is None.
        engine_args: further options of the engine by their names, as in a spec.
        engine: which runs it, in the release that serves on GPUs.
        assumes_full: architectures without formulas count as full attention in every layer.
        policy: what may be served.
    """

    context: int | None = 8192
    concurrency: int | None = 1
    task: Task = "completion"
    features: tuple[Feature, ...] = ()
    quantization: tuple[str, ...] = ("auto",)
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    engine_args: tuple[tuple[str, str], ...] = ()
    engine: EngineName = VLLM
    assumes_full: bool = False
    policy: PolicySpec = _OPEN

    @property
    def service(self) -> Mapping[str, Any]:
        """Its part of a spec, as plain data."""
        degrees = ("tensor_parallel_size", "pipeline_parallel_size")
        return {
            "context": "max" if self.context is None else self.context,
            "concurrency": "max" if self.concurrency is None else self.concurrency,
            "task": self.task,
            "features": list(self.features),
            "quantization": list(self.quantization),
            "kv_cache_dtype": self.kv_cache_dtype,
            **({"engine_args": dict(self.engine_args)} if self.engine_args else {}),
            **{key: getattr(self, key) for key in degrees if getattr(self, key) is not None},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A demand as the solver takes it.

    Attributes:
        file: of a spec whose model and node are exchanged.
        faults: what no model and no card can help, such as a feature that the task has not.
    """

    file: SpecFile
    engines: PinnedEngines
    faults: tuple[Diagnostic, ...]

    @property
    def count(self) -> int:
        """GPUs of its own node."""
        node = self.file.spec.nodes[NODE]
        return 1 if node.gpus is None else node.gpus.count

    def of(self, model: str, node: NodeSpec, **ranges: ContextRange | ConcurrencyRange) -> SpecFile:
        """The same of a model and a machine, with other ranges."""
        service = _service(self, model)
        service = service.model_copy(update=ranges) if ranges else service
        spec = self.file.spec.model_copy(update={"nodes": {NODE: node}, "services": {SERVICE: service}})
        return replace(self.file, spec=spec)


@lru_cache(maxsize=256)
def _service(question: Question, model: str) -> ServiceSpec:
    """One object for all machines, by which an engine knows that it has judged this before."""
    return question.file.spec.services[SERVICE].model_copy(update={"model": model})


def release_for_gpus(engine: EngineName) -> str:
    """The first release of an engine that serves on GPUs."""
    return next(release.version for release in ENGINES[engine].releases.values() if release.build in (None, "gpu"))


@lru_cache(maxsize=64)
def question_of(demand: Demand) -> Question:
    """A demand, read and checked once.

    Raises:
        ValueError: it has values that no spec can have.
    """
    data = {
        "stack": _STACK,
        "engine": {demand.engine: release_for_gpus(demand.engine)},
        "nodes": {NODE: {"gpus": {"model": _ANY_CARD}}},
        "services": {SERVICE: {"model": _MODEL, "engine": demand.engine, "port": 8000, **demand.service}},
        # Nothing is deployed: images and packages are no part of the question.
        "targets": ["scripts"],
    }
    question, found = read_question(json.dumps(data), policy=demand.policy, assumes_full=demand.assumes_full)
    if question is None:
        raise ValueError("; ".join(each.message for each in found))
    return question


def read_question(
    text: str, *, policy: PolicySpec | None = None, assumes_full: bool = False
) -> tuple[Question | None, tuple[Diagnostic, ...]]:
    """A spec of one service and one node as text, or why it is none.

    Args:
        policy: in place of what the spec says.
    """
    file, found = load_spec(SourceText(f"{_STACK}.yaml", text), ENGINES)
    if file is None:
        return None, found
    spec = file.spec if policy is None else file.spec.model_copy(update={"policy": policy})
    engines: dict[str, PinnedEngine] = {
        name: ENGINES[name].pin(release, None, assumes_full=assumes_full)
        for name, release in spec.engine.releases.items()
    }
    # On which cards it is asked is another matter.
    anywhere = spec.model_copy(update={"nodes": {NODE: gpus(_ANY_CARD, _MOST_CARDS)}})
    # Other engines would be imported for nothing: none of their keys is asked for.
    pinned = {name: ENGINES[name] for name in engines}
    faults = errors_of(check_spec(replace(file, spec=anywhere), pinned))
    return Question(replace(file, spec=spec), engines, faults), found


def errors_of(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those that stop a compilation."""
    return tuple(each for each in found if each.severity is Severity.ERROR)


# One on which every engine runs, and the most that one machine may have.
_ANY_CARD, _MOST_CARDS = "h100-80gb", 1024


def gpus(model: str, count: int = 1) -> NodeSpec:
    """A machine with cards of the catalogue."""
    return NodeSpec(gpus=(GpusSpec(model=model, count=count),))
