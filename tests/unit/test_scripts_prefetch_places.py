"""prefetch writes and removes in its repository's folder of the cache alone, whatever the plan and the cache hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan_samples import COMMIT
from tests.unit.test_scripts_prefetch import Machine

WEIGHTS = bytes(4096)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "machine")
    change(machine, files=[listed("model.safetensors", WEIGHTS)])
    return machine


def listed(path: str, content: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def change(machine: Machine, **values: Any) -> None:
    """Edit the model of the first service in the plan, as somebody who wants harm would."""
    plan = json.loads((machine.tree / "plan.json").read_text())
    plan["services"][0]["model"].update(values)
    (machine.tree / "plan.json").write_text(json.dumps(plan))


def repository(machine: Machine) -> Path:
    return machine.root / "hf/hub/models--org--coder-awq"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that a plan or a link leads to, with files that look damaged, stale and unfinished."""
    folder = tmp_path / "outside"
    for name in ("precious", "model.safetensors", "blobs/0.incomplete", "main", f"stackc-unfinished-{COMMIT}"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(4096)[:-1] + b"x")
        os.utime(folder / name, (0, 0))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prefetch(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    return machine.prefetch("coder", *words)


PATHS = ("../../../../../../outside/precious", "/OUTSIDE/precious", "a/../../precious", "./precious", "a//b", "", "..",
         "--local-dir=/OUTSIDE", "a\\b", "a\nb")  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_no_plain_name_is_refused(machine: Machine, outside: Path, path: str) -> None:
    before = content(outside)
    change(machine, files=[listed(path.replace("/OUTSIDE", str(outside)), WEIGHTS)])
    for words in ((), ("--dry-run",), ("--from", str(outside))):
        done = prefetch(machine, *words)
        assert done.returncode == 15, done.stderr
        assert "no plain path" in done.stderr
    assert content(outside) == before
    assert not (machine.root / "calls").exists(), "nothing was downloaded"


@pytest.mark.parametrize(
    "values",
    [
        {"repository": "../../outside"},
        {"repository": "--help/x"},
        {"repository": "a/b/c"},
        {"commit": "../../../outside"},
        {"repository": "x/$(id)"},
    ],
)
def test_names_of_repositories_and_commits_stay_names(machine: Machine, outside: Path, values: dict[str, str]) -> None:
    before = content(outside)
    change(machine, **values)
    assert prefetch(machine).returncode == 15
    assert content(outside) == before
    assert not (machine.root / "calls").exists()


@pytest.mark.parametrize("place", ["", "snapshots", f"snapshots/{COMMIT}", "blobs"])
def test_no_link_of_the_cache_leads_a_removal_or_a_download_out(machine: Machine, outside: Path, place: str) -> None:
    """The link is in the place of a folder of the cache, and beyond it lie files with the names that are looked for."""
    folder = repository(machine) / place
    target = outside / "blobs" if place == "blobs" else outside
    for name in ("config.json", f"snapshots/{COMMIT}/config.json", f"{COMMIT}/config.json"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("{}")
        ((outside / name).parent / "model.safetensors").write_bytes(bytes(4095) + b"x")
    before = content(outside)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target)
    done = prefetch(machine)
    assert done.returncode == 15, done.stderr
    assert "out of the cache" in done.stderr
    assert content(outside) == before


def test_a_damaged_file_that_is_a_link_to_elsewhere_loses_the_link_alone(machine: Machine, outside: Path) -> None:
    snapshot = repository(machine) / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").symlink_to(outside / "model.safetensors")
    before = content(outside)
    done = prefetch(machine)
    assert done.returncode == 0, done.stderr
    assert content(outside) == before
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["stackc-verified.json", "stackc-verified.json.stackc.new", "stackc-prefetch.lock"])
def test_no_link_in_the_place_of_a_file_of_its_own_is_written_through(
    machine: Machine, outside: Path, name: str
) -> None:
    (machine.root / "hf").mkdir()
    (machine.root / "hf" / name).symlink_to(outside / "precious")
    before = content(outside)
    done = prefetch(machine)
    assert (done.returncode == 13) == name.endswith(".lock"), done.stderr
    assert content(outside) == before


def test_a_cache_on_another_disk_is_used(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (machine.root / "hf").symlink_to(tmp_path / "disk")
    assert prefetch(machine).returncode == 0
    assert (tmp_path / "disk/hub/models--org--coder-awq/snapshots").is_dir()
