"""`patches.compose`: keys to add to the compose file. What stackc writes there stays as it is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS, SERVICE_KEYS, TOP_LEVEL_KEYS
from compiler.checks.engines import fixed_variables
from compiler.checks.patches.tree import Appendable, Conflict, Decided, Tree, compare, unwritable
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile

_ENGINE_IMAGE = Decided("it follows from `engine.vllm` and `engine.image`")
_SCRIPT = Decided("the container runs a script of the tree")
_CACHE = Decided("caches lie in the stack's volumes")
_SECRET = Decided("a secret must not stand in a committed file: `secrets` names the file that holds it")
_PLAN = Decided("it follows from the plan")
_ISOLATION = Decided("it would undo the isolation from the machine and from other containers")
_GPUS = Decided("it would give the container GPUs that the plan has not counted")
_ORDER = Decided("the containers start in the plan's order")
_NETWORK = Decided("it follows from `gateway`, and from `host` and `port` where there is none")
_OUTSIDE = Decided("nothing is told to anybody outside")
_LOGIN = Decided("everyone on the machine may look and nobody may change anything, so that no password is needed")
_SHUT = Decided("it keeps the server shut, or its processes on this machine")
_ONE = Decided("there is one container of each service")

_ENVIRONMENT: Tree = {
    "CUDA_DEVICE_ORDER": _PLAN,
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "HF_HOME": _CACHE,
    "HF_HUB_OFFLINE": Decided("a server reads the snapshot that was fetched, a download does not"),
    "HF_TOKEN": _SECRET,
    "HOME": _CACHE,
    "HUGGING_FACE_HUB_TOKEN": _SECRET,
    "LITELLM_MASTER_KEY": _SECRET,
    "LOGNAME": _PLAN,
    "NVIDIA_VISIBLE_DEVICES": _GPUS,
    "LLAMA_API_KEY": _SECRET,
    "LLAMA_CACHE": _CACHE,
    "STACKC_API_KEY_FILE": _PLAN,
    "STACKC_CLIENT_KEYS_FILE": _PLAN,
    "STACKC_CONTAINER": _PLAN,
    "STACKC_GATEWAY_DIR": _PLAN,
    "STACKC_HF_TOKEN_FILE": _PLAN,
    "STACKC_HOST": _PLAN,
    "STACKC_LOCK_DIR": _PLAN,
    "STACKC_STATE_DIR": _PLAN,
    "STACKC_LLAMA_SERVER": _PLAN,
    "STACKC_VLLM": _SCRIPT,
    "TORCHINDUCTOR_CACHE_DIR": _CACHE,
    "TRITON_CACHE_DIR": _CACHE,
    "USER": _PLAN,
    "VLLM_API_KEY": _SECRET,
    "VLLM_CACHE_ROOT": _CACHE,
    "VLLM_CPU_KVCACHE_SPACE": _PLAN,
    "VLLM_CPU_OMP_THREADS_BIND": _PLAN,
    "VLLM_ENGINE_READY_TIMEOUT_S": _PLAN,
    "VLLM_NO_USAGE_STATS": _PLAN,
    "XDG_CACHE_HOME": _CACHE,
}

# What stackc writes for containers of every kind, or what would take away from what it writes.
_COMMON: Tree = {
    "build": _ENGINE_IMAGE,
    "cap_drop": _ISOLATION,
    "command": _SCRIPT,
    "entrypoint": _SCRIPT,
    "environment": _ENVIRONMENT,
    "extends": Decided("it would bring keys that stackc has not seen"),
    "image": _ENGINE_IMAGE,
    "init": _PLAN,
    "ipc": _ISOLATION,
    "logging": {
        "driver": Decided("logs are kept in files of bounded size"),
        "options": {"max-size": _PLAN, "max-file": _PLAN},
    },
    "network_mode": _NETWORK,
    "networks": _NETWORK,
    "pid": _ISOLATION,
    "ports": _NETWORK,
    "privileged": _ISOLATION,
    "profiles": _PLAN,
    "provider": _ENGINE_IMAGE,
    "restart": _PLAN,
    "scale": _ONE,
    "secrets": Decided("each container gets the secrets that it needs"),
    "security_opt": _ISOLATION,
    "user": Decided("the volumes belong to it"),
    "userns_mode": Decided("the volumes belong to the container's user"),
    "volumes": Appendable(),
}
_SERVER: Tree = {
    **_COMMON,
    "cap_add": Decided("a server needs none, but for `SYS_NICE` where it binds its memory to a NUMA node"),
    "deploy": {
        "mode": _ONE,
        "replicas": _ONE,
        "resources": {"reservations": {"devices": _GPUS}},
    },
    "devices": _GPUS,
    "gpus": _GPUS,
    "healthcheck": Decided("it follows from the port and from the time that a start may take"),
    "read_only": _ISOLATION,
    "runtime": _GPUS,
    "shm_size": Decided("it follows from the number of workers"),
    "stop_grace_period": Decided("it must be longer than the server's own `--shutdown-timeout`"),
    "stop_signal": Decided("vLLM ends on SIGTERM"),
    "tmpfs": Decided("what the server may write follows from its image; `volumes` can be added"),
    "ulimits": dict.fromkeys(("core", "memlock", "nofile", "stack"), _PLAN),
}
_GATEWAY: Tree = {
    **_COMMON,
    "healthcheck": _PLAN,
    "image": Decided("it follows from `gateway.kind` and `gateway.image`"),
    "read_only": _ISOLATION,
    "stop_grace_period": _PLAN,
    "stop_signal": _PLAN,
    "tmpfs": _PLAN,
}
_ONE_SHOT: Tree = {**_COMMON, "cap_add": _ISOLATION, "read_only": _ISOLATION, "tmpfs": _PLAN}
_MONITORING: Tree = {
    **_COMMON,
    "read_only": _ISOLATION,
    "tmpfs": _PLAN,
    "deploy": {"mode": _ONE, "replicas": _ONE, "resources": {"reservations": {"devices": _GPUS}}},
    "environment": {
        "DCGM_EXPORTER_LISTEN": _NETWORK,
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": _OUTSIDE,
        "GF_ANALYTICS_CHECK_FOR_UPDATES": _OUTSIDE,
        "GF_ANALYTICS_REPORTING_ENABLED": _OUTSIDE,
        "GF_AUTH_ANONYMOUS_ENABLED": _LOGIN,
        "GF_AUTH_ANONYMOUS_ORG_ROLE": _LOGIN,
        "GF_AUTH_BASIC_ENABLED": _LOGIN,
        "GF_AUTH_DISABLE_LOGIN_FORM": _LOGIN,
        "GF_SECURITY_ADMIN_PASSWORD": _SECRET,
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": _LOGIN,
    },
    "image": Decided("it is the release that the rules and the dashboard were written for"),
}
_KINDS: Mapping[str, Tree] = {
    "gateway": _GATEWAY,
    "prefetch": _ONE_SHOT,
    "prepare": _ONE_SHOT,
    PROMETHEUS: _MONITORING,
    GRAFANA: _MONITORING,
    DCGM: _MONITORING,
}

FILE_TREE: Tree = {
    "include": Decided("it would bring keys that stackc has not seen"),
    "name": Decided("it is `stack`"),
    "networks": {
        "backend": {"internal": _NETWORK},
        "download": {"internal": _NETWORK},
        "edge": {"internal": _NETWORK},
    },
    "secrets": {
        name: Decided("it is the file that `secrets` names") for name in ("api-key", "client-keys", "hf-token")
    },
    # Where a volume lies is the machine's affair: a driver and its options may be added.
    "volumes": {
        name: {}
        for name in (
            "gateway-state",
            "grafana-data",
            "hf-cache",
            "llama-cache",
            "locks",
            "prometheus-data",
            "vllm-cache",
        )
    },
}


def server_environment(fixed: Iterable[str] = ()) -> Tree:
    """Variables that stackc decides in containers of servers and of what stands around them.

    Args:
        fixed: those of the stack's engines.
    """
    return {**dict.fromkeys(fixed, _SHUT), **_ENVIRONMENT}


def service_tree(name: str, written: Iterable[str], fixed: Iterable[str] = ()) -> Tree | None:
    """What stackc writes for a container; None for one that a patch brings itself.

    Args:
        name: of the container.
        written: names of all that stackc writes.
        fixed: variables of the stack's engines that nobody may set.
    """
    others = tuple(written)
    if name not in others:
        return None
    tree = _KINDS.get(name, _SERVER)
    environment = server_environment(fixed) if tree["environment"] is _ENVIRONMENT else tree["environment"]
    # Containers of the patch's own may come first as well; the order among the stack's is the plan's.
    return {**tree, "environment": environment, "depends_on": dict.fromkeys(others, _ORDER)}


def written_services(spec: Spec) -> tuple[str, ...]:
    """Names of the containers that the compose file of a spec has without any patch."""
    gateway = ("gateway",) if spec.gateway is not None else ()
    return ("prepare", *spec.services, *gateway, "prefetch", *monitoring_containers(spec))


def monitoring_containers(spec: Spec) -> tuple[str, ...]:
    """Those of Prometheus and what belongs to it."""
    if spec.monitoring is None:
        return ()
    has_dcgm = spec.monitoring.dcgm and spec.has_gpus
    used = {PROMETHEUS: True, GRAFANA: spec.monitoring.grafana, DCGM: has_dcgm}
    return tuple(name for name, is_used in used.items() if is_used)


def check_compose_patch(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A patch adds keys that Compose knows, and changes none that stackc writes."""
    patch = file.spec.patches.compose
    for found in unwritable(patch):
        path = ("patches", "compose", *found.path)
        message = f"`{'.'.join(found.path)}` cannot be written: {found.why}"
        yield Diagnostic("E0217", message, file.at(*path), helps=(_removal(path),))
    yield from _unknown_keys(file, patch, TOP_LEVEL_KEYS, ())
    top = {key: value for key, value in patch.items() if key != "services"}
    yield from _conflicts(file, top, FILE_TREE, ())
    services = patch.get("services", {})
    if not isinstance(services, Mapping):
        yield _not_a_map(file, ("services",))
        return
    written, fixed = written_services(file.spec), fixed_variables(file, engines)
    for name, service in services.items():
        where = ("services", name)
        if not isinstance(service, Mapping):
            yield _not_a_map(file, where)
            continue
        yield from _unknown_keys(file, service, SERVICE_KEYS, where)
        tree = service_tree(name, written, fixed)
        if tree is not None:
            yield from _conflicts(file, service, tree, where)
        elif not {"image", "build", "provider"} & service.keys():
            yield _stranger(file, name, written)


def _unknown_keys(
    file: SpecFile, given: Mapping[str, Any], known: frozenset[str], where: tuple[str, ...]
) -> Iterator[Diagnostic]:
    for key in given:
        if key in known or key.startswith("x-"):
            continue
        path = ("patches", "compose", *where, key)
        near = difflib.get_close_matches(key, known, n=1)
        message = f"Compose knows no `{key}` {'of a service' if where else 'at the top of its file'}"
        helps = (*(Help(f"did you mean `{name}`?") for name in near), _removal(path))
        yield Diagnostic("E0217", message, file.at_key(*path), helps=helps)


def _conflicts(file: SpecFile, given: Mapping[str, Any], tree: Tree, where: tuple[str, ...]) -> Iterator[Diagnostic]:
    for found in compare(given, tree, where):
        if isinstance(found, Conflict):
            path = ("patches", "compose", *found.path)
            message = f"stackc decides `{'.'.join(found.path)}`: {found.why}"
            yield Diagnostic("E0217", message, file.at_key(*path), helps=(_removal(path),))


def _not_a_map(file: SpecFile, where: tuple[str, ...]) -> Diagnostic:
    path = ("patches", "compose", *where)
    message = f"`{'.'.join(where)}` must be a map of keys to values"
    return Diagnostic("E0217", message, file.at(*path), helps=(_removal(path),))


def _stranger(file: SpecFile, name: str, written: tuple[str, ...]) -> Diagnostic:
    path = ("patches", "compose", "services", name)
    notes = (f"containers of the stack: {', '.join(written)}",)
    near = difflib.get_close_matches(name, written, n=1)
    helps = (*(Help(f"did you mean `{each}`?") for each in near), _removal(path))
    message = f"`{name}` is no container of the stack, and has no `image` to be one of its own"
    return Diagnostic("E0217", message, file.at_key(*path), notes, helps)


def _removal(path: tuple[str, ...]) -> Help:
    return Help(f"remove `{path[-1]}` from the patch", (Edit(path, None),))
