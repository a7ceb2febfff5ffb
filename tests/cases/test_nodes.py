"""Stacks on several nodes: what each machine gets, and that it is what a stack of that machine alone would be."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pytest_regressions.file_regression import FileRegressionFixture
from ruamel.yaml import YAML

from compiler.cli.main import cli
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.pipeline import compile_stack
from tests.conftest import tool

CASE = Path(__file__).parent / "nodes" / "two-nodes"
SEATS = {"rack1": ["coder"], "desk": ["drafts", "general"]}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the case, and the working directory."""
    folder = tmp_path / CASE.name
    shutil.copytree(CASE, folder)
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def spec_of(case: Path) -> dict[str, Any]:
    spec: dict[str, Any] = YAML(typ="safe").load((case / "two-nodes.yaml").read_text())
    return spec


def alone(case: Path, node: str, folder: Path) -> dict[str, str]:
    """The files of a stack that is one of the nodes, with the services that run there."""
    spec, path = spec_of(case), folder / "two-nodes.yaml"
    spec["nodes"] = {node: spec["nodes"][node]}
    spec["services"] = {name: asked for name, asked in spec["services"].items() if name in SEATS[node]}
    folder.mkdir()
    path.write_text(json.dumps(spec))
    lock, _ = read_lock(case / "two-nodes.lock.yaml", "lock")
    assert lock is not None
    services = {name: lock.services[name] for name in SEATS[node]}
    wanted = {name for service in services.values() for name in service.candidates}
    models = {name: facts for name, facts in lock.models.items() if name in wanted}
    write_lock(folder / "two-nodes.lock.yaml", Lock(schema=1, services=services, models=models))
    compiled, found = compile_stack(path, "two-nodes.yaml")
    assert compiled is not None, found
    return {str(artifact.path): artifact.text for artifact in compiled.artifacts}


def test_the_overview_says_what_runs_where(case: Path, file_regression: FileRegressionFixture) -> None:
    assert run("compile", "two-nodes.yaml").exit_code == 0
    file_regression.check((case / "generated/two-nodes/README.md").read_text(), fullpath=CASE / "expected.md")


@pytest.mark.parametrize("node", SEATS)
def test_a_node_s_tree_is_that_of_a_stack_on_its_own(case: Path, tmp_path: Path, node: str) -> None:
    assert run("compile", "two-nodes.yaml").exit_code == 0
    tree = case / "generated" / "two-nodes" / node
    wanted = alone(case, node, tmp_path / "alone")
    (library,) = (case / "generated/_lib").iterdir()
    assert (tree / "lib").readlink() == Path("../../_lib", library.name)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)  # through the link, as to another machine
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} == {*wanted, "SHA256SUMS"}
    for path, text in wanted.items():
        assert (tree / path).read_text().replace(f"generated/two-nodes/{node}", "generated/two-nodes") == text, path
    for folder in (tree, copy):
        subprocess.run([tool("sha256sum"), "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)


def test_check_covers_every_node(case: Path) -> None:
    assert run("compile", "two-nodes.yaml").exit_code == 0
    assert run("compile", "--check", "two-nodes.yaml").exit_code == 0
    (case / "generated/two-nodes/desk/plan.json").write_text("{}")
    result = run("compile", "--check", "-v", "two-nodes.yaml")
    assert result.exit_code == 1
    assert "desk/plan.json was edited by hand" in result.output
    assert "two-nodes/desk: plan.json cannot be read" in result.output


def test_going_to_one_node_and_back_leaves_nothing_behind(case: Path) -> None:
    def files() -> set[str]:
        root = case / "generated" / "two-nodes"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    assert run("compile", "two-nodes.yaml").exit_code == 0
    before, spec = files(), spec_of(case)
    large = spec | {"nodes": {"desk": {"gpus": {"model": "h100-80gb", "count": 2}}}}
    large["services"] = {name: asked | {"port": 8000 + n} for n, (name, asked) in enumerate(spec["services"].items())}
    (case / "two-nodes.yaml").write_text(json.dumps(large))
    assert run("compile", "two-nodes.yaml").exit_code == 0
    assert "plan.json" in files()
    assert not any(path.startswith(("desk/", "rack1/")) for path in files())
    (case / "two-nodes.yaml").write_text(json.dumps(spec))
    assert run("compile", "two-nodes.yaml").exit_code == 0
    assert files() == before


def test_explain_names_the_node_of_each_service(case: Path) -> None:
    lines = run("explain", "two-nodes.yaml").output.splitlines()
    assert [line for line in lines if line.partition(":")[0] in {"coder", "general", "drafts"}] == [
        "coder: fits on rack1:0", "drafts: fits on desk:1", "general: fits on desk:0",
    ]  # fmt: skip
    plans = json.loads(run("explain", "two-nodes.yaml", "--format", "json").stdout)["plans"]
    assert {node: [service["name"] for service in plan["services"]] for node, plan in plans.items()} == SEATS


def test_explain_calls_nothing_chosen_where_the_stack_does_not_compile(case: Path) -> None:
    spec = spec_of(case)
    spec["services"]["general"]["concurrency"] = 500
    (case / "two-nodes.yaml").write_text(json.dumps(spec))
    output = run("explain", "two-nodes.yaml").output
    assert "coder: does not compile" in output
    assert "    chosen " not in output


def test_a_node_without_services_is_told_and_gets_no_folder(case: Path) -> None:
    spec = spec_of(case)
    spec["nodes"] |= {"spare": {"gpus": {"model": "t4"}}}
    (case / "two-nodes.yaml").write_text(json.dumps(spec))
    assert run("compile", "two-nodes.yaml").exit_code == 0
    assert "Nothing runs on `spare`." in (case / "generated/two-nodes/README.md").read_text()
    assert not (case / "generated/two-nodes/spare").exists()
