"""Documents for Kubernetes are valid for several of its releases, kubectl builds them, and their programs run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from compiler.plan.ir import Plan
from tests.conftest import missing, tool
from tests.kubernetes.clusters import (
    PLANS,
    documents,
    files,
    in_cluster,
    mounted,
    named,
    read,
    server,
    team,
    templates,
)
from tests.kubernetes.custom_resources import KINDS, problems
from tests.unit.plan_samples import one_on_two_gpus, with_service

pytestmark = pytest.mark.emitted

# All kinds of a release are in one file of megabytes.
_schema = cache(kubernetes_validate.utils.schema_contents)


def validate(document: Mapping[str, Any], release: str) -> None:
    """Raises what `kubernetes-validate --strict` would print."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", _schema)
        kubernetes_validate.validate(dict(document), release, strict=True)


# The oldest has everything but claims of GPUs in their final form.
RELEASES = ("1.34", "1.37")
stacks = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)


@stacks
@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_knows_every_field(plan: Plan, release: str) -> None:
    for each in documents(plan):
        if (each["apiVersion"], each["kind"]) not in KINDS:
            validate(each, release)
    for template in templates(plan):
        validate({"apiVersion": "v1", "kind": "PodTemplate", "template": template}, release)


@stacks
def test_custom_kinds_have_no_field_that_a_server_would_drop(plan: Plan) -> None:
    for each in documents(plan):
        fields = KINDS.get((each["apiVersion"], each["kind"]))
        assert fields is None or not list(problems(each["spec"], fields, each["kind"]))


def test_a_field_that_nobody_knows_is_found() -> None:
    pool = named(team(), "InferencePool", "general")["spec"]
    fields = KINDS[("inference.networking.k8s.io/v1", "InferencePool")]
    assert list(problems(pool | {"selectors": {}}, fields, "InferencePool")) == ["InferencePool.selectors is no field"]


@stacks
def test_kustomize_builds_it(plan: Plan, tmp_path: Path) -> None:
    if subprocess.run([sys.executable, "-c", "import kubectl_cli"], check=False, capture_output=True).returncode:
        tool("kubectl")
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        missing("kubectl is not installed")
    for name, text in files(plan).items():
        (tmp_path / name).write_text(text)
    built = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    own = [
        each
        for each in documents(plan)
        if each["metadata"]["name"].partition("-")[0] != "smoke" or each["kind"] != "Job"
    ]
    assert len(list(read(built.stdout))) == len(own)


def test_a_model_whose_commit_nobody_knows_is_found_by_a_link(tmp_path: Path) -> None:
    model = replace(
        one_on_two_gpus().services[0].model, repository="acme/model", folder=None, commit=None, is_pinned=False
    )
    plan = in_cluster(with_service(one_on_two_gpus(), one_on_two_gpus().services[0].name, model=model))
    (service,) = plan.services
    (waits, *_) = named(plan, "Deployment", service.name)["spec"]["template"]["spec"]["initContainers"]
    folder = tmp_path / "hf/hub/models--acme--model"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    (tmp_path / "links").mkdir()
    *_, link = waits["command"][2].replace("/var/lib/stackc", str(tmp_path)).partition(" && ")
    subprocess.run(["sh", "-c", link], check=True)
    place = Path(next(word for word in server(plan, service.name)["args"] if "/links/" in word))
    assert (tmp_path / place.relative_to("/var/lib/stackc")).resolve() == folder / "snapshots/abc"
    assert {each["name"] for each in waits["volumeMounts"]} >= {"links"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the container of the smoke test sees below /opt/stackc."""
    spec = named(team(), "Job", "smoke-test")["spec"]["template"]["spec"]
    volumes: Mapping[str, Any] = {each["name"]: each for each in spec["volumes"]}
    return mounted(team(), volumes["tree"], tmp_path)


@pytest.mark.parametrize("program", ["prefetch", "preflight", "smoke-test"])
def test_programs_find_all_that_they_import(tree: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", tree / "bin" / program, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_server_waits_while_its_model_is_not_whole(tree: Path, tmp_path: Path) -> None:
    """By a program that writes nothing: pods see the models read only."""
    home = tmp_path / "hf"
    (model,) = {service.model.repository for service in team().services if service.name == "coder"}
    snapshot = home / "hub" / f"models--{str(model).replace('/', '--')}" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    for folder in (snapshot, *snapshot.parents[:4]):
        folder.chmod(0o555)
    script = named(team(), "Deployment", "coder")["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    asked = script.removeprefix("until ").partition(";")[0].replace("/opt/stackc", str(tree))
    assert "--only model" in asked
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(home), "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", asked], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 15, done.stdout + done.stderr
    assert "Qwen2.5-Coder-32B-Instruct-AWQ" in done.stdout
    assert sorted(path.name for path in home.iterdir()) == ["hub"]
