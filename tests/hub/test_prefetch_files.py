"""prefetch of GGUF files without `hf`, on a machine on which pip installed nothing, against a Hub that also fails."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import ModelFile
from tests.hub.builders import COMMIT, repository
from tests.hub.server import Fault, LoopbackHub, serve
from tests.unit.gguf_samples import alone_on_cpu
from tests.unit.plan_samples import PATH, with_service, write_tree

NAME = "org/big-GGUF"
PARTS = {f"Q8_0/big-Q8_0-0000{number}-of-00002.gguf": bytes([number]) * 300_000 for number in (1, 2)}
FIRST, SECOND = PARTS
FILES = {**PARTS, "big-Q4_K_M.gguf": b"another quantization", "mmproj-big.gguf": b"a projector", "config.json": b"{}"}
TOKEN = "hf_verysecret"


class Machine:
    """A machine with a tree and Python."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.home = root / "hf"
        files = tuple(ModelFile(path, len(text), hashlib.sha256(text).hexdigest()) for path, text in PARTS.items())
        plan = alone_on_cpu()
        model = replace(plan.services[0].model, repository=NAME, folder=None, commit=COMMIT, is_pinned=True)
        model = replace(model, files=files, file=FIRST, weights_bytes=600_000)
        self.tree = write_tree(with_service(plan, "tiny", model=replace(model, **changes)), root / "tree")
        self.environment = {"PATH": PATH, "HOME": str(root), "HF_HOME": str(self.home), "STACKC_VLLM": "/nowhere/vllm"}

    def prefetch(self, hub: LoopbackHub, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "HF_ENDPOINT": hub.url, **more}
        command = [str(self.tree / "bin" / "prefetch"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done

    @property
    def snapshot(self) -> Path:
        return self.home / "hub" / "models--org--big-GGUF" / "snapshots" / COMMIT

    def present(self) -> dict[str, bytes]:
        files = (path for path in self.snapshot.rglob("*") if path.is_file())
        return {path.relative_to(self.snapshot).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def hub_with(*faults: Fault, **changes: Any) -> Any:
    return serve([repository(NAME, contents=FILES, **changes)], faults)


def test_exactly_the_chosen_files_come_and_only_once(machine: Machine) -> None:
    with hub_with() as hub:
        done = machine.prefetch(hub)
        assert done.returncode == 0, done.stderr
        assert machine.present() == PARTS
        assert "2 hashes are right" in done.stdout
        blobs = {path.name for path in (machine.snapshot.parent.parent / "blobs").iterdir()}
        assert blobs == {hashlib.sha256(content).hexdigest() for content in PARTS.values()}
        asked = len(hub.requests)
        assert machine.prefetch(hub).returncode == 0
        assert len(hub.requests) == asked


def test_a_file_that_is_cut_off_goes_on_where_it_stopped(machine: Machine) -> None:
    with hub_with(Fault(r"/cdn/.*00001", "half", times=1)) as hub:
        done = machine.prefetch(hub)
        assert done.returncode == 0, done.stderr
        assert machine.present() == PARTS
        ranges = [each.headers.get("Range") for each in hub.requests if "/cdn/" in each.path and "00001" in each.path]
        assert ranges[0] is None
        assert str(ranges[1]).startswith("bytes=")


@pytest.mark.parametrize("kind", ["ignore_range", "damaged"])
def test_other_bytes_are_fetched_once_more(machine: Machine, kind: Any) -> None:
    faults = (Fault(r"/cdn/.*00001", "half", times=1), Fault(r"/cdn/.*00001", kind, times=1))
    with hub_with(*faults) as hub:
        assert machine.prefetch(hub).returncode == 0
        assert machine.present() == PARTS


def test_a_file_that_is_always_damaged_is_no_model(machine: Machine) -> None:
    with hub_with(Fault(r"/cdn/.*00002", "damaged")) as hub:
        done = machine.prefetch(hub)
    assert done.returncode == 15
    assert "wrong twice" in done.stderr
    assert SECOND not in machine.present()


def test_a_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    """Whoever answers for the Hub could fill the disk."""
    files = (ModelFile(FIRST, 7, "0" * 64), ModelFile(SECOND, 300_000, "0" * 64))
    machine = Machine(tmp_path, files=files, weights_bytes=300_007)
    with hub_with() as hub:
        done = machine.prefetch(hub)
    assert done.returncode == 15
    assert "has 300000 bytes, the plan 7" in done.stderr


def test_the_token_opens_the_hub(machine: Machine) -> None:
    with hub_with() as hub:
        assert machine.prefetch(hub, HF_TOKEN=TOKEN).returncode == 0
        first = next(each for each in hub.requests if "/resolve/" in each.path)
        assert first.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(("kind", "code", "words"), [("gated", 1, "gated"), ("unauthorised", 1, "token")])
def test_what_the_hub_does_not_give_out_is_said(machine: Machine, kind: Any, code: int, words: str) -> None:
    with hub_with(Fault("/resolve/", kind)) as hub:
        done = machine.prefetch(hub)
    assert done.returncode == code
    assert words in done.stderr


def test_a_commit_that_is_gone_is_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path, commit="f" * 40)
    with hub_with() as hub:
        done = machine.prefetch(hub)
    assert done.returncode == 15
    assert "lock and compile again" in done.stderr


def test_main_is_looked_up_where_the_plan_knows_no_commit(tmp_path: Path) -> None:
    machine = Machine(tmp_path, commit=COMMIT[:7], is_pinned=False)
    with hub_with() as hub:
        done = machine.prefetch(hub)
        assert done.returncode == 0, done.stderr
        assert machine.present() == PARTS


def test_a_model_of_unknown_files_needs_hf(tmp_path: Path) -> None:
    machine = Machine(tmp_path, file=None, files=(), weights_bytes=None)
    with hub_with() as hub:
        done = machine.prefetch(hub)
    assert done.returncode == 4
    assert "no `hf`" in done.stderr
