"""What of the tree pods need: ConfigMaps with programs, and where each of their files lies in a container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.containers import TREE
from compiler.targets.kubernetes.documents import GATEWAY, PREFETCH, Document, document, own_name, written
from compiler.targets.library import emit_library, emit_program
from compiler.targets.plan_json import emit_plan_json

# Parts of the library that programs of pods import; installers and judges run elsewhere.
_QUESTIONS = "lib/stack/ask/"
_ASKING = ("lib/stack/ask/", "lib/stack/machine/", "lib/stack/models/")
_GATEWAY_LIBRARY = (".bash", "lib/supervise")

PROGRAMS, QUESTIONS, PLAN, GATEWAY_PROGRAMS = "programs", "questions", "plan", "gateway-programs"
EXECUTABLE_MODE, PLAIN_MODE = 0o555, 0o444


def emit_programs(plan: Plan, gateway: tuple[Artifact, ...]) -> Artifact:
    """`kubernetes/programs.yaml`. Args: gateway: what is emitted for it, as `bin/gateway`; empty without one."""
    return written(plan, PROGRAMS, _config_maps(plan, gateway), "Programs of the tree, as pods see them.")


def _config_maps(plan: Plan, gateway: tuple[Artifact, ...]) -> Iterator[Document]:
    for name, files in _tree(plan):
        yield _config_map(plan, name, PREFETCH, files)
    if gateway:
        yield _config_map(plan, GATEWAY_PROGRAMS, GATEWAY, gateway_files(gateway))


def _tree(plan: Plan) -> tuple[tuple[str, tuple[Artifact, ...]], ...]:
    """The maps of the tree. `kubectl apply` keeps a copy of each in an annotation, which holds 256 KiB at most."""
    files = asking_files()
    questions = tuple(each for each in files if str(each.path).startswith(_QUESTIONS))
    others = tuple(each for each in files if each not in questions)
    return ((PROGRAMS, others), (QUESTIONS, questions), (PLAN, (emit_plan_json(plan),)))


def asking_files() -> tuple[Artifact, ...]:
    """Of `bin/prefetch`, `bin/preflight` and `bin/smoke-test`."""
    own = (each for each in emit_library() if _is_asking(each.path))
    return (*map(emit_program, ("prefetch", "preflight", "smoke-test")), *own)


def _is_asking(path: PurePosixPath) -> bool:
    name = str(path)
    is_shared = path.parent == PurePosixPath("lib/stack")
    return path.suffix == ".py" and (is_shared or name.startswith(_ASKING))


def gateway_files(emitted: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """Of `bin/gateway`, with what it sources."""
    return (*emitted, *(each for each in emit_library() if str(each.path).endswith(_GATEWAY_LIBRARY)))


def _config_map(plan: Plan, name: str, part: str, files: tuple[Artifact, ...]) -> Document:
    data = {key_of(each.path): each.text for each in files}
    return document(plan, "v1", "ConfigMap", own_name(plan, name), part, data=data)


def key_of(path: PurePosixPath) -> str:
    """A key of a ConfigMap has no slashes."""
    return str(path).replace("/", "__")


def config_volume(plan: Plan, name: str, files: tuple[Artifact, ...]) -> Document:
    """A volume in which each file has its place again."""
    items = [{"key": key_of(each.path), "path": str(each.path)} for each in files]
    return {"name": name, "configMap": {"name": own_name(plan, name), "items": items, "defaultMode": EXECUTABLE_MODE}}


def tree_volume(plan: Plan) -> Document:
    """The tree as `bin/prefetch` and `bin/smoke-test` look for it: programs and the plan in one folder."""
    sources = [
        {
            "configMap": {
                "name": own_name(plan, name),
                "items": [{"key": key_of(e.path), "path": str(e.path)} for e in files],
            }
        }
        for name, files in _tree(plan)
    ]
    return {"name": "tree", "projected": {"sources": sources, "defaultMode": EXECUTABLE_MODE}}


TREE_MOUNT: Document = {"name": "tree", "mountPath": TREE, "readOnly": True}
