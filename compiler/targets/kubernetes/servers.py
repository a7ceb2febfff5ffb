"""The container of a server: its command, what it sees, and how long it may take. Sources: kubernetes.io/docs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from compiler.engines.interface.launch import AdapterWord, Placeholder, Word
from compiler.plan.ir import CpuNode, Plan, ServedModel, Service
from compiler.targets.containers import STATE, binds_memory, host_files
from compiler.targets.deployment import PREFLIGHT_SECONDS, cache_environment
from compiler.targets.kubernetes.documents import Document, cluster, present
from compiler.units import MIB

HF_HOME = f"{STATE}/hf"
CACHE = f"{STATE}/cache"
LINKS = f"{STATE}/links"
LINKS_MOUNT: Document = {"name": "links", "mountPath": LINKS}

# The image's own user of vLLM; group 0 may read what the download wrote.
USER, GROUP = 2000, 0
# Endpoints are told of a pod's end while it ends: whoever asked it meanwhile is still answered.
DRAIN_SECONDS = 5
STARTUP_PERIOD = 10

_SHARED_MEMORY_FACTOR = 2

# What a LeaderWorkerSet tells each pod of a group, and the name that every pod's network card has (CNI's default).
_OF_GROUP = {
    "--nnodes": "$(LWS_GROUP_SIZE)",
    "--node-rank": "$(LWS_WORKER_INDEX)",
    "--master-addr": "$(LWS_LEADER_ADDRESS)",
}
_CARDS = {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "=eth0"}
_OWN_ADDRESS = "VLLM_HOST_IP"


def server_container(plan: Plan, service: Service, visible: tuple[int, ...] | None) -> Document:
    """One server.

    Args:
        visible: indices among the GPUs of its pod's claim; None where the GPUs that it asks for are its own.
    """
    engine = plan.engine_of(service)
    program = engine.host.container.program or engine.host.program.name
    return present(
        {
            "name": service.name,
            "image": engine.image,
            "imagePullPolicy": "IfNotPresent",
            "command": [program],
            "args": [*_words(service), *_options(service)],
            "env": _environment(plan, service, visible),
            "ports": [{"containerPort": service.port}],
            "resources": _resources(plan, service),
            "startupProbe": _probe(service, STARTUP_PERIOD, 5, startup_failures(service)),
            "readinessProbe": _probe(service, 10, 5, 3),
            # Slow to judge: a server under load answers late, and a start anew costs minutes.
            "livenessProbe": _probe(service, 15, 10, 8),
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
            "securityContext": _security(plan, service),
            "volumeMounts": list(_mounts(plan, service)),
        }
    )


def startup_failures(service: Service) -> int:
    """Probes that may fail before it is given up: as long as the plan grants the start."""
    return -(-(service.timeouts.start + PREFLIGHT_SECONDS) // STARTUP_PERIOD)


def grace_seconds(service: Service) -> int:
    """From the pod's end to the kill: what is drained, and the pause before."""
    return service.timeouts.stop + DRAIN_SECONDS


def repository_folder(model: ServedModel) -> str:
    """Of a model of the Hub, in its cache."""
    return f"{HF_HOME}/hub/models--{str(model.repository).replace('/', '--')}"


def links(service: Service) -> Iterator[tuple[str, ServedModel]]:
    """Where a server finds those of its models whose full commit nobody knows: links to what was downloaded."""
    for index, model in enumerate(service.models):
        if model.repository is not None and not model.is_pinned:
            yield f"{LINKS}/{service.name}-{index}", model


def snapshot(service: Service, model: ServedModel) -> str:
    """The folder of a model's files: its commit in the Hub's cache, a link to what is there, or its own."""
    if model.repository is None:
        return str(model.folder)
    linked = next((link for link, each in links(service) if each is model), None)
    return linked if linked is not None else f"{repository_folder(model)}/snapshots/{model.commit}"


def _words(service: Service) -> Iterator[str]:
    yield from (_word(service, word) for word in service.words)


def _word(service: Service, word: Word) -> str:
    if isinstance(word, AdapterWord):
        return f"{word.before}{snapshot(service, service.adapters[word.index].model)}{word.after}"
    if isinstance(word, Placeholder):
        model = service.model
        file = model.file if word is Placeholder.MODEL else model.projector
        folder = snapshot(service, model)
        return folder if file is None else f"{folder}/{file}"
    # What is written so would be taken for a variable.
    return word.replace("$(", "$$(")


def _options(service: Service) -> Iterator[str]:
    for argument in service.arguments:
        if service.group is not None and argument.flag in _OF_GROUP:
            yield from (argument.flag, _OF_GROUP[argument.flag])
        elif argument.flag == "--host":
            yield from ("--host", "0.0.0.0")  # noqa: S104 (of the pod's own network)
        elif isinstance(argument.value, str) and argument.value.startswith("-"):
            yield f"{argument.flag}={argument.value}".replace("$(", "$$(")
        else:
            yield from (argument.flag, *(word.replace("$(", "$$(") for word in argument.words))


def _environment(plan: Plan, service: Service, visible: tuple[int, ...] | None) -> list[Document]:
    engine = plan.engine_of(service)
    caches = {"HOME": CACHE, "USER": engine.host.container.login, "LOGNAME": engine.host.container.login}
    values = dict(cache_environment(STATE, (engine,))) | caches | {"HF_MODULES_CACHE": f"{CACHE}/hf-modules"}
    values |= dict(engine.host.offline) | dict(service.environment)
    if visible is not None:
        values |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, visible))}
    elif not service.uses_gpus and not isinstance(plan.node, CpuNode):
        values["CUDA_VISIBLE_DEVICES"] = ""
    given: list[Document] = []
    if service.group is not None:
        values |= _CARDS
        del values[_OWN_ADDRESS]
        given.append({"name": _OWN_ADDRESS, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    given += [{"name": name, "value": value} for name, value in sorted(values.items())]
    if plan.secrets.api_key is not None:
        key = {"name": cluster(plan).secret, "key": "api-key"}
        given.append({"name": engine.host.key_variable, "valueFrom": {"secretKeyRef": key}})
    return given


def _resources(plan: Plan, service: Service) -> Document:
    memory = own_memory(plan, service)
    requests = {"memory": f"{-(-memory // MIB)}Mi"} if memory else {}
    if isinstance(plan.node, CpuNode) or not service.uses_gpus:
        return present({"requests": requests})
    if cluster(plan).has_claims:
        return present({"requests": requests, "claims": [{"name": "gpu"}]})
    gpus = {cluster(plan).gpu_resource: str(len(service.devices))}
    return present({"requests": requests | gpus, "limits": gpus})


def own_memory(plan: Plan, service: Service) -> int:
    """Bytes of main memory that the plan knows it takes: its ledger there, and what lies in /dev/shm."""
    ledgers = plan.devices if isinstance(plan.node, CpuNode) else (() if plan.host is None else (plan.host,))
    counted = sum(server.bytes.high for each in ledgers for server in each.servers if server.service == service.name)
    return counted + shared_memory(service)


def shared_memory(service: Service) -> int:
    """Bytes of /dev/shm: NCCL wants room beside the engine's own queues."""
    return _SHARED_MEMORY_FACTOR * service.shared_memory


def _probe(service: Service, period: int, timeout: int, failures: int) -> Document:
    get = {"path": "/health", "port": service.port}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def _security(plan: Plan, service: Service) -> Document:
    """With GPUs the root file system stays writable: NVIDIA's hook changes it as the container starts."""
    added = ["SYS_NICE"] if binds_memory(plan.engine_of(service), service) else []
    capabilities = present({"drop": ["ALL"], "add": added})
    has_gpus = service.uses_gpus and not isinstance(plan.node, CpuNode)
    is_sealed = {} if has_gpus else {"readOnlyRootFilesystem": True}
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities, **is_sealed}


def _mounts(plan: Plan, service: Service) -> Iterator[Document]:
    yield {"name": "models", "mountPath": HF_HOME, "readOnly": True}
    yield {"name": f"cache-{service.name}", "mountPath": CACHE}
    yield {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108
    if service.shared_memory:
        yield {"name": f"shm-{service.name}", "mountPath": "/dev/shm"}  # noqa: S108
    if any(links(service)):
        yield {**LINKS_MOUNT, "readOnly": True}
    for path in host_files(service, plan.engine_of(service)):
        yield {"name": host_volume(path), "mountPath": path, "readOnly": True}


def host_volume(path: str) -> str:
    """The name of the volume of a file or folder of the cluster's nodes."""
    return f"host-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def server_volumes(plan: Plan, service: Service) -> Iterator[Document]:
    """What is this server's alone in its pod."""
    yield {"name": f"cache-{service.name}", "emptyDir": {}}
    if service.shared_memory:
        size = f"{-(-shared_memory(service) // MIB)}Mi"
        yield {"name": f"shm-{service.name}", "emptyDir": {"medium": "Memory", "sizeLimit": size}}
    if any(links(service)):
        yield {"name": LINKS_MOUNT["name"], "emptyDir": {}}
    for path in host_files(service, plan.engine_of(service)):
        yield {"name": host_volume(path), "hostPath": {"path": path}}
