"""What a spec says of machines: their GPUs, or the memory of their CPU."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from compiler.spec.base import Bytes, GpuUuid, Host, Interface, SpecModel, as_list
from compiler.spec.forms import form
from compiler.spec.nodes.counted import MOST_NODES


class GpusSpec(SpecModel):
    """GPUs of one node: a catalog name, or a card's own figures.

    Attributes:
        model: a name of the catalogue (`stackc gpus`), or any with the two figures of the card.
        mig: each of them is a slice of that profile, such as `3g.40gb`; outside containers vLLM finds only some of
            them (W0204).
        memory: as CUDA reports it, not the number on the box; wins over the catalogue's.
        compute_capability: of a card that is not in the catalogue, such as "8.9".
        count: how many of them.
        uuids: full `GPU-…` or `MIG-…` identifiers by index, to pin cards; with `mig` they are the slices'.
    """

    model: str | None = None
    mig: Annotated[str, form(r"^[1-7]g\.[0-9]{1,3}gb$", "a profile of MIG, such as `1g.10gb`")] | None = None
    memory: Bytes | None = None
    compute_capability: Annotated[str, form(r"^[0-9]{1,2}\.[0-9]$", "a compute capability, such as `9.0`")] | None = (
        None
    )
    count: Annotated[int, Field(ge=1, le=1024)] = 1
    uuids: tuple[GpuUuid, ...] = Field(default=(), strict=False)


class CpuSpec(SpecModel):
    """A node without GPUs.

    Attributes:
        memory: how much of its main memory the stack may use.
    """

    memory: Bytes


def _without_default(schema: dict[str, Any]) -> None:
    """A list of none is what nobody can write."""
    del schema["default"]


_KINDS = Field(min_length=1, max_length=64, strict=False)


_ADDRESSES = Field(min_length=1, max_length=MOST_NODES, strict=False)


def _as_kinds(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class NodeSpec(SpecModel):
    """One machine, or `count` of them that are alike: either `gpus` or `cpu`.

    Attributes:
        count: how many such machines there are: `gpu` with 64 of them stands for the nodes gpu-01 to gpu-64. A service
            with `node: gpu` runs on any of them, with `node: gpu-07` on that one. `uuids` are those of all of them,
            in their order.
        gpus: of one model, or a list, in the order in which nvidia-smi counts them: a server runs on cards of one.
        mixed: a server may be divided over cards of several models, where they have one compute capability; the one
            with least memory left then decides how much each of them holds.
        cpu: for vLLM's CPU build.
        memory: main memory beside GPUs, for layers that they do not hold, which llama.cpp computes there; where there
            are several models of cards, beside those that have most memory together.
        reserve: kept free on each GPU (or of the CPU memory) for whatever else lives there. Where CPU and GPU share
            one memory, 17 % stay free at least (W0203).
        address: its IP address, at which the other nodes reach it; needed where a gateway serves several nodes. Of
            `count` machines it is the first one's, and the others count on from it; or a list has those of all. A
            server that spans machines needs it too.
        interface: the network card that has `address`, such as `eth1`: servers that span machines talk over it alone.
    """

    count: Annotated[int, Field(ge=1, le=MOST_NODES)] | None = None
    cards: Annotated[
        tuple[GpusSpec, ...],
        BeforeValidator(_as_kinds, json_schema_input_type=GpusSpec | Annotated[tuple[GpusSpec, ...], _KINDS]),
        _KINDS,
    ] = Field(default=(), alias="gpus", json_schema_extra=_without_default)
    mixed: bool = False
    cpu: CpuSpec | None = None
    memory: Bytes | None = None
    reserve: Bytes = 0
    addresses: Annotated[
        tuple[Host, ...],
        BeforeValidator(as_list, json_schema_input_type=Host | Annotated[tuple[Host, ...], _ADDRESSES]),
        _ADDRESSES,
    ] = Field(default=(), alias="address", json_schema_extra=_without_default)
    interface: Interface | None = None

    @property
    def gpus(self) -> GpusSpec | None:
        """The first of its cards: of a node as the solver sees it all of them, unless a server may have several."""
        return self.cards[0] if self.cards else None

    @property
    def address(self) -> str | None:
        """Of one machine; of an entry that stands uncounted its first."""
        return self.addresses[0] if self.addresses else None

    @property
    def gpu_count(self) -> int:
        """How many GPUs it has."""
        return sum(kind.count for kind in self.cards)

    def with_gpus(self, gpus: GpusSpec) -> NodeSpec:
        """The same machine with other cards."""
        return self.model_copy(update={"cards": (gpus,)})


class NodePart(NodeSpec):
    """The cards of one model on a node that has several, or of one capability: no server leaves them.

    Attributes:
        node: the machine's name.
        indices: of these cards among all of the machine.
        whole: the machine.
    """

    node: str
    indices: tuple[int, ...]
    whole: NodeSpec
