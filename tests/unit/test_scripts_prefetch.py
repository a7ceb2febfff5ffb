"""prefetch, with a program in the place of `hf`; with the real one see tests/hub/test_prefetch.py."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import ModelFile
from tests.unit.plan_samples import (
    COMMIT,
    PATH,
    one_on_cpu,
    two_on_one_gpu,
    with_service,
    write_executable,
    write_model,
    write_tree,
)

HF = f"""#!{sys.executable}
import os, pathlib, sys
root = pathlib.Path(os.environ["ROOT"])
with (root / "calls").open("a") as calls:
    print(*sys.argv[1:], "TOKEN=" + os.environ.get("HF_TOKEN_PATH", ""), file=calls)
if os.environ.get("HF_FAILS"):
    sys.exit(1)
assert sys.argv[1] == "download"
revision = sys.argv[sys.argv.index("--revision") + 1]
commit = os.environ["MAIN"] if revision == "main" else revision
cache = pathlib.Path(os.environ["HF_HUB_CACHE"]) / ("models--" + sys.argv[2].replace("/", "--"))
folder = cache / "snapshots" / commit
folder.mkdir(parents=True, exist_ok=True)
if revision == "main":
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(commit)
(folder / "config.json").write_text("{{}}")
if "config.json" not in sys.argv and not ("*.bin" in sys.argv and os.environ.get("ONLY_BIN")):
    (folder / "model.safetensors").write_bytes(bytes(4096))
"""


class Machine:
    """A machine with a fake Hub."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = write_tree(two_on_one_gpu(), root / "tree")
        write_executable(root / "venv" / "bin" / "vllm", "#!/bin/sh\n")
        write_executable(root / "venv" / "bin" / "hf", HF)
        self.environment = {
            "PATH": PATH,
            "HOME": str(root),
            "ROOT": str(root),
            "HF_HOME": str(root / "hf"),
            "STACKC_VLLM": str(root / "venv" / "bin" / "vllm"),
            "MAIN": "89abcde" + "0" * 33,
        }

    def prefetch(self, *services: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tree / "bin" / "prefetch"), *services]
        done = subprocess.run(
            command, env=self.environment | changes, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_pinned_model_is_downloaded_once_at_its_commit(machine: Machine) -> None:
    assert machine.prefetch("coder").returncode == 0
    assert machine.prefetch("coder").returncode == 0
    (call,) = machine.calls
    assert call.startswith("download org/coder-awq --exclude original/* --exclude consolidated*")
    assert f"--revision {COMMIT} --quiet" in call


def test_an_unpinned_model_is_looked_at_before_it_is_downloaded(machine: Machine) -> None:
    assert machine.prefetch("general").returncode == 0
    first, second = machine.calls
    assert first.startswith("download org/general config.json --revision main")
    assert f"--revision 89abcde{'0' * 33}" in second


def test_a_main_that_has_moved_costs_no_download(machine: Machine) -> None:
    done = machine.prefetch("general", MAIN="f" * 40)
    assert done.returncode == 15
    assert "main has moved" in done.stderr
    assert len(machine.calls) == 1


def test_weights_in_another_format_come_too_if_there_are_no_others(machine: Machine) -> None:
    assert machine.prefetch("coder", ONLY_BIN="1").returncode == 0
    assert ["--exclude *.bin" in call for call in machine.calls] == [True, False]


def test_nothing_is_left_out_where_the_weights_are_unknown(machine: Machine) -> None:
    plan = two_on_one_gpu()
    model = replace(plan.service("coder").model, unconfirmed=("tensors",))
    write_tree(with_service(plan, "coder", model=model), machine.tree)
    machine.prefetch("coder")
    assert "--exclude *.bin" not in machine.calls[0]


def test_a_second_format_stays_away_even_where_the_weights_are_unknown(machine: Machine) -> None:
    """With one file of it, vLLM would read another configuration and other weights than those of the plan."""
    plan = two_on_one_gpu()
    model = replace(plan.service("coder").model, unconfirmed=("tensors",))
    write_tree(with_service(plan, "coder", model=model), machine.tree)
    assert machine.prefetch("coder").returncode == 0
    assert "--exclude consolidated* --exclude */consolidated*" in machine.calls[0]


def test_tokenizers_of_mistral_s_versions_come_along(machine: Machine) -> None:
    plan = two_on_one_gpu()
    weights = (ModelFile("model.safetensors", 4096, None),)
    model = replace(plan.service("coder").model, files=weights)
    write_tree(with_service(plan, "coder", model=model), machine.tree)
    machine.prefetch("coder")
    assert "--include *.model.v*" in machine.calls[0]
    assert "consolidated" not in machine.calls[0]


def test_mistral_s_own_format_comes_where_the_plan_serves_it(machine: Machine) -> None:
    plan = two_on_one_gpu()
    weights = (ModelFile("consolidated-00001-of-00001.safetensors", 4096, None),)
    model = replace(plan.service("coder").model, files=weights)
    write_tree(with_service(plan, "coder", model=model), machine.tree)
    machine.prefetch("coder")
    assert "--include consolidated-00001-of-00001.safetensors --include *.json" in machine.calls[0]
    assert "--exclude" not in machine.calls[0]


def test_the_token_is_a_file_and_never_an_argument(machine: Machine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_secret", encoding="ascii")
    done = machine.prefetch("coder", STACKC_HF_TOKEN_FILE=str(token))
    assert f"TOKEN={token}" in machine.calls[0]
    assert "hf_secret" not in machine.calls[0] + done.stdout + done.stderr


def test_a_failed_download_does_not_keep_the_others_back(machine: Machine) -> None:
    done = machine.prefetch(HF_FAILS="1")
    assert done.returncode == 1
    assert len(machine.calls) == 2


def test_a_download_that_cannot_fit_does_not_begin(machine: Machine) -> None:
    plan = two_on_one_gpu()
    model = replace(plan.service("coder").model, weights_bytes=2**60)
    write_tree(with_service(plan, "coder", model=model), machine.tree)
    assert machine.prefetch("coder").returncode == 13
    assert machine.calls == []


def test_without_hf_it_says_where_it_looked(machine: Machine) -> None:
    (machine.root / "venv" / "bin" / "hf").unlink()
    done = machine.prefetch("coder")
    assert done.returncode == 4
    assert "STACKC_VLLM" in done.stderr


def test_a_second_prefetch_waits_for_the_first(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    with (tmp_path / "hf" / "stackc-prefetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [str(machine.tree / "bin" / "prefetch"), "coder"], env=machine.environment, stdout=subprocess.DEVNULL
        )
        time.sleep(0.3)
        assert second.poll() is None
        assert machine.calls == []
    assert second.wait(timeout=60) == 0


def test_a_folder_is_checked_and_not_downloaded(machine: Machine, tmp_path: Path) -> None:
    plan = one_on_cpu()
    folder = write_model(tmp_path / "model")
    write_tree(with_service(plan, "tiny", model=replace(plan.service("tiny").model, folder=str(folder))), machine.tree)
    assert machine.prefetch().returncode == 0
    (folder / "config.json").unlink()
    assert machine.prefetch().returncode == 15
    assert machine.calls == []


def test_a_dry_run_says_what_would_be_fetched(machine: Machine) -> None:
    done = machine.prefetch("coder", "general", "--dry-run")
    assert done.returncode == 0
    assert all("would be fetched at" in line for line in done.stdout.splitlines())
    assert "unknown of" not in done.stdout
    assert not machine.calls
