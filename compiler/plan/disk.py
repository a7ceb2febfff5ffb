"""What a node's disk takes up for its services: weights to download, and what servers compile beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.ledger import DRAFT_WEIGHTS, Basis, RowKind
from compiler.plan.ir import Plan, ServedModel, Service


@dataclass(frozen=True, slots=True)
class Download:
    """A checkpoint of the Hub, which several services may load.

    Attributes:
        name: of its repository, with the file where it is one of several there.
        services: that load it.
        bytes: of its weights; exact where the Hub said the sizes of all files, else as many as the ledger counts.
    """

    name: str
    services: tuple[str, ...]
    bytes: int
    basis: Basis


@dataclass(frozen=True, slots=True)
class Disk:
    """Of one node; images and packages of the engines come beside it.

    Attributes:
        compiled: bytes kept free for what servers compile, an assumption of each engine.
    """

    downloads: tuple[Download, ...]
    compiled: int

    @property
    def to_download(self) -> int:
        """Bytes of all checkpoints, each once."""
        return sum(each.bytes for each in self.downloads)

    @property
    def total(self) -> int:
        """Bytes on disk."""
        return self.to_download + self.compiled

    @property
    def basis(self) -> Basis:
        """Of the sum."""
        return Basis.EXACT if all(each.basis is Basis.EXACT for each in self.downloads) else Basis.ESTIMATE


def disk_of(plan: Plan) -> Disk:
    """What the services of a plan need; a folder of weights lies there already."""
    shared: dict[tuple[str | None, ...], list[tuple[Service, ServedModel]]] = {}
    for each in plan.services:
        for model in each.models:
            if model.repository is not None:
                key = (model.repository, model.commit, model.file, model.projector)
                shared.setdefault(key, []).append((each, model))
    compiled = sum(compiled_bytes(plan, service) for service in plan.services)
    return Disk(tuple(_download(plan, loading) for loading in shared.values()), compiled)


def compiled_bytes(plan: Plan, service: Service) -> int:
    """Bytes kept free for what one server compiles."""
    return plan.engine_of(service).host.compiled_bytes


def _download(plan: Plan, loading: list[tuple[Service, ServedModel]]) -> Download:
    services, model = [service for service, _ in loading], loading[0][1]
    name = str(model.repository) if model.file is None else f"{model.repository}#{model.file}"
    known = model.weights_bytes
    size = known if known is not None else min(_counted(plan, *each) for each in loading)
    basis = Basis.EXACT if known is not None else Basis.ESTIMATE
    return Download(name, tuple(each.name for each in services), size, basis)


def _counted(plan: Plan, service: Service, model: ServedModel) -> int:
    """Weights of a server in all its memories: nearly those of its files, but for what ranks hold alike.

    Each machine of a group downloads all files, and the others hold about as much of them as this one.
    """
    is_draft = service.draft is not None and service.draft.model is model
    servers = (each for ledger in plan.ledgers for each in ledger.servers if each.service == service.name)
    weights = (row for server in servers for row in server.rows if row.kind is RowKind.WEIGHTS)
    here = sum(row.bytes.expected for row in weights if row.title.startswith(DRAFT_WEIGHTS) == is_draft)
    return here if service.group is None else here * service.group.size


def total_download(plans: Iterable[Plan]) -> int:
    """Bytes that come over the network for a whole stack: each node downloads its own."""
    return sum(disk_of(plan).to_download for plan in plans)
