"""Documents of Kubernetes as plain data, and how they are written: several in a file, after lines of three dashes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from itertools import starmap
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from compiler.plan.ir import Plan
from compiler.plan.kubernetes import Kubernetes
from compiler.render.artifact import Artifact

FOLDER = PurePosixPath("kubernetes")

Document = dict[str, Any]

PART, SERVICE, STACK = "app.kubernetes.io/component", "stackc/service", "app.kubernetes.io/part-of"
SERVER, GATEWAY, PREFETCH, SMOKE_TEST = "server", "gateway", "prefetch", "smoke-test"

_WIDTH = 4096
_EDITS = "# DO NOT EDIT: change the spec and compile again.\n"


def cluster(plan: Plan) -> Kubernetes:
    """What is so in the cluster."""
    assert plan.kubernetes is not None  # noqa: S101  a plan with this target has it
    return plan.kubernetes


def service_domain(plan: Plan) -> str:
    """Below which Services have their names. nginx looks a name up as it is, without the search domains of a pod."""
    return f"{cluster(plan).namespace}.svc.{cluster(plan).cluster_domain}"


def own_name(plan: Plan, name: str) -> str:
    """Of an object that each node's tree has: with several nodes all of them lie in one namespace."""
    return f"{name}-{plan.node.name}" if plan.folder else name


def labels(plan: Plan, part: str, **more: str) -> Document:
    """By which objects of a stack are found: the stack, what it is, and whatever else."""
    node = {"stackc/node": plan.node.name} if plan.folder else {}
    return {STACK: plan.stack, PART: part, **node, **{f"stackc/{key}": value for key, value in more.items()}}


def document(plan: Plan, version: str, kind: str, name: str, part: str, **content: Any) -> Document:
    """An object of the stack's namespace. Keys of `content` without a value are left out."""
    metadata = {"name": name, "namespace": cluster(plan).namespace, "labels": labels(plan, part)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **present(content)}


def present(content: Mapping[str, Any]) -> Document:
    """Without what is None or empty, neither of which says anything to Kubernetes."""
    return {key: value for key, value in content.items() if value is not None and value not in ({}, [])}


def written(plan: Plan, name: str, documents: Iterable[Document], about: str) -> Artifact:
    """`kubernetes/NAME.yaml`; `about` is a sentence for whoever opens it."""
    head = f"# {about} Stack `{plan.stack}`, written by `stackc compile`.\n{_EDITS}"
    return Artifact(FOLDER / f"{name}.yaml", head + "".join(f"---\n{yaml_text(each)}" for each in documents))


def yaml_text(content: Document) -> str:
    """Keys in the order in which they were made. Whole files, in a ConfigMap's `data`, are written as they are."""
    files = content["data"] if content.get("kind") == "ConfigMap" else {}
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = _WIDTH
    yaml.representer.ignore_aliases = lambda _: True
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump({key: value for key, value in content.items() if not files or key != "data"}, stream)
    return stream.getvalue() + ("data:\n" + "".join(starmap(_file, files.items())) if files else "")


def _file(name: str, text: str) -> str:
    """A text as a block: 200 KB of programs take a serializer a third of a second.

    Raises:
        ValueError: the text is none that a plain block keeps as it is.
    """
    if text[:1].isspace() or not text.endswith("\n") or text.endswith("\n\n") or "\r" in text:
        raise ValueError(f"{name} is no text of whole lines")
    return f"  {name}: |\n" + textwrap.indent(text, "    ")
