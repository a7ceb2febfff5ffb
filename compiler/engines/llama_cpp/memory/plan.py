"""A server's memory as a whole: from a GGUF model and flags to rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.engines.llama_cpp.flash import with_known_flash
from compiler.engines.llama_cpp.memory.blocks import Blocks, read_blocks
from compiler.engines.llama_cpp.memory.cache import layer_caches
from compiler.engines.llama_cpp.memory.compute import Computing, of_graph, whole_compute
from compiler.engines.llama_cpp.memory.graph import graph_of
from compiler.engines.llama_cpp.memory.host import HostSettings
from compiler.engines.llama_cpp.memory.outside import context_memory
from compiler.engines.llama_cpp.memory.placement import placement
from compiler.engines.llama_cpp.memory.projector import Projector, Sight
from compiler.engines.llama_cpp.memory.rows import Server, device_rows, host_rows
from compiler.engines.llama_cpp.memory.weights import Weights, read_weights
from compiler.engines.llama_cpp.models.shape import Shape, read_shape
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.settings import Settings, contexts
from compiler.gguf.model import GgufModel
from compiler.ledger import LedgerRow
from compiler.units import ByteRange, total


@dataclass(frozen=True, slots=True)
class Served:
    """A model as memory sees it, read once for any number of plans."""

    shape: Shape
    weights: Weights
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Rows of each card, in the order of `Settings.split`, and of the host."""

    devices: tuple[tuple[LedgerRow, ...], ...]
    host: tuple[LedgerRow, ...]

    def device_bytes(self, device: int) -> ByteRange:
        """All that a card holds of the server."""
        return total(row.bytes for row in self.devices[device])

    @property
    def host_bytes(self) -> ByteRange:
        """All that the host holds."""
        return total(row.bytes for row in self.host)


def read_served(model: GgufModel) -> Served:
    """What plans of a model need of its headers.

    Raises:
        ModelError: an architecture that is not known, or a header that llama.cpp would not load.
    """
    shape = read_shape(model)
    return Served(shape, read_weights(model, shape), read_blocks(model, shape))


def computing_of(release: Release, served: Served, settings: Settings) -> Computing:
    """What decides buffers.

    Raises:
        ModelError: a graph that cannot be laid out in time.
        SettingsError: settings that the release refuses for this model, or would serve on the host.
    """
    shape, rules = served.shape, release.rules
    known = with_known_flash(settings, shape, rules)
    drawn, sizes = of_graph(known), contexts(known, shape.trained_context, shape.window)
    return Computing(
        shape=shape,
        rules=rules,
        settings=known,
        drawn=drawn,
        sizes=sizes,
        places=placement(known, len(shape.layers)),
        weights=served.weights,
        blocks=served.blocks,
        graph=graph_of(shape, drawn, sizes),
        caches=layer_caches(shape, rules, drawn, sizes),
        whole=whole_compute(shape, served.blocks, rules, drawn, sizes),
        context=context_memory(release, known.devices),
    )


def memory_plan(
    release: Release,
    served: Served,
    settings: Settings,
    host: HostSettings | None = None,
    projector: Projector | None = None,
) -> MemoryPlan:
    """What a server takes of each card and of the host.

    Raises:
        ModelError: a graph that cannot be laid out in time.
        SettingsError: settings that the release refuses for this model, or would serve on the host.
    """
    return planned(computing_of(release, served, settings), host or HostSettings(), projector)


def planned(computing: Computing, host: HostSettings, projector: Projector | None = None) -> MemoryPlan:
    """The same, of what was worked out already."""
    settings = computing.settings
    sight = None if projector is None else Sight(projector, settings.image_tokens, settings.slots)
    server = Server(computing, host, sight)
    devices = range(computing.settings.devices)
    return MemoryPlan(tuple(device_rows(server, device) for device in devices), host_rows(server))


def replaced(computing: Computing, gpu_layers: int, cpu_moe: int) -> Computing:
    """With other layers and experts on the same cards, of which nothing else depends."""
    settings = replace(computing.settings, gpu_layers=gpu_layers, cpu_moe=cpu_moe)
    return replace(computing, settings=settings, places=placement(settings, len(computing.shape.layers)))
