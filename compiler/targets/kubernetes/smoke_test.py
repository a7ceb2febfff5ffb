"""`kubernetes/smoke-test.yaml`: the smoke test as a Job, which is applied when the servers are up."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.containers import TREE, prefetch_container
from compiler.targets.kubernetes.documents import (
    GATEWAY,
    SMOKE_TEST,
    Document,
    document,
    labels,
    own_name,
    present,
    written,
)
from compiler.targets.kubernetes.pods import SCRATCH_MOUNT, SEALED, placement, security_context
from compiler.targets.kubernetes.programs import TREE_MOUNT, tree_volume
from compiler.targets.kubernetes.servers import USER
from compiler.targets.kubernetes.storage import secret_mount, secret_path, secret_volumes

# For the Service of a server to have it.
_PATIENCE_SECONDS = 300


def emit_smoke_test(plan: Plan) -> Artifact:
    """A container for each server, and one for the gateway; the Job fails with any of them."""
    return written(
        plan, SMOKE_TEST, [_job(plan)], "Asks every server and the gateway whether they are what the plan says."
    )


def _job(plan: Plan) -> Document:
    template = {"metadata": {"labels": labels(plan, SMOKE_TEST)}, "spec": _pod(plan)}
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 86400, "template": template}
    return document(plan, "batch/v1", "Job", own_name(plan, SMOKE_TEST), SMOKE_TEST, spec=spec)


def _pod(plan: Plan) -> Document:
    secrets = _secrets(plan)
    return present(
        {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": security_context(USER),
            **placement(plan),
            "containers": list(_containers(plan, secrets)),
            "volumes": [tree_volume(plan), {"name": "scratch", "emptyDir": {}}, *secret_volumes(plan, secrets)],
        }
    )


def _secrets(plan: Plan) -> tuple[str, ...]:
    has_keys = plan.gateway is not None and plan.secrets.client_keys is not None
    given = (("api-key", plan.secrets.api_key is not None), ("client-keys", has_keys))
    return tuple(name for name, is_there in given if is_there)


def _containers(plan: Plan, secrets: tuple[str, ...]) -> Iterator[Document]:
    for service in plan.services:
        yield _container(plan, secrets, service.name, (service.name, "--no-gateway", "--host", service.name))
    if plan.gateway is not None:
        yield _container(plan, secrets, f"through-{GATEWAY}", ("--gateway-only", "--host", GATEWAY))


def _container(plan: Plan, secrets: tuple[str, ...], name: str, words: tuple[str, ...]) -> Document:
    keys = [f"--{secret}-file={secret_path(secret)}" for secret in secrets]
    return {
        "name": name,
        "image": prefetch_container(plan).image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", f"{TREE}/bin/smoke-test"],
        "args": [*words, f"--timeout={_PATIENCE_SECONDS}", *keys],
        "securityContext": SEALED,
        "volumeMounts": [TREE_MOUNT, SCRATCH_MOUNT, *map(secret_mount, secrets)],
    }
