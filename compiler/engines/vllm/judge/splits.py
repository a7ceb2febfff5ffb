"""Ways to divide a model over GPUs: which the spec allows, and which of them vLLM accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from compiler.checkpoints.architecture import Architecture, Experts, served_dtype
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.pooling import gives_labels
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.quantization.read import Quantization
from compiler.checkpoints.read import architecture_name
from compiler.engines.interface.candidate import Candidate
from compiler.engines.interface.device import Device, Machine
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kernels.expert_kernels import check_experts
from compiler.engines.vllm.kernels.kept import cache_flag, probe_layout
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.engines.vllm.releases.quantization import BFLOAT16_CAPABILITY, Capability
from compiler.engines.vllm.releases.release import Release
from compiler.spec.models import PolicySpec
from compiler.spec.services import ServiceSpec

# GPUs that one service is spread over unless the spec says: more are not found in one machine.
MOST_GPUS = 16


# v1/worker/cpu_model_runner.py:warming_up_model of 0.32.0: what stages hand over has a place only after a first run,
# which an eager server does not make. It turns healthy, and its engine dies of the first request.
_EAGER_STAGES = "on CPUs, stages answer nothing with `enforce_eager` or `adapters`"
_NETWORK_KEY = "`split_over_network: true` allows it, and each layer waits for the network"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a candidate is judged by: the spec's policy, the engine, and the machine.

    Attributes:
        known: answers that do not depend on the service, because many services may share a model.
    """

    policy: PolicySpec
    release: Release
    machine: Machine
    known: dict[tuple[object, ...], object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def device(self) -> Device:
        """Like each of the machine's."""
        return self.machine.devices[0]

    @property
    def capability(self) -> Capability | None:
        """Of each GPU; None on a CPU."""
        return self.device.capability

    @property
    def devices(self) -> int:
        """How many there are."""
        return len(self.machine.devices)

    @property
    def machines(self) -> int:
        """Over how many machines a server runs."""
        return self.machine.nodes


@dataclass(frozen=True, slots=True)
class Splits:
    """Which ways to divide a model are legal."""

    candidate: Candidate
    architecture: Architecture
    quantization: Quantization | None
    rules: Rules

    def legal(self, asked: Iterable[Degrees]) -> tuple[Degrees, ...]:
        """Those that vLLM accepts."""
        return tuple(degrees for degrees in asked if self.fault(degrees) is None)

    def reasons(self) -> tuple[str, ...]:
        """Why each of those that the spec allows is not legal."""
        asked = asked_degrees(self.candidate.spec, self.rules)
        return tuple(f"over {degrees}: {self.fault(degrees)}" for degrees in asked)

    def fault(self, degrees: Degrees) -> str | None:
        """Why one of them is not legal; None if it is."""
        experts = self.candidate.spec.expert_parallel
        spec = self.candidate.spec
        numa = _binds_one(spec)
        wishes = (spec.task, spec.score_tokens, spec.kv_cache_dtype, spec.split_over_network, _is_eager(spec))
        key = ("split", self.candidate.name, wishes, degrees, experts, numa)
        if key not in self.rules.known:
            self.rules.known[key] = self._judged(degrees, experts=experts)
        return cast("str | None", self.rules.known[key])

    def _judged(self, degrees: Degrees, *, experts: bool) -> str | None:
        if self.rules.machine.mig is not None and degrees.gpus > 1:
            return "slices of a GPU (MIG) cannot reach each other, so one server runs on one slice"
        if degrees.gpus > 1 and _binds_one(self.candidate.spec):
            return "`numa-bind-nodes` and `numa-bind-cpus` bind one GPU, and vLLM wants an entry for each"
        if degrees.splits_over_network and not self.candidate.spec.split_over_network:
            return f"parts of one layer would be on several machines ({_NETWORK_KEY})"
        if experts and not _has_experts(self.architecture):
            return "`expert_parallel` needs a mixture of experts, this model has none"
        if degrees.pipeline > 1 and (refusal := self._staging_refusal()) is not None:
            return refusal
        if degrees.pipeline > 1 and self.rules.capability is None and _is_eager(self.candidate.spec):
            return _EAGER_STAGES
        if degrees.gpus > 1 and (refusal := self._words_refusal(degrees)) is not None:
            return refusal
        flag = cache_flag(self.quantization, self.candidate.spec.kv_cache_dtype)
        return split_fault(
            _Asked(self.architecture, self.quantization, self.rules.release, self.rules.capability, flag, experts),
            degrees,
        )

    def _words_refusal(self, degrees: Degrees) -> str | None:
        """A score that is made of words' rows of the output head, which each rank looks for in its own part of it.

        vllm/model_executor/models/adapters.py:load_weights_using_from_2_way_softmax indexes the rank's shard by the
        whole vocabulary's numbers, and ties a head to embeddings that later stages lack. The first rank answers, and
        holds the words of the known rerankers, whose numbers are small.
        """
        spec, own = self.candidate.spec, self.candidate.facts.config.get("classifier_from_token")
        made = own or (spec.task == "score" and not gives_labels(self.architecture.name))
        if not made or spec.task not in ("score", "classify"):
            return None
        if degrees.pipeline > 1:
            return "a score that is made of words needs the output head on each stage"
        return "the rows of `score_tokens` may lie on another rank" if spec.score_tokens else None

    def _staging_refusal(self) -> str | None:
        version = self.rules.release.version
        name = architecture_name(self.candidate.facts.config)
        if load_registry(version).stages(name):
            return None
        return f"vLLM {version} cannot divide {name} into pipeline stages"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What decides whether vLLM accepts a division, besides the degrees.

    Attributes:
        flag: of `cache_flag`.
    """

    architecture: Architecture
    quantization: Quantization | None
    release: Release
    capability: Capability | None
    flag: str
    experts: bool


# A stack that does not fit is solved many times, and what changes between them is seldom the model.
@lru_cache(maxsize=1 << 13)
def split_fault(asked: _Asked, degrees: Degrees) -> str | None:
    """Why vLLM refuses a division; None if it does not."""
    try:
        for stage in {0, degrees.pipeline - 1}:
            split = Parallelism(degrees.tensor, degrees.pipeline, stage, expert_parallel=asked.experts)
            check_split(asked.architecture, asked.quantization, split)
            check_experts(asked.architecture, asked.quantization, split, asked.capability)
            _check_cache(asked, split)
            _check_pages(asked, split)
    except PagesError as error:
        return f"vLLM cannot make the pages of its KV cache equal: {error}"
    except (SplitError, NoBackendError, ConfigError, UnsupportedArchitectureError) as error:
        return str(error)
    return None


def _check_cache(asked: _Asked, split: Parallelism) -> None:
    """A backend may serve all heads and not a rank's; one that serves neither is told of by itself."""
    try:
        _plan_attention(asked, split.tensor_parallel_size)
    except NoBackendError:
        try:
            _plan_attention(asked, 1)
        except NoBackendError:
            return
        raise


def _check_pages(asked: _Asked, split: Parallelism) -> None:
    """Caches of several kinds share blocks, which some sizes of them do not allow."""
    if len({cache for layer in asked.architecture.kinds for cache in layer.caches}) > 1:
        probe_layout(asked.architecture, split, asked.flag, asked.release, asked.capability)


def _plan_attention(asked: _Asked, ranks: int) -> None:
    capability = asked.capability
    if capability is None:
        return
    attention_plan(
        asked.architecture,
        capability=capability,
        served_dtype=served_dtype(asked.architecture.checkpoint_dtype, bfloat16_runs=capability >= BFLOAT16_CAPABILITY),
        kv_cache_dtype=asked.flag,
        tensor_parallel_size=ranks,
    )


def _binds_one(service: ServiceSpec) -> bool:
    """Whether the spec binds a server to a NUMA node: an option has one value here (vllm/utils/numa_utils.py)."""
    given = {key.removeprefix("--").replace("-", "_") for key in service.engine_args}
    return not given.isdisjoint(("numa_bind_nodes", "numa_bind_cpus"))


def _is_eager(service: ServiceSpec) -> bool:
    """Whether a server on a CPU compiles nothing (vllm/platforms/cpu.py:check_and_update_config)."""
    return service.enforce_eager or bool(service.adapters)


def _has_experts(architecture: Architecture) -> bool:
    return any(isinstance(module, Experts) for layer in architecture.kinds for module in layer.modules)


def asked_degrees(service: ServiceSpec, rules: Rules) -> Iterator[Degrees]:
    """What the spec allows, fewest GPUs first."""
    if rules.machines > 1:
        yield from _over_machines(service, rules.machines, rules.machine.devices_each)
        return
    tensor, pipeline, gpus = service.tensor_parallel_size, service.pipeline_parallel_size, len(service.gpus)
    if tensor is not None:
        yield Degrees(tensor, pipeline or max(1, gpus // tensor))
    elif gpus:
        stages = (pipeline,) if pipeline is not None else range(1, gpus + 1)
        yield from (Degrees(gpus // stage, stage) for stage in stages if gpus % stage == 0)
    else:
        most = min(rules.devices, MOST_GPUS) // (pipeline or 1)
        yield from (Degrees(degree, pipeline or 1) for degree in range(1, most + 1))


def _over_machines(service: ServiceSpec, machines: int, most: int) -> Iterator[Degrees]:
    """On as many GPUs of each machine: all first, for nobody else has them; then fewest stages."""
    for gpus in range(most, 0, -1):
        if service.gpus and gpus != len(service.gpus):
            continue
        found = (Degrees(gpus * machines // stages, stages, machines) for stages in range(1, gpus * machines + 1))
        yield from (each for each in found if each.gpus == gpus * machines and _is_asked(each, service))


def _is_asked(degrees: Degrees, service: ServiceSpec) -> bool:
    """Whether a division is the spec's own, or does not split layers over the network where the spec asks for none."""
    asked = ((service.tensor_parallel_size, degrees.tensor), (service.pipeline_parallel_size, degrees.pipeline))
    is_free = service.tensor_parallel_size is None
    return all(size in (None, own) for size, own in asked) and not (is_free and degrees.splits_over_network)


def pipeline_degrees(service: ServiceSpec, rules: Rules) -> Iterator[Degrees]:
    """Stages, where the spec leaves the division open: fewest GPUs first, then widest."""
    is_asked = service.tensor_parallel_size is not None or service.pipeline_parallel_size is not None or service.gpus
    if is_asked or rules.machines > 1:
        return
    for gpus in range(2, min(rules.devices, MOST_GPUS) + 1):
        yield from (Degrees(gpus // stages, stages) for stages in range(2, gpus + 1) if gpus % stages == 0)
