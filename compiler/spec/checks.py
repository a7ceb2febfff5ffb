"""Rules across the fields of a spec. Each is a function from the file to diagnostics; CHECKS is all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from compiler.catalog.gpus import GPUS, same_gpus
from compiler.catalog.releases import RELEASES
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.cors_checks import check_cors
from compiler.spec.door_checks import check_doors
from compiler.spec.engine_args import check_engine_args
from compiler.spec.gateway_checks import check_gateway, check_rollouts
from compiler.spec.load import SpecFile
from compiler.spec.mig_checks import check_slices_on_host
from compiler.spec.models import GpusSpec, NodeSpec, ServiceSpec
from compiler.spec.monitoring_checks import check_monitoring
from compiler.spec.patch_compose import check_compose_patch
from compiler.spec.patch_quadlet import check_quadlet_patch
from compiler.spec.patch_systemd import check_systemd_patches
from compiler.spec.path_checks import check_paths
from compiler.spec.rollouts import written_edits
from compiler.spec.target_checks import check_targets
from compiler.spec.unit_names import check_unit_names

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
            help_ = Help("add `gpus: {model: rtx-pro-6000}` or `cpu: {memory: 16GiB}`")
            yield Diagnostic("E0207", message, file.at_key("nodes", name), helps=(help_,))
        yield from _check_gpus(file, name, node)


# The catalog has no other card's figures to offer for it: they would prove the wrong thing.
_OWN_FIGURES = (
    "`memory` and `compute_capability` beside its `model`, which its machine prints with "
    "`python3 -c 'import torch; print(torch.cuda.mem_get_info()[1], torch.cuda.get_device_capability())'`; "
    "the number on the box and that of nvidia-smi are larger"
)


def _check_gpus(file: SpecFile, name: str, node: NodeSpec) -> Iterator[Diagnostic]:
    if node.gpus is None:
        return
    own_figures = node.gpus.memory is not None and node.gpus.compute_capability is not None
    if node.gpus.model is not None and node.gpus.model not in GPUS and not own_figures:
        helps = tuple(
            Help(f"did you mean `{known}`?", (Edit(("nodes", name, "gpus", "model"), known),))
            for known in same_gpus(node.gpus.model)
        )
        notes = (f"known GPUs: {', '.join(sorted(GPUS))}", f"a card that is not among them takes {_OWN_FIGURES}")
        message = f"unknown GPU `{node.gpus.model}`"
        yield Diagnostic("E0206", message, file.at("nodes", name, "gpus", "model"), notes, helps)
    if node.gpus.model is None and not own_figures:
        message = f"the GPUs of node `{name}` have neither a `model` nor figures of their own"
        help_ = Help('add `model: rtx-pro-6000`, or `memory: 94.97GiB` and `compute_capability: "12.0"`')
        yield Diagnostic("E0206", message, file.at_key("nodes", name, "gpus"), helps=(help_,))
    yield from _check_mig(file, name, node.gpus)
    yield from _check_capability(file, name, node.gpus)
    different = len(set(node.gpus.uuids))
    if node.gpus.uuids and (different != node.gpus.count or different != len(node.gpus.uuids)):
        message = f"{len(node.gpus.uuids)} uuids, {different} of them different, for {node.gpus.count} GPUs"
        yield Diagnostic("E0203", message, file.at_key("nodes", name, "gpus", "uuids"))


def _check_mig(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    """A slice needs figures: the catalog's or its own. Several need UUIDs, because CUDA has no numbers for slices."""
    where = ("nodes", name, "gpus")
    known = GPUS.get(gpus.model or "")
    if gpus.mig is None:
        if any(uuid.startswith("MIG-") for uuid in gpus.uuids):
            help_ = Help("add the slices' profile, such as `mig: 3g.40gb`")
            yield Diagnostic("E0203", "MIG uuids without `mig`", file.at_key(*where, "uuids"), helps=(help_,))
        return
    profiles = {profile.name for profile in known.mig} if known is not None else set()
    if gpus.memory is None and known is not None and gpus.mig not in profiles:
        listed = ", ".join(sorted(profiles)) or "none"
        notes = (f"profiles of {known.name} with known memory: {listed}",)
        help_ = Help("give its `memory` too, as CUDA reports it inside the slice")
        message = f"the memory of a {gpus.mig} slice of {known.name} is not known"
        yield Diagnostic("E0206", message, file.at(*where, "mig"), notes, (help_,))
    if not gpus.uuids or not all(uuid.startswith("MIG-") for uuid in gpus.uuids):
        help_ = Help("add `uuids`: `nvidia-smi -L` on the machine prints them as MIG-…")
        message = "slices of a GPU are named by their `uuids`: CUDA does not number them"
        yield Diagnostic("E0203", message, file.at(*where, "mig"), helps=(help_,))


def _check_capability(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    release, known = RELEASES.get(file.spec.engine.vllm), GPUS.get(gpus.model or "")
    if known is not None and known.refusal is not None:
        yield Diagnostic("E0208", f"{known.title}: {known.refusal}", file.at("nodes", name, "gpus", "model"))
        return
    if gpus.compute_capability is not None:
        major, _, minor = gpus.compute_capability.partition(".")
        capability = (int(major), int(minor))
    elif known is not None:
        capability = known.compute_capability
    else:
        return
    if release is not None and capability < release.minimum_capability:
        least = ".".join(map(str, release.minimum_capability))
        own = ".".join(map(str, capability))
        message = f"vLLM {release.version} has no kernels for compute capability {own}, it starts at {least}"
        yield Diagnostic("E0208", message, file.at("nodes", name, "gpus"))


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


def _check_whole_texts(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """A text that is pooled over all its tokens is never cut."""
    service, where = file.spec.services[name], ("services", name, "max_num_batched_tokens")
    tokens = service.max_num_batched_tokens
    if service.task == "embed" and tokens is not None and tokens < service.context.least:
        message = f"`max_num_batched_tokens: {tokens}` is less than the longest text, {service.context.least} tokens"
        help_ = Help("remove `max_num_batched_tokens`", (Edit(where, None),))
        notes = ("a text for an embedding is read in one piece",)
        yield Diagnostic("E0405", message, file.at(*where), notes, (help_,))


def check_model_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A model is `organisation/name` on the Hub, or a folder at the path that it has on the server."""
    for name, service in file.spec.services.items():
        model = service.model
        is_relative = model.startswith(("./", "../"))
        if is_relative or (not model.startswith("/") and model.count("/") != 1):
            message = f"`{model}` is neither a Hub id (organisation/name) nor an absolute path"
            help_ = Help("write the id as the Hub shows it, or the path that the folder has on the server")
            yield Diagnostic("E0203", message, file.at("services", name, "model"), helps=(help_,))


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
