"""A model in GGUF files that may serve a service."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from compiler.engines.interface.candidate import Adapter
from compiler.engines.interface.demand import Division
from compiler.engines.interface.terms import Terms
from compiler.engines.llama_cpp.demand import Demand, Model, demand_of, needs_of
from compiler.engines.llama_cpp.offload import Offload
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.settings import MOST_SLOTS
from compiler.ledger import RowKind
from compiler.lock.gguf import GgufFacts, GgufFile
from compiler.lock.models import ModelFacts


@dataclass(frozen=True, slots=True)
class Variant:
    """See interface.Variant.

    Attributes:
        gguf: of `facts`.
        model: the same object for every service that may be served by it.
        bits_per_weight: over all tensors.
        pooling: how it makes one vector of a text; None for one that answers with text.
        objection: why the spec's wish for its cache cannot be met with it.
    """

    name: str
    facts: ModelFacts
    gguf: GgufFacts
    model: Model
    release: Release
    bits_per_weight: float
    divisions: tuple[Offload, ...]
    offloads: tuple[Offload, ...] = ()
    fallbacks: tuple[Offload, ...] = ()
    dimension: int | None = None
    labels: int | None = None
    pooling: str | None = None
    objection: str | None = None

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """None: `llama-server` has one set of them for all requests, which no ledger here counts."""
        return ()

    @property
    def key(self) -> Hashable:
        """Variants with equal keys demand the same on the same terms."""
        return self.name, self.model

    @property
    def method(self) -> str:
        """What its header says that its tensors mostly are."""
        return self.gguf.method

    @property
    def names(self) -> frozenset[str]:
        """Every name under which a spec may ask for it."""
        return self.gguf.methods

    @property
    def bits(self) -> int:
        """Per weight, over all tensors, rounded."""
        return round(self.bits_per_weight)

    @property
    def place_of_method(self) -> int:
        """At equal bits, those first that have more of them before they were rounded."""
        return -round(1000 * self.bits_per_weight)

    @property
    def undivided(self) -> Offload:
        """On one device, whether or not it may be so."""
        return replace(self.divisions[0], gpus=1)

    @property
    def max_context(self) -> int:
        """Tokens that the model was trained on."""
        return self.model.served.shape.trained_context

    @property
    def drafting(self) -> None:
        """Each token is decoded by the model itself."""

    @property
    def projector(self) -> GgufFile | None:
        """Of one that is served with images."""
        projector = self.gguf.projector
        return None if self.model.projector is None or projector is None else projector.file

    @property
    def remark(self) -> str | None:
        """What its bits come to, because a file mixes types."""
        return f"{self.bits_per_weight:.2f} bits a weight over all tensors"

    def most_seats(self, terms: Terms) -> int:
        """Slots of one server."""
        del terms
        return MOST_SLOTS

    def read_per_token(self, terms: Terms, division: Offload) -> int:
        """Bytes of weights in main memory that one token goes through; of embeddings it takes but a row."""
        experts = self.model.served.shape.experts
        whole = replace(division, gpu_layers=division.layers, cpu_moe=0)
        tried = (whole, replace(whole, cpu_moe=division.cpu_moe), division)
        embeddings, with_experts, everything = (self._hosted(terms, each) for each in tried)
        used = (with_experts - embeddings) * experts.used // max(1, experts.count)
        return everything - with_experts + used

    def _hosted(self, terms: Terms, division: Offload) -> int:
        host = needs_of(self.model, terms, self.release, division).host
        return sum(row.bytes.expected for row in host.rows if row.kind is RowKind.WEIGHTS) if host is not None else 0

    def demand(self, service: str, terms: Terms, division: Division) -> Demand:
        """What it takes of each device and of main memory, divided like this."""
        assert isinstance(division, Offload)  # noqa: S101  the solver chooses among those that are offered
        return demand_of(service, self, terms, needs_of(self.model, terms, self.release, division), division)


def own_variant(demand: Demand) -> Variant:
    """The variant of a demand of this engine."""
    assert isinstance(demand.variant, Variant)  # noqa: S101  its own
    return demand.variant
