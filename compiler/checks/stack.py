"""Rules across the fields of a spec. Each is a function from the file to diagnostics; CHECKS is all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from compiler.catalog.vllm.releases import RELEASES
from compiler.checks.cors import check_cors
from compiler.checks.doors import check_doors
from compiler.checks.engine_args import check_engine_args
from compiler.checks.gateway import check_gateway, check_rollouts
from compiler.checks.gpus import check_gpus
from compiler.checks.mig import check_slices_on_host
from compiler.checks.monitoring import check_monitoring
from compiler.checks.patches.compose import check_compose_patch
from compiler.checks.patches.quadlet import check_quadlet_patch
from compiler.checks.patches.systemd import check_systemd_patches
from compiler.checks.paths import check_paths
from compiler.checks.targets import check_targets
from compiler.checks.unit_names import check_unit_names
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.load import SpecFile
from compiler.spec.model_names import is_model, model_advice, model_message
from compiler.spec.models import ServiceSpec
from compiler.spec.rollouts import written_edits

Check = Callable[[SpecFile], Iterator[Diagnostic]]


def check_spec(file: SpecFile) -> tuple[Diagnostic, ...]:
    """Every finding of every check, in the order of CHECKS."""
    found = (diagnostic for check in CHECKS for diagnostic in check(file))
    return tuple(_as_written(file, diagnostic) for diagnostic in found)


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


def check_engine(file: SpecFile) -> Iterator[Diagnostic]:
    """The release must be known, and be the build that serves this kind of node."""
    version = file.spec.engine.vllm
    release = RELEASES.get(version)
    if release is None:
        known = ", ".join(f"{r.version} ({r.build})" for r in RELEASES.values())
        build = "cpu" if any(node.cpu for node in file.spec.nodes.values()) else "gpu"
        yield _engine_error(file, f"stackc does not know vLLM {version}", (f"known: {known}",), build)
        return
    if len({node.cpu is None for node in file.spec.nodes.values()}) > 1:
        yield _mixed_builds(file, version, release.build)
        return
    for name, node in file.spec.nodes.items():
        build = "cpu" if node.cpu is not None else "gpu"
        if release.build != build:
            what = "CPUs" if build == "cpu" else "GPUs"
            message = f"vLLM {version} is known to stackc as the {release.build} build, and node `{name}` has {what}"
            yield _engine_error(file, message, (), build)


def _engine_error(file: SpecFile, message: str, notes: tuple[str, ...], build: str) -> Diagnostic:
    versions = [release.version for release in RELEASES.values() if release.build == build]
    helps = tuple(Help(f"write `vllm: {version}`", (Edit(("engine", "vllm"), version),)) for version in versions)
    return Diagnostic("E0208", message, file.at("engine", "vllm"), notes, helps)


def _mixed_builds(file: SpecFile, version: str, build: str) -> Diagnostic:
    """One release serves a whole stack, and it is one build."""
    other = next(name for name, node in file.spec.nodes.items() if (node.cpu is None) == (build == "cpu"))
    kind = "GPUs" if build == "cpu" else "CPUs"
    message = f"vLLM {version} is known to stackc as the {build} build, and node `{other}` has {kind}"
    notes = ("one release serves all nodes of a stack, and none is known to stackc as both builds",)
    help_ = Help(f"move `{other}` and its services to a stack of their own, with a release for {kind}")
    return Diagnostic("E0208", message, file.at_key("nodes", other), notes, (help_,))


def check_nodes(file: SpecFile) -> Iterator[Diagnostic]:
    """Each node is GPUs or a CPU."""
    for name, node in file.spec.nodes.items():
        if (node.gpus is None) == (node.cpu is None):
            message = f"node `{name}` needs either `gpus` or `cpu`"
            help_ = Help("add `gpus: {model: CARD}`, with a CARD of `stackc gpus`, or `cpu: {memory: 16GiB}`")
            yield Diagnostic("E0207", message, file.at_key("nodes", name), helps=(help_,))
        if node.gpus is not None:
            yield from check_gpus(file, name, node.gpus)


def check_places(file: SpecFile) -> Iterator[Diagnostic]:
    """A service names a node of the stack; GPUs are numbered on a node, so whoever names them names it too."""
    nodes = list(file.spec.nodes)
    for name, service in file.spec.services.items():
        where = ("services", name)
        if service.node is not None and service.node not in nodes:
            message = f"service `{name}` is to run on node `{service.node}`, which the stack has not"
            yield Diagnostic("E0209", message, file.at(*where, "node"), (_listed(nodes),), tuple(_places(name, nodes)))
        elif service.gpus and service.node is None and len(nodes) > 1:
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
    """All services of a node share its ports. Services that name no node keep apart as far as there are nodes."""
    sharing: dict[int, list[str]] = {}
    taken = {service.port for service in file.spec.services.values()}
    for name, service in file.spec.services.items():
        earlier = sharing.setdefault(service.port, [])
        other = _neighbour(file, service, earlier)
        earlier.append(name)
        if other is None:
            continue
        free = next(port for port in (*range(service.port, 65536), *range(1024, 65536)) if port not in taken)
        taken.add(free)
        note = f"`{other}` has it at {file.at('services', other, 'port').span}"
        help_ = Help(f"write `port: {free}`", (Edit(("services", name, "port"), free),))
        message = f"services `{other}` and `{name}` both listen on port {service.port}"
        yield Diagnostic("E0205", message, file.at("services", name, "port"), (note,), (help_,))


def _neighbour(file: SpecFile, service: ServiceSpec, earlier: Sequence[str]) -> str | None:
    """One of the services with the same port that must be on the same node; None if they can keep apart."""
    nodes = [file.spec.services[name].node for name in earlier]
    if service.node is not None and service.node in nodes:
        return earlier[nodes.index(service.node)]
    return earlier[0] if len(earlier) >= len(file.spec.nodes) else None


def check_devices(file: SpecFile) -> Iterator[Diagnostic]:
    """Indices and degrees stay within the GPUs of one node: a server never spans nodes."""
    counts = {name: node.gpus.count if node.gpus is not None else 0 for name, node in file.spec.nodes.items()}
    for name, service in file.spec.services.items():
        where = ("services", name)
        count = counts.get(service.node or "", max(counts.values()))
        outside = [index for index in service.gpus if index >= count]
        if outside:
            message = f"service `{name}` asks for GPU {outside[0]}, the node has {_numbered(count)}"
            help_ = Help("remove `gpus` and let them be chosen", (Edit((*where, "gpus"), None),))
            yield Diagnostic("E0211", message, file.at(*where, "gpus"), helps=(help_,))
        if len(set(service.gpus)) != len(service.gpus):
            yield Diagnostic("E0211", f"service `{name}` names a GPU twice", file.at(*where, "gpus"))
        yield from _check_ranks(file, name, count)


def _check_ranks(file: SpecFile, name: str, count: int) -> Iterator[Diagnostic]:
    """The parallel sizes, multiplied, are GPUs that the node has and the service names."""
    service, where = file.spec.services[name], ("services", name)
    sizes = {key: getattr(service, key) for key in ("tensor_parallel_size", "pipeline_parallel_size")}
    given = {key: size for key, size in sizes.items() if size is not None}
    if not given:
        return
    key, ranks = next(iter(given)), math.prod(given.values())
    helps = (Help(f"remove `{key}`", (Edit((*where, key), None),)),)
    if ranks > max(count, 1):
        several = service.node is None and len(file.spec.nodes) > 1
        owner = "no node has more than" if several else "the node has"
        notes = ("a server never spans nodes",) if several else ()
        message = f"service `{name}` asks for {ranks} GPUs, {owner} {count}"
        yield Diagnostic("E0211", message, file.at(*where, key), notes, helps)
    # One size alone leaves the other to the number of GPUs.
    open_size = len(given) == 1 and len(service.gpus) % ranks == 0
    if service.gpus and ranks != len(service.gpus) and not open_size:
        product = " × ".join(f"`{key}: {size}`" for key, size in given.items())
        message = f"{product} and {len(service.gpus)} GPUs contradict each other"
        yield Diagnostic("E0211", message, file.at(*where, key), helps=helps)


def _numbered(count: int) -> str:
    return "none" if count == 0 else f"0 to {count - 1}" if count > 1 else "only 0"


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
_RESERVED = {"gateway", "prefetch", "target"}


def check_service_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A service becomes a unit and a container beside those of the stack itself."""
    for name in sorted(_RESERVED & file.spec.services.keys()):
        message = f"a service cannot be called `{name}`: the stack has a unit and a container of that name"
        help_ = Help(f"call it `{name}-server`")
        yield Diagnostic("E0203", message, file.at_key("services", name), helps=(help_,))


CHECKS: tuple[Check, ...] = (
    check_stack_name,
    check_engine,
    check_nodes,
    check_places,
    check_ports,
    check_devices,
    check_limits,
    check_features,
    check_model_names,
    check_service_names,
    check_unit_names,
    check_paths,
    check_engine_args,
    check_monitoring,
    check_systemd_patches,
    check_compose_patch,
    check_quadlet_patch,
    check_gateway,
    check_cors,
    check_doors,
    check_rollouts,
    check_targets,
    check_slices_on_host,
)
