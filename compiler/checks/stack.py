"""Rules across the fields of a spec. Each is a function from the file to diagnostics, some with the engines' help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePath

from compiler.checks.adapters import check_adapters
from compiler.checks.doors import check_doors
from compiler.checks.engines import (
    check_engine_choice,
    check_engine_keys,
    check_engine_options,
    check_host_memory,
    check_model_files,
)
from compiler.checks.entry.cors import check_cors
from compiler.checks.entry.entrance import check_entrance
from compiler.checks.entry.gateway import check_gateway, check_rollouts
from compiler.checks.entry.sticky import check_sticky
from compiler.checks.entry.tls import check_teams, check_tls
from compiler.checks.kubernetes import check_kubernetes
from compiler.checks.machines.counted import check_counted
from compiler.checks.machines.devices import check_devices
from compiler.checks.machines.gpus import check_gpus
from compiler.checks.machines.mig import check_slices_on_host
from compiler.checks.machines.spanning import check_machines
from compiler.checks.monitoring import check_monitoring
from compiler.checks.objectives import check_objectives
from compiler.checks.patches.compose import check_compose_patch
from compiler.checks.patches.quadlet import check_quadlet_patch
from compiler.checks.patches.systemd import check_systemd_patches
from compiler.checks.paths import check_paths
from compiler.checks.releases import check_engine
from compiler.checks.replicas import all_servers, check_replicas, free_ports
from compiler.checks.slurm import check_slurm
from compiler.checks.speculation import check_speculation
from compiler.checks.targets import check_targets
from compiler.checks.unit_names import check_unit_names
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.nodes.parts import machine_of_part
from compiler.spec.reading.load import SpecFile
from compiler.spec.reading.model_names import is_model, model_advice, model_message
from compiler.spec.rollouts import written_edits
from compiler.spec.services import ServiceSpec

Check = Callable[[SpecFile], Iterator[Diagnostic]]


def check_spec(file: SpecFile, engines: Engines) -> tuple[Diagnostic, ...]:
    """Every finding of every check.

    Args:
        file: of a spec that could be read.
        engines: every one that a spec may name.
    """
    found = (diagnostic for check in _checks(engines) for diagnostic in check(file))
    # What is wrong with an entry is so of each of its machines, and told once.
    return tuple(dict.fromkeys(_as_written(file, diagnostic) for diagnostic in found))


def _as_written(file: SpecFile, diagnostic: Diagnostic) -> Diagnostic:
    helps = tuple(Help(each.text, written_edits(file.document.data, each.edits)) for each in diagnostic.helps)
    return replace(diagnostic, helps=helps)


def check_stack_name(file: SpecFile) -> Iterator[Diagnostic]:
    """The output folder and the lock are found by the file's name, so the two must agree."""
    stem = PurePath(file.document.source.name).stem
    if file.spec.stack != stem:
        message = f"the stack is called `{file.spec.stack}`, its file `{stem}`"
        help_ = Help(f"write `stack: {stem}`", (Edit(("stack",), stem),))
        yield Diagnostic("E0210", message, file.at("stack"), helps=(help_,))


def check_nodes(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Each node is GPUs or a CPU."""
    for name, node in file.spec.written_nodes.items():
        if (node.gpus is None) == (node.cpu is None):
            yield _neither_or_both(file, name)
        yield from check_gpus(file, name, node, engines)


def _neither_or_both(file: SpecFile, name: str) -> Diagnostic:
    message, where = f"node `{name}` needs either `gpus` or `cpu`", ("nodes", name, "cpu")
    if not file.spec.written_nodes[name].cards:
        help_ = Help("add `gpus: {model: CARD}`, with a CARD of `stackc gpus`, or `cpu: {memory: 16GiB}`")
        return Diagnostic("E0207", message, file.at_key("nodes", name), helps=(help_,))
    notes = (
        "beside GPUs, llama.cpp serves what has `gpu_layers: 0` from main memory, of which `memory` says how much",
    )
    help_ = Help("remove `cpu`", (Edit(where, None),))
    return Diagnostic("E0207", f"{message}, and has both", file.at_key(*where), notes, (help_,))


def check_places(file: SpecFile) -> Iterator[Diagnostic]:
    """A service names a node of the stack; GPUs are numbered on a node, so whoever names them names it too."""
    nodes, known = list(file.spec.written_nodes), file.spec.members()
    for name, service in file.spec.services.items():
        where = ("services", name)
        if service.node is not None and service.node not in known:
            message = f"service `{name}` is to run on node `{service.node}`, which the stack has not"
            yield Diagnostic("E0209", message, file.at(*where, "node"), (_listed(nodes),), tuple(_places(name, nodes)))
        elif service.gpus and service.node is None and len(file.spec.machines) > 1:
            message = f"service `{name}` names GPUs, and not the node that has them"
            yield Diagnostic("E0209", message, file.at(*where, "gpus"), (_listed(nodes),), tuple(_places(name, nodes)))


def _listed(nodes: Sequence[str]) -> str:
    return f"the stack's nodes: {', '.join(f'`{node}`' for node in nodes)}"


def _places(service: str, nodes: Iterable[str]) -> Iterator[Help]:
    where = ("services", service)
    for node in nodes:
        yield Help(f"write `node: {node}`", (Edit((*where, "node"), node),))
    edits = (Edit((*where, "node"), None), Edit((*where, "gpus"), None))
    yield Help("let the node and its GPUs be chosen", edits)


def check_ports(file: SpecFile) -> Iterator[Diagnostic]:
    """All servers of a node share its ports. Services that name no node keep apart as far as there are nodes."""
    sharing: dict[int, list[str]] = {}
    said = set[str]()
    file = all_servers(file)
    members = file.spec.members()
    taken = {service.port for service in file.spec.services.values()}
    for name, service in file.spec.services.items():
        earlier = sharing.setdefault(service.port, [])
        other = _neighbour(file, members, service, earlier)
        earlier.append(name)
        owner = file.spec.service_of(name)
        if other is not None and owner not in said:
            said.add(owner)
            yield _shared_port(file, owner, (other, name), taken)


def _shared_port(file: SpecFile, owner: str, names: tuple[str, str], taken: set[int]) -> Diagnostic:
    """Two servers on one port, the second of the service `owner`, with a port that has room for all of its servers."""
    count, port = file.spec.servers_of(owner), file.spec.services[names[1]].port
    free = free_ports(taken, port, count)
    helps = () if free is None else (Help(f"write `port: {free}`", (Edit(("services", owner, "port"), free),)),)
    taken.update(range(free, free + count) if free is not None else ())
    note = f"`{names[0]}` has it at {file.at('services', names[0], 'port').span}"
    message = f"services `{names[0]}` and `{names[1]}` both listen on port {port}"
    return Diagnostic("E0205", message, file.at("services", owner, "port"), (note,), helps)


def _neighbour(
    file: SpecFile, members: Mapping[str, tuple[str, ...]], service: ServiceSpec, earlier: Sequence[str]
) -> str | None:
    """One of the services with the same port that must be on the same node; None if they can keep apart."""
    if service.node is not None:
        there = [name for name in earlier if file.spec.services[name].node == service.node]
        if len(there) >= len({machine_of_part(name) for name in members.get(service.node, ("",))}):
            return there[0]
    return earlier[0] if len(earlier) >= len(file.spec.machines) else None


def check_limits(file: SpecFile) -> Iterator[Diagnostic]:
    """The batch limits must allow what the service promises."""
    for name, service in file.spec.services.items():
        where = ("services", name)
        sequences, tokens = service.max_num_seqs, service.max_num_batched_tokens
        if sequences is not None and sequences < service.concurrency.least:
            message = (
                f"`max_num_seqs: {sequences}` admits fewer requests than `concurrency: {service.concurrency.least}`"
            )
            help_ = Help("remove `max_num_seqs`", (Edit((*where, "max_num_seqs"), None),))
            yield Diagnostic("E0405", message, file.at(*where, "max_num_seqs"), helps=(help_,))
        if tokens is not None and tokens < max(sequences or 1, service.concurrency.least):
            message = f"`max_num_batched_tokens: {tokens}` is less than the number of sequences, which vLLM refuses"
            help_ = Help("remove `max_num_batched_tokens`", (Edit((*where, "max_num_batched_tokens"), None),))
            yield Diagnostic("E0405", message, file.at(*where, "max_num_batched_tokens"), helps=(help_,))
        yield from _check_whole_texts(file, name)


_TASK_FEATURES = {
    "chat": ("tools", "structured-output", "reasoning"),
    "completion": ("structured-output",),
    "embed": (),
    "score": (),
    "classify": (),
}


def check_features(file: SpecFile) -> Iterator[Diagnostic]:
    """A feature must be one that the task has."""
    for name, service in file.spec.services.items():
        where, possible = ("services", name, "features"), _TASK_FEATURES[service.task]
        left = tuple(feature for feature in service.features if feature in possible)
        for feature in service.features:
            if feature not in possible:
                message = f"service `{name}` has the task `{service.task}`, which has no `{feature}`"
                help_ = Help(f"remove `{feature}` from `features`", (Edit(where, left or None),))
                yield Diagnostic("E0219", message, file.at(*where), helps=(help_,))
        if service.score_tokens and service.task != "score":
            message = f"service `{name}` has the task `{service.task}`, which has no `score_tokens`"
            key = ("services", name, "score_tokens")
            help_ = Help("remove `score_tokens`", (Edit(key, None),))
            yield Diagnostic("E0219", message, file.at_key(*key), helps=(help_,))


def _check_whole_texts(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """A text that is pooled over all its tokens is never cut."""
    service, where = file.spec.services[name], ("services", name, "max_num_batched_tokens")
    tokens = service.max_num_batched_tokens
    if service.pools and tokens is not None and tokens < service.context.least:
        message = f"`max_num_batched_tokens: {tokens}` is less than the longest text, {service.context.least} tokens"
        help_ = Help("remove `max_num_batched_tokens`", (Edit(where, None),))
        notes = ("a text for an embedding, a score or a label is read in one piece",)
        yield Diagnostic("E0405", message, file.at(*where), notes, (help_,))


def check_model_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A model is `organisation/name` on the Hub, or a folder at the path that it has on the server."""
    for name, service in file.spec.services.items():
        if not is_model(service.model):
            notes, helps = model_advice(service.model, ("services", name, "model"))
            place = file.at("services", name, "model")
            yield Diagnostic("E0203", model_message(service.model), place, notes, helps)


# Names of units and containers that stacks have.
_RESERVED = {"gateway", "gateway-reload", "prefetch", "target"}


def check_service_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A service becomes a unit and a container beside those of the stack itself."""
    for name in sorted(_RESERVED & file.spec.services.keys()):
        message = f"a service cannot be called `{name}`: the stack has a unit and a container of that name"
        help_ = Help(f"call it `{name}-server`")
        yield Diagnostic("E0203", message, file.at_key("services", name), helps=(help_,))


def _checks(engines: Engines) -> tuple[Check, ...]:
    """All of them, in the order in which they are told."""
    return (
        check_stack_name,
        partial(check_engine, engines=engines),
        partial(check_engine_choice, engines=engines),
        partial(check_model_files, engines=engines),
        partial(check_engine_keys, engines=engines),
        check_counted,
        partial(check_nodes, engines=engines),
        partial(check_host_memory, engines=engines),
        check_places,
        check_replicas,
        check_ports,
        check_devices,
        check_machines,
        check_slurm,
        check_limits,
        check_features,
        check_objectives,
        check_model_names,
        check_speculation,
        check_adapters,
        check_service_names,
        check_unit_names,
        check_paths,
        partial(check_engine_options, engines=engines),
        partial(check_monitoring, engines=engines),
        partial(check_systemd_patches, engines=engines),
        partial(check_compose_patch, engines=engines),
        partial(check_quadlet_patch, engines=engines),
        check_entrance,
        check_gateway,
        check_cors,
        check_tls,
        check_teams,
        check_doors,
        check_rollouts,
        check_sticky,
        partial(check_targets, engines=engines),
        check_kubernetes,
        check_slices_on_host,
    )
