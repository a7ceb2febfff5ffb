"""What a service takes of the devices it runs on, whichever engine serves it. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from compiler.engines.interface.candidate import Adapter
from compiler.engines.interface.terms import Terms
from compiler.ledger import LedgerRow
from compiler.lock.gguf import GgufFile
from compiler.lock.models import ModelFacts
from compiler.units import ByteRange


class Division(Hashable, Protocol):
    """A way to divide a model over GPUs. Equal ones divide alike; as text it is said in words."""

    @property
    def gpus(self) -> int:
        """How many it takes."""

    @property
    def is_fallback(self) -> bool:
        """Whether it is slower than others, and tried after them."""


class Rank(Protocol):
    """What is taken of one device."""

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """Everything but the cache of requests, in the order in which a start takes it."""

    @property
    def fixed(self) -> ByteRange:
        """The sum of these rows."""

    @property
    def required(self) -> ByteRange:
        """That, with the smallest cache that keeps the promise."""

    @property
    def unit_bytes(self) -> int:
        """Of one more unit of cache; 0 where the device holds none."""

    def cache_rows(self, units: int, prefixes: int = 0) -> tuple[LedgerRow, ...]:
        """The rows of a cache of that many units.

        Args:
            prefixes: how many of them are more than requests could fill.
        """


@dataclass(frozen=True, slots=True)
class Shortage:
    """What a demand lacks that is not told by its weights, context and concurrency.

    Attributes:
        key: of the service, that is at fault.
        label: said there.
        notes: what the engine would end with.
    """

    key: str
    label: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drafting:
    """How tokens are drafted beside a variant.

    Attributes:
        method: as the spec calls it.
        tokens: in each step.
        name: key of `Lock.models` of the model that drafts; None where none is loaded.
        facts: of that name.
    """

    method: str
    tokens: int
    name: str | None = None
    facts: ModelFacts | None = None


class Demand(Protocol):
    """A service on its devices, in one division."""

    @property
    def service(self) -> str:
        """Its name."""

    @property
    def variant(self) -> Variant:
        """What is served."""

    @property
    def terms(self) -> Terms:
        """What is asked."""

    @property
    def division(self) -> Division:
        """Over which devices."""

    @property
    def required(self) -> ByteRange:
        """Of any of its devices: each bound is the highest of all ranks, which may come to any of them."""

    @property
    def ranks(self) -> Sequence[Rank]:
        """Those that differ."""

    @property
    def heaviest(self) -> Rank:
        """The one that takes most."""

    def rank_at(self, position: int) -> Rank:
        """Of the device at a position."""

    @property
    def host(self) -> Rank | None:
        """What it takes of main memory beside its GPUs; None where nobody counts it."""

    @property
    def length(self) -> int:
        """Tokens of the longest request."""

    @property
    def least_units(self) -> int:
        """Of cache, for the promise."""

    @property
    def useful_units(self) -> int:
        """More than this no set of requests could fill."""

    @property
    def keeps_prefixes(self) -> bool:
        """Whether even more are of use, because the engine keeps prefixes of earlier requests in them."""

    @property
    def cache_note(self) -> str:
        """How the cache comes to its size, as a sentence."""

    def shortage(self, free: int) -> Shortage | None:
        """What else than memory for the promise makes it too large for so many free bytes."""


class Variant(Protocol):
    """A candidate that an engine can run on these devices for this service."""

    @property
    def name(self) -> str:
        """Key of `Lock.models`."""

    @property
    def facts(self) -> ModelFacts:
        """Of that name."""

    @property
    def key(self) -> Hashable:
        """Variants with equal keys demand the same on the same terms."""

    @property
    def method(self) -> str:
        """Quantization method, or `none`."""

    @property
    def names(self) -> frozenset[str]:
        """Every name under which a spec may ask for that method."""

    @property
    def bits(self) -> int:
        """Per weight of what is quantized."""

    @property
    def bits_per_weight(self) -> float:
        """The same, or over all weights where the engine's files mix types."""

    @property
    def place_of_method(self) -> int:
        """Among the engine's methods, those first that lose least at equal bits."""

    @property
    def undivided(self) -> Division:
        """On one device, whether or not it may be so."""

    @property
    def divisions(self) -> tuple[Division, ...]:
        """Legal and allowed by the spec, fewest GPUs first."""

    @property
    def fallbacks(self) -> tuple[Division, ...]:
        """Tried after all of these."""

    @property
    def offloads(self) -> tuple[Division, ...]:
        """With parts in main memory, which is so slow that they are tried when no variant has a place without.

        Each leaves no more on its devices than the one before, and no less in main memory.
        """

    @property
    def max_context(self) -> int:
        """Tokens of the longest request that the model takes."""

    @property
    def dimension(self) -> int | None:
        """Numbers of an embedding; None for a service that gives none."""

    @property
    def labels(self) -> int | None:
        """Of a text, one of them a score; None for a service that gives none."""

    @property
    def remark(self) -> str | None:
        """What the table of candidates says beside it where it is chosen."""

    @property
    def projector(self) -> GgufFile | None:
        """The file beside its weights with which it reads images; None where it needs none, or reads text alone."""

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """LoRA adapters that are served beside it, in the order of the spec."""

    @property
    def drafting(self) -> Drafting | None:
        """How tokens are drafted beside it; None where none are."""

    @property
    def objection(self) -> str | None:
        """Why a wish of the spec for its cache cannot be met with it."""

    def most_seats(self, terms: Terms) -> int:
        """Requests at once beyond which a service is not grown."""

    def demand(self, service: str, terms: Terms, division: Division) -> Demand:
        """What it takes, divided like this."""
