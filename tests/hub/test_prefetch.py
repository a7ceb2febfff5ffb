"""prefetch with the real `hf`, against a Hub on this machine that also fails."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Argument, ModelFile, ServedAdapter
from tests.hub.builders import COMMIT, repository
from tests.hub.prefetch_machine import FILES, FIRST, NAME, SECOND, SHARDS, TOKEN, Machine, digest, model
from tests.hub.server import Fault, LoopbackHub, serve
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@contextmanager
def hub_with(*faults: Fault, **changes: Any) -> Iterator[LoopbackHub]:
    with serve([model(**changes)], faults) as hub:
        yield hub


def fetched(hub: LoopbackHub, path: str) -> int:
    """Answers of the CDN for a file; each download asks for its headers first."""
    return len(hub.asked(f"/cdn/.*{path}"))


def test_only_what_vllm_reads_comes_and_only_once(machine: Machine) -> None:
    with hub_with() as hub:
        done = machine.prefetch(hub=hub)
        assert done.returncode == 0, done.stderr
        assert machine.present() == [
            "config.json",
            FIRST,
            SECOND,
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        assert "2 hashes are right" in done.stdout
        asked = len(hub.requests)
        again = machine.prefetch(hub=hub)
        assert again.returncode == 0
        assert "hashing" not in again.stderr  # 100 GB are not read at every start
        assert len(hub.requests) == asked


def arguments_with(*flags: str) -> tuple[Argument, ...]:
    return tuple(Argument(flag, None, "policy") for flag in flags)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_code_comes_along_only_where_the_policy_lets_it_run(machine: Machine, allowed: bool, listed: bool) -> None:
    plan = two_on_one_gpu()
    served = replace(plan.service("coder").model, **({} if listed else {"files": (), "weights_bytes": None}))
    if listed:
        files = tuple(ModelFile(path, len(content), digest(content)) for path, content in SHARDS.items())
        served = replace(served, files=files, weights_bytes=sum(file.size or 0 for file in files))
    arguments = plan.service("coder").arguments + arguments_with(*["--trust-remote-code"] * allowed)
    write_tree(with_service(plan, "coder", model=served, arguments=arguments), machine.tree)
    code = {"modeling.py": b"import os", "training_args.bin": b"a pickle"}
    with serve([repository(NAME, contents={**FILES, **code})]) as hub:
        done = machine.prefetch(hub=hub)
        assert done.returncode == 0, done.stderr
        assert ("modeling.py" in machine.present()) is allowed
        assert bool(hub.asked("modeling.py")) is allowed
        assert not hub.asked("training_args")


def test_the_token_is_not_sent_over_plain_http(machine: Machine) -> None:
    done = machine.prefetch(HF_ENDPOINT="http://mirror.invalid", HF_TOKEN=TOKEN)
    assert done.returncode == 4
    assert "everybody on the way could read the token" in done.stderr + done.stdout
    assert TOKEN not in done.stderr + done.stdout
    assert not (machine.root / "calls").exists()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(machine: Machine) -> None:
    large = bytes(range(256)) * 2**16 * 2  # `hf` writes pieces of 10 MiB
    shard = ModelFile(FIRST, len(large), digest(large))
    machine.plan_files((shard,))
    recording = repository(NAME, contents={FIRST: large})
    with serve([recording], [Fault(f"/cdn/.*{FIRST}", "half", 2)]) as hub:
        done = machine.prefetch(hub=hub)
        ranges = [request.headers.get("Range") for request in hub.requests if request.path.endswith(FIRST)]
    assert done.returncode == 0, done.stderr
    assert ranges[-1] == f"bytes={10 * 2**20}-"
    assert digest((machine.snapshot / FIRST).read_bytes()) == shard.sha256


def test_a_run_that_failed_goes_on_with_the_files_that_lack(machine: Machine) -> None:
    with hub_with(Fault(f"/resolve/.*{SECOND}", "disabled")) as hub:
        done = machine.prefetch(hub=hub)
        assert done.returncode == 1
        assert "run prefetch again, it goes on" in done.stderr
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0
        assert fetched(hub, FIRST) == 0
        assert fetched(hub, SECOND) > 0


def test_a_run_that_was_cut_off_is_not_taken_for_a_whole_one(machine: Machine) -> None:
    """All weights are there, and the tokenizer is not: no list of the plan names it."""
    with hub_with(Fault("/resolve/.*tokenizer.json", "disabled")) as hub:
        assert machine.prefetch(hub=hub).returncode == 1
        assert {FIRST, SECOND} <= set(machine.present())
    offline = machine.prefetch(HF_HUB_OFFLINE="1")
    assert offline.returncode == 15
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0
    assert "tokenizer.json" in machine.present()


def test_a_damaged_file_is_fetched_once_more(machine: Machine) -> None:
    with hub_with(Fault(f"/cdn/.*{SECOND}", "damaged", 2)) as hub:
        done = machine.prefetch("--json", hub=hub)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"][0]["status"] == "mended"
    assert (machine.snapshot / SECOND).read_bytes() == SHARDS[SECOND]


def test_a_file_that_stays_damaged_is_never_served(machine: Machine) -> None:
    with hub_with(Fault(f"/cdn/.*{SECOND}", "damaged")) as hub:
        done = machine.prefetch(hub=hub)
    assert done.returncode == 15
    wrong = SHARDS[SECOND][:-1] + bytes([SHARDS[SECOND][-1] ^ 1])
    assert digest(SHARDS[SECOND]) in done.stderr
    assert digest(wrong) in done.stderr
    assert "wrong twice" in done.stderr
    assert SECOND not in machine.present()


def test_decay_on_disk_is_found_when_asked_for(machine: Machine) -> None:
    with hub_with() as hub:
        machine.prefetch(hub=hub)
        path = (machine.snapshot / FIRST).resolve()
        times = path.stat()
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert machine.prefetch(hub=hub).returncode == 0
        done = machine.prefetch("--verify", hub=hub)
    assert done.returncode == 0, done.stderr
    assert "mended" in done.stdout
    assert path.read_bytes() == SHARDS[FIRST]


def test_a_commit_that_left_the_hub_asks_for_a_new_lock(machine: Machine) -> None:
    with hub_with(commit="f" * 40) as hub:
        done = machine.prefetch(hub=hub)
    assert done.returncode == 15
    assert "stackc lock" in done.stderr


def test_a_gated_model_comes_with_the_token_of_a_file(machine: Machine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="ascii")
    with hub_with(gated="auto", secret=TOKEN) as hub:
        without = machine.prefetch(hub=hub)
        assert without.returncode == 1
        assert "Accept its licence" in without.stderr
        done = machine.prefetch(hub=hub, STACKC_HF_TOKEN_FILE=str(token))
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "calls").read_text() + done.stdout + done.stderr
    assert TOKEN not in shown


def test_without_network_it_says_how_to_bring_the_model(machine: Machine) -> None:
    with hub_with() as hub:
        done = machine.prefetch(hub=hub, HF_HUB_OFFLINE="1")
        assert done.returncode == 15
        assert "400000 bytes are missing" in done.stderr
        assert f"hf download {NAME} --revision {COMMIT}" in done.stderr
        assert "prefetch --from DIR" in done.stderr
        assert not hub.requests
        machine.prefetch(hub=hub)
    assert machine.prefetch(HF_HUB_OFFLINE="1").returncode == 0


@pytest.mark.parametrize("form", ["home", "hub", "snapshot"])
def test_a_model_comes_from_another_disk(machine: Machine, tmp_path: Path, form: str) -> None:
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0
    machine.home.rename(tmp_path / "carried")
    sources = {"home": tmp_path / "carried", "hub": tmp_path / "carried" / "hub"}
    repository_folder = Path("hub", "models--org--coder-awq", "snapshots", COMMIT)
    sources["snapshot"] = tmp_path / "carried" / repository_folder
    done = machine.prefetch("--from", str(sources[form]), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert (machine.snapshot / SECOND).read_bytes() == SHARDS[SECOND]
    # On one file system nothing is stored twice.
    assert (machine.snapshot / SECOND).stat().st_ino == (sources["snapshot"] / SECOND).stat().st_ino
    # `hf` finds it under the names that it would have given itself.
    command = [Path(sys.executable).with_name("hf"), "download", NAME, SECOND, "--revision", COMMIT, "--quiet"]
    environment = {**machine.environment, "HF_HUB_OFFLINE": "1"}
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert asked.stdout.strip() == str(machine.snapshot / SECOND)


def test_a_damaged_file_is_not_taken_from_another_disk(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "usb"
    source.mkdir()
    for name in (FIRST, "config.json"):
        (source / name).write_bytes(FILES[name])
    (source / SECOND).write_bytes(bytes(200_000))
    done = machine.prefetch("--from", str(source))
    assert done.returncode == 15
    assert digest(bytes(200_000)) in done.stderr
    assert SECOND not in machine.present()
    assert not list(machine.home.rglob("*.incomplete"))
    (source / SECOND).unlink()
    done = machine.prefetch("--from", str(source))
    assert done.returncode == 15
    assert f"lacks 1 weight files, such as {SECOND}" in done.stderr


def test_another_disk_ends_what_a_download_began(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "usb"
    source.mkdir()
    for name in (FIRST, SECOND, "config.json", "tokenizer.json"):
        (source / name).write_bytes(FILES[name])
    with hub_with(Fault("/resolve/.*tokenizer.json", "disabled")) as hub:
        assert machine.prefetch(hub=hub).returncode == 1
    assert machine.prefetch("--from", str(source)).returncode == 0
    assert machine.prefetch(HF_HUB_OFFLINE="1").returncode == 0


@pytest.mark.parametrize("how", ["download", "copy"])
def test_a_disk_that_fills_up_keeps_what_came(machine: Machine, tmp_path: Path, how: str) -> None:
    """Without sizes in the plan nobody can tell before; a file system of half a megabyte plays the disk."""
    machine.plan_files(())
    machine.home.mkdir()
    source = tmp_path / "usb"
    source.mkdir()
    for name in (FIRST, SECOND, "config.json"):
        (source / name).write_bytes(FILES[name])
    mount = f'mount -t tmpfs -o size=300k tmpfs {machine.home} && "$@"; code=$?; ls -R {machine.home}; exit $code'
    options = [] if how == "download" else ["--from", str(source)]
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel lets nobody mount a file system of their own")
    with hub_with() as hub:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, "sh", *machine.command, *options],
            env={**machine.environment, "HF_ENDPOINT": hub.url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 13, done.stderr
    assert "bytes" in done.stderr
    assert "make room" in done.stderr
    assert "incomplete" not in done.stdout  # no half files that nobody takes up
    assert "config.json" in done.stdout


def test_a_download_ends_with_prefetch(machine: Machine) -> None:
    with hub_with(Fault(f"/cdn/.*{FIRST}", "slow", detail="8")) as hub:
        environment = {**machine.environment, "HF_ENDPOINT": hub.url}
        running = subprocess.Popen(machine.command, env=environment, stderr=subprocess.DEVNULL)
        _until(lambda: fetched(hub, FIRST) > 0)
        child = int((machine.root / "pid").read_text())
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 128 + signal.SIGTERM
        _until(lambda: _is_gone(child))
    # Nobody holds the lock, and the next run goes on.
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0


def test_a_killed_prefetch_keeps_the_cache_locked_while_its_download_runs(machine: Machine) -> None:
    with hub_with(Fault(f"/cdn/.*{FIRST}", "slow", detail="20")) as hub:
        environment = {**machine.environment, "HF_ENDPOINT": hub.url}
        running = subprocess.Popen(machine.command, env=environment, stderr=subprocess.DEVNULL)
        _until(lambda: fetched(hub, FIRST) > 0)
        child = int((machine.root / "pid").read_text())
        running.kill()
        running.wait()
        with (machine.home / "stackc-prefetch.lock").open("r+") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(child, signal.SIGKILL)
            _until(lambda: _is_gone(child))
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0


def test_a_dry_run_says_what_would_come_and_leaves_no_trace(machine: Machine) -> None:
    with hub_with() as hub:
        done = machine.prefetch("--dry-run", "--json", hub=hub)
        assert not hub.requests
    (entry,) = json.loads(done.stdout)["models"]
    assert (entry["status"], entry["bytes"]) == ("missing", 400_000)
    assert not machine.home.exists()


def test_help_names_every_exit_code(machine: Machine) -> None:
    text = machine.prefetch("--help").stdout
    for words in ("0 everything is here", "1 download failed", "13 disk", "15 not the planned model"):
        assert words in " ".join(text.split())


def _is_gone(pid: int) -> bool:
    """Ended, be it that nobody reaped it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in ("Z", "X")


def _until(holds: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_old_halves_are_swept_away(machine: Machine) -> None:
    blobs = machine.home / "hub" / "models--org--coder-awq" / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "a.incomplete", blobs / "b.incomplete"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with hub_with() as hub:
        assert machine.prefetch(hub=hub).returncode == 0
    assert (old.exists(), new.exists()) == (False, True)


def test_adapters_come_at_their_commit_beside_the_model(machine: Machine) -> None:
    """And no second copy of them, nor what else lies in their repositories."""
    weights = b"\x01" * 5000
    contents = {"adapter_config.json": b"{}", "adapter_model.safetensors": weights, "adapter_model.bin": b"the same"}
    sql = repository("org/sql", contents={**contents, "optimizer.pt": b"x"}, sizes={"model.safetensors": None})
    plan = two_on_one_gpu()
    files = (ModelFile("adapter_model.safetensors", len(weights), digest(weights)),)
    loaded = replace(plan.service("coder").model, repository="org/sql", commit=COMMIT, files=files, weights_bytes=5000)
    adapter = ServedAdapter("sql", replace(loaded, is_pinned=True, quantization="none"), 8, None)
    shards = tuple(ModelFile(path, len(content), digest(content)) for path, content in SHARDS.items())
    own = replace(plan.service("coder").model, files=shards, weights_bytes=400_000)
    write_tree(with_service(plan, "coder", model=own, adapters=(adapter,)), machine.tree)
    folder = machine.home / "hub/models--org--sql/snapshots" / COMMIT
    with serve([model(), sql]) as hub:
        done = machine.prefetch(hub=hub)
        assert done.returncode == 0, done.stderr
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
        assert not (folder / "adapter_model.bin").exists()
        assert f"{folder} is complete, 1 hashes are right" in done.stdout
