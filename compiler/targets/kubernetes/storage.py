"""`kubernetes/storage.yaml` and `prefetch.yaml`: where models lie, and the Job that brings them there."""

from __future__ import annotations

import hashlib

from compiler.plan.disk import disk_of
from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.containers import SECRETS, prefetch_container
from compiler.targets.kubernetes.documents import (
    PREFETCH,
    Document,
    cluster,
    document,
    labels,
    own_name,
    present,
    written,
    yaml_text,
)
from compiler.targets.kubernetes.pods import (
    SCRATCH_MOUNT,
    SEALED,
    affinity,
    models_volume,
    placement,
    security_context,
)
from compiler.targets.kubernetes.programs import TREE_MOUNT, tree_volume
from compiler.targets.kubernetes.servers import CACHE, HF_HOME, USER
from compiler.targets.plan_json import emit_plan_json
from compiler.units import GIB

# What a download keeps beside the files, and file systems for themselves.
_MARGIN_PERCENT = 110
_RETRIES = 6


def emit_storage(plan: Plan) -> tuple[Artifact, ...]:
    """The claim, unless there is one, and the Job."""
    prefetch = written(plan, PREFETCH, [_job(plan)], "Downloads the models into the claim; safe to repeat.")
    if cluster(plan).storage.claim is not None:
        return (prefetch,)
    return (written(plan, "storage", [_claim(plan)], "Where models lie."), prefetch)


def _claim(plan: Plan) -> Document:
    storage = cluster(plan).storage
    spec = {
        "accessModes": [storage.access],
        "storageClassName": storage.storage_class,
        "resources": {"requests": {"storage": f"{_gibibytes(plan)}Gi"}},
    }
    return document(plan, "v1", "PersistentVolumeClaim", own_name(plan, "models"), PREFETCH, spec=present(spec))


def _gibibytes(plan: Plan) -> int:
    """What the spec asks for, or what the models need, and a tenth."""
    asked = cluster(plan).storage.size_bytes
    size = asked if asked is not None else disk_of(plan).to_download * _MARGIN_PERCENT // 100
    return max(1, -(-size // GIB))


def _job(plan: Plan) -> Document:
    template = {"metadata": {"labels": labels(plan, PREFETCH)}, "spec": _pod(plan)}
    spec = {"backoffLimit": _RETRIES, "template": template}
    # A Job cannot be changed: what another plan brings is one of another name.
    said = yaml_text(spec) + emit_plan_json(plan).text
    digest = hashlib.sha256(said.encode()).hexdigest()[:10]
    return document(plan, "batch/v1", "Job", f"{own_name(plan, PREFETCH)}-{digest}", PREFETCH, spec=spec)


def _pod(plan: Plan) -> Document:
    container = prefetch_container(plan)
    return present(
        {
            "restartPolicy": "OnFailure",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": security_context(USER),
            **placement(plan),
            "affinity": affinity(plan, ()),
            "containers": [
                {
                    "name": PREFETCH,
                    "image": container.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(container.entrypoint),
                    "env": environment(dict(container.environment), container.secrets),
                    "securityContext": SEALED,
                    "volumeMounts": _mounts(plan),
                }
            ],
            "volumes": [
                models_volume(plan, reads_only=False),
                tree_volume(plan),
                {"name": "scratch", "emptyDir": {}},
                {"name": "cache", "emptyDir": {}},
                *secret_volumes(plan, container.secrets),
            ],
        }
    )


def _mounts(plan: Plan) -> list[Document]:
    secrets = [secret_mount(name) for name in prefetch_container(plan).secrets]
    folders = [{"name": "models", "mountPath": HF_HOME}, {"name": "cache", "mountPath": CACHE}]
    return [TREE_MOUNT, *folders, SCRATCH_MOUNT, *secrets]


def secret_mount(name: str) -> Document:
    """A key of the stack's Secret, in a folder of its own: a single file would stay as it was when the key changes."""
    return {"name": f"secret-{name}", "mountPath": f"{SECRETS}/{name}", "readOnly": True}


def secret_path(name: str) -> str:
    """Where a container finds it."""
    return f"{SECRETS}/{name}/key"


def secret_volumes(plan: Plan, names: tuple[str, ...]) -> list[Document]:
    """A volume for each key, so that a container sees no other."""
    secret = cluster(plan).secret
    return [
        {
            "name": f"secret-{name}",
            "secret": {"secretName": secret, "defaultMode": 0o440, "items": [{"key": name, "path": "key"}]},
        }
        for name in names
    ]


def environment(values: dict[str, str], secrets: tuple[str, ...]) -> list[Document]:
    """Variables of a container, with its secrets where pods have them."""
    moved = {f"{SECRETS}/{name}": secret_path(name) for name in secrets}
    return [{"name": name, "value": moved.get(value, value)} for name, value in sorted(values.items())]
