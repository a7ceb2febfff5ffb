"""A checkpoint that may serve a service."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.interface.candidate import Adapter
from compiler.engines.interface.demand import Division, Drafting
from compiler.engines.interface.device import Device
from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.demand import Demand, demand_of, needs_of
from compiler.engines.vllm.drafter import Drafter
from compiler.engines.vllm.judge.support import (
    is_weight_only,
)
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots
from compiler.engines.vllm.releases.release import Release
from compiler.engines.vllm.shaping import longest, most_sequences
from compiler.engines.vllm.terms import options_of
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format, quantization_names

_T = TypeVar("_T")

_UNQUANTIZED_BITS = 16
_LIMIT = "vLLM accepts for this config.json"
# At equal bits. FP8 keeps the spread of values that integers cut off, activation-aware rounding (compressed-tensors'
# recipes, AWQ) loses less than GPTQ's.
_METHODS = ("none", "fp8", "int8", "compressed-tensors", "awq", "gptq")


@dataclass(frozen=True, slots=True)
class Variant:
    """A checkpoint that may serve a service.

    Attributes:
        name: key of `Lock.models`.
        method: quantization method, or `none`.
        checkpoint: the same object for every service that may be served by it.
        divisions: ways to divide it that are legal and allowed by the spec, fewest GPUs first.
        fallbacks: tried after all of these: pipeline stages, where the spec asks for no division of its own.
        dimension: numbers of an embedding; None for a service that gives none.
        labels: of a text, one of them a score; None for a service that gives none.
        convert: what vLLM makes of a generating model (`embed`, `classify`); None where it is served as it is.
        score_tokens: words by which a generating model scores.
        device: like each that it may run on.
        objection: why the spec's wish for an fp8 KV cache cannot be met with it.
        adapters: beside it, in the order of the spec.
        slots: room for these; None without any.
        projector: a checkpoint has its towers among its own weights.
        drafter: how tokens are drafted beside it; None where none are.
        draft_facts: of the model that drafts.
    """

    name: str
    facts: ModelFacts
    checkpoint: Checkpoint
    method: str
    release: Release
    device: Device
    divisions: tuple[Degrees, ...]
    fallbacks: tuple[Degrees, ...] = ()
    dimension: int | None = None
    labels: int | None = None
    convert: str | None = None
    score_tokens: tuple[str, ...] = ()
    objection: str | None = None
    projector: None = None
    adapters: tuple[Adapter, ...] = ()
    slots: AdapterSlots | None = None
    drafter: Drafter | None = None
    draft_facts: ModelFacts | None = None

    @property
    def drafting(self) -> Drafting | None:
        """How tokens are drafted, as the plan says it."""
        drafter = self.drafter
        return None if drafter is None else Drafting(drafter.method, drafter.tokens, drafter.name, self.draft_facts)

    @property
    def key(self) -> Hashable:
        """Variants with equal keys demand the same on the same terms."""
        return self.name, self.checkpoint, self.slots, self.drafter

    @property
    def offloads(self) -> tuple[Degrees, ...]:
        """None: vLLM would keep weights in main memory for every step of every request."""
        return ()

    @property
    def bits_per_weight(self) -> float:
        """Of what is quantized."""
        return self.bits

    @property
    def names(self) -> frozenset[str]:
        """Every name under which a spec may ask for its method."""
        return quantization_names(self.facts)

    @property
    def bits(self) -> int:
        """Per weight of the quantized layers."""
        return self.quantization.bits if self.quantization is not None else _UNQUANTIZED_BITS

    @property
    def place_of_method(self) -> int:
        """Among methods, those first that lose least at equal bits."""
        return _METHODS.index(self.method) if self.method in _METHODS else len(_METHODS)

    @property
    def undivided(self) -> Degrees:
        """On one GPU, whether or not it may be so."""
        return Degrees()

    @property
    def max_context(self) -> int:
        """Tokens of the longest request that the model takes."""
        return longest(self.architecture, self.drafter)

    @property
    def remark(self) -> str | None:
        """That its format is only unpacked on this GPU, where it is one that others compute in."""
        block, form = self.facts.quantization, checkpoint_format(self.facts)
        if is_weight_only(form, block, release=self.release, capability=self.device.capability):
            return f"{self.bits}-bit weights are unpacked here, activations keep 16 bits"
        return None

    def most_seats(self, terms: Terms) -> int:
        """Requests at once beyond which a service is not grown."""
        return most_sequences(options_of(terms), self.release, self.device, self.drafter)

    def demand(self, service: str, terms: Terms, division: Division) -> Demand:
        """What it takes of each device, divided like this."""
        assert isinstance(division, Degrees)  # noqa: S101  the solver chooses among those that are offered
        beside = {"adapters": self.slots, "drafter": self.drafter}
        needs = needs_of(self.checkpoint, terms, self.release, self.device, division, **beside)
        return demand_of(service, self, terms, needs, division)

    @property
    def architecture(self) -> Architecture:
        """What its config.json describes."""
        return self.checkpoint.architecture

    @property
    def quantization(self) -> Quantization | None:
        """How its weights are stored."""
        return self.checkpoint.quantization


def own_variant(demand: Demand) -> Variant:
    """The variant of a demand of this engine."""
    assert isinstance(demand.variant, Variant)  # noqa: S101  its own
    return demand.variant
