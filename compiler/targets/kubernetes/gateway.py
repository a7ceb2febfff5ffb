"""`kubernetes/gateway.yaml`: the gateway as pods of its own, and the cluster's way to it."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import Gateway, Plan
from compiler.render.artifact import Artifact
from compiler.targets.containers import Container, gateway_container
from compiler.targets.kubernetes.documents import (
    GATEWAY,
    STACK,
    Document,
    cluster,
    document,
    labels,
    present,
    written,
)
from compiler.targets.kubernetes.pods import SEALED, placement, security_context
from compiler.targets.kubernetes.programs import GATEWAY_PROGRAMS, TREE_MOUNT, config_volume, gateway_files
from compiler.targets.kubernetes.servers import DRAIN_SECONDS
from compiler.targets.kubernetes.storage import environment, secret_mount, secret_volumes

_NGINX_USER = 101
# The program closes its folder to others, which only the owner of one can: a volume's own folder is root's.
_FOLDER = {"STACKC_GATEWAY_DIR": "/run/stackc/gateway"}


def emit_gateway(plan: Plan, programs: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """The gateway, if the plan has one. Args: programs: what `compiler/targets/gateway/` emits for it."""
    if plan.gateway is None:
        return ()
    return (written(plan, GATEWAY, _documents(plan, plan.gateway, programs), "The gateway."),)


def _documents(plan: Plan, gateway: Gateway, programs: tuple[Artifact, ...]) -> Iterator[Document]:
    yield document(plan, "apps/v1", "Deployment", GATEWAY, GATEWAY, spec=_deployment(plan, gateway, programs))
    ports = [{"name": "http", "port": gateway.port, "targetPort": gateway.port}]
    yield document(plan, "v1", "Service", GATEWAY, GATEWAY, spec={"selector": _selector(plan), "ports": ports})
    route = cluster(plan).route
    if route is not None:
        parent = present({"name": route.gateway, "namespace": route.namespace})
        rules = [{"backendRefs": [{"name": GATEWAY, "port": gateway.port}]}]
        spec = present({"parentRefs": [parent], "hostnames": list(route.hostnames), "rules": rules})
        yield document(plan, "gateway.networking.k8s.io/v1", "HTTPRoute", GATEWAY, GATEWAY, spec=spec)


def _selector(plan: Plan) -> Document:
    return {STACK: plan.stack, "app.kubernetes.io/component": GATEWAY}


def _deployment(plan: Plan, gateway: Gateway, programs: tuple[Artifact, ...]) -> Document:
    return {
        "replicas": 1,
        "revisionHistoryLimit": 5,
        # It needs no GPU: the new one is ready before the old one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": _selector(plan)},
        "template": {"metadata": {"labels": labels(plan, GATEWAY)}, "spec": _pod(plan, gateway, programs)},
    }


def _pod(plan: Plan, gateway: Gateway, programs: tuple[Artifact, ...]) -> Document:
    container = gateway_container(plan, gateway)
    is_nginx = gateway.kind == "nginx"
    folders = {volume.name: volume.path for volume in container.volumes}
    folders |= {f"memory{index}": each.path for index, each in enumerate(container.tmpfs)}
    return present(
        {
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": (container.stop_seconds or 0) + DRAIN_SECONDS,
            "securityContext": security_context(_NGINX_USER, gateway.port) if is_nginx else None,
            **placement(plan),
            "containers": [_container(container, gateway, folders)],
            "volumes": [
                config_volume(plan, GATEWAY_PROGRAMS, gateway_files(programs)) | {"name": "tree"},
                *({"name": name, "emptyDir": {}} for name in folders),
                *secret_volumes(plan, container.secrets),
            ],
        }
    )


def _container(container: Container, gateway: Gateway, folders: dict[str, str]) -> Document:
    get = {"httpGet": {"path": "/health", "port": gateway.port}, "timeoutSeconds": 5}
    return {
        "name": GATEWAY,
        "image": container.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(container.entrypoint),
        "env": environment(dict(container.environment) | _FOLDER, container.secrets),
        "ports": [{"containerPort": gateway.port}],
        "startupProbe": {**get, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**get, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**get, "periodSeconds": 15, "failureThreshold": 4},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "securityContext": SEALED
        if container.is_read_only
        else {key: SEALED[key] for key in SEALED if "Root" not in key},
        "volumeMounts": [
            TREE_MOUNT,
            *({"name": name, "mountPath": path} for name, path in folders.items()),
            *map(secret_mount, container.secrets),
        ],
    }
