"""The launch script, really run with a program in vLLM's place."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.plan.ir import Argument, Plan
from tests.unit.plan_samples import (
    COMMIT,
    PATH,
    UUIDS,
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_service,
    write_executable,
    write_model,
    write_snapshot,
    write_tree,
)

KEY = "sk-very-secret"
RECORDER = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$RECORD.argv"
env -0 >"$RECORD.env"
ls -l /proc/self/fd >"$RECORD.fds"
exec sleep "${RECORDER_SLEEP:-0}"
"""
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


class Machine:
    """A machine with the tree, the models, a key file and a fake vLLM."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = root / "record"
        self.key = root / "key"
        self.key.write_text(KEY + "\n", encoding="ascii")
        vllm = write_executable(root / "fake" / "vllm", RECORDER)
        self.environment = {
            "PATH": PATH,
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "RECORD": str(self.record),
            "STACKC_VLLM": str(vllm),
            "STACKC_LOCK_DIR": str(root / "locks"),
            "STACKC_API_KEY_FILE": str(self.key),
        }

    def install(self, plan: Plan) -> None:
        write_tree(plan, self.root / "tree")

    def command(self, service: str, *options: str) -> list[str]:
        return [str(self.root / "tree" / "bin" / f"launch-{service}"), *options]

    def launch(self, service: str, *options: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in (self.environment | changes).items() if value is not None}
        return subprocess.run(
            self.command(service, *options), env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    @property
    def argv(self) -> list[str]:
        return (self.root / "record.argv").read_bytes().decode().split("\0")[:-1]

    @property
    def env(self) -> dict[str, str]:
        lines = (self.root / "record.env").read_bytes().decode().split("\0")[:-1]
        return dict(line.split("=", 1) for line in lines)


def duo_machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.install(two_on_one_gpu())
    write_snapshot(tmp_path / "hf", "org/coder-awq")
    write_snapshot(tmp_path / "hf", "org/general", "89abcde" + "0" * 33)
    return made


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return duo_machine(tmp_path)


def pair_machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.install(one_on_two_gpus())
    write_snapshot(tmp_path / "hf", "org/big")
    return made


def cpu_machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    folder = str(write_model(tmp_path / "models" / "tiny"))
    plan = one_on_cpu()
    made.install(with_service(plan, "tiny", model=replace(plan.service("tiny").model, folder=folder)))
    return made


@pytest.mark.parametrize("plan", [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()], ids=lambda plan: plan.stack)
def test_shellcheck_finds_nothing(plan: Plan, tmp_path: Path) -> None:
    scripts = [path for glob in ("bin/launch-*", "lib/*.bash") for path in write_tree(plan, tmp_path).glob(glob)]
    command = [SHELLCHECK, "--severity=style", "--enable=all", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_server_gets_the_snapshot_and_every_argument(machine: Machine) -> None:
    done = machine.launch("coder")
    assert (done.stderr, done.returncode) == ("", 0)
    snapshot = f"{machine.root}/hf/hub/models--org--coder-awq/snapshots/{COMMIT}"
    assert machine.argv[:6] == ["serve", snapshot, "--host", "127.0.0.1", "--port", "8001"]
    assert machine.argv[-1] == "--enable-prefix-caching"


def test_print_command_prints_what_would_run_and_runs_nothing(machine: Machine) -> None:
    printed = machine.launch("coder", "--print-command", STACKC_API_KEY_FILE="/nowhere")
    assert printed.returncode == 0
    assert not (machine.root / "record.argv").exists()
    machine.launch("coder")
    words = [shlex.split(line)[0] for line in printed.stdout.splitlines()]
    assert words == [machine.environment["STACKC_VLLM"], *machine.argv]


def test_print_command_needs_no_download(machine: Machine) -> None:
    printed = machine.launch("general", "--print-command", HF_HOME="/nowhere")
    assert printed.returncode == 0
    assert "/nowhere/hub/models--org--general/snapshots/main\n" in printed.stdout


def test_help_names_its_options_and_exit_codes(machine: Machine) -> None:
    done = machine.launch("coder", "--help", HF_HOME="/nowhere")
    assert done.returncode == 0
    for words in ("--print-command", "--json", "15 model not here", "16 no vLLM", "17 API key", "18 start lock"):
        assert words in done.stdout


def test_json_is_what_would_run_without_the_secret(machine: Machine) -> None:
    done = machine.launch("coder", "--json", VLLM_ENGINE_READY_TIMEOUT_S="7", VLLM_API_KEY=KEY)
    report = json.loads(done.stdout)
    assert not (machine.root / "record.argv").exists()
    assert KEY not in done.stdout
    assert (report["stack"], report["service"], report["secrets"]) == ("duo", "coder", ["VLLM_API_KEY"])
    assert report["locks"] == [str(machine.root / "locks" / "gpu-0.lock")]
    assert not (machine.root / "locks").exists()
    machine.launch("coder", VLLM_ENGINE_READY_TIMEOUT_S="7")
    assert report["command"][1:] == machine.argv
    assert report["environment"].items() <= machine.env.items()
    assert report["environment"]["VLLM_ENGINE_READY_TIMEOUT_S"] == "7"


def test_the_caller_opens_no_door(machine: Machine) -> None:
    """What keeps a server shut is the plan's alone, and whoever tries otherwise reads so."""
    doors = (("NCCL_SOCKET_IFNAME", "lo"), ("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0"), ("VLLM_SERVER_DEV_MODE", "0"))
    machine.install(with_service(two_on_one_gpu(), "coder", environment=doors))
    done = machine.launch("coder", VLLM_MEDIA_URL_ALLOW_REDIRECTS="1", NCCL_SOCKET_IFNAME="eth0 \n$(id)")
    assert done.returncode == 0
    assert {name: machine.env[name] for name, _ in doors} == dict(doors)
    assert "VLLM_MEDIA_URL_ALLOW_REDIRECTS=1 is not taken: the plan says 0\n" in done.stderr
    assert "NCCL_SOCKET_IFNAME=" in done.stderr
    assert "uid=" not in done.stderr
    assert "VLLM_SERVER_DEV_MODE" not in done.stderr, "nobody set it"
    report = json.loads(machine.launch("coder", "--json", VLLM_SERVER_DEV_MODE="1").stdout)
    assert report["environment"].items() >= dict(doors).items()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40))
def test_json_carries_any_value(machine: Machine, value: str) -> None:
    plan = two_on_one_gpu()
    arguments = (Argument("--x", "a" + value, ""),)
    machine.install(with_service(plan, "coder", arguments=arguments, environment=(("HOSTILE", value),)))
    report = json.loads(machine.launch("coder", "--json").stdout)
    assert report["command"][-1] == "a" + value
    assert report["environment"]["HOSTILE"] == value


def test_it_runs_through_the_link_to_the_installed_version(machine: Machine) -> None:
    versions = machine.root / "install" / "versions"
    shutil.copytree(machine.root / "tree", versions / "1")
    (machine.root / "install" / "current").symlink_to("versions/1")
    (machine.root / "launch").symlink_to("install/current/bin/launch-coder")
    for path in (machine.root / "install" / "current" / "bin" / "launch-coder", machine.root / "launch"):
        done = subprocess.run([path], cwd="/", env=machine.environment, capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode) == ("", 0)
        # The program beside it is found too: the lock's keeper runs until the server is gone.
        (machine.root / "record.argv").unlink()


@pytest.mark.parametrize("options", [[""], ["--print-command", "x"]])
def test_other_options_are_refused(machine: Machine, options: list[str]) -> None:
    assert machine.launch("coder", *options).returncode == 2


HOSTILE = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(HOSTILE, min_size=1, max_size=8), variable=HOSTILE)
def test_hostile_values_arrive_unchanged(machine: Machine, values: list[str], variable: str) -> None:
    plan = two_on_one_gpu()
    arguments = tuple(Argument(f"--x{number}", value, "") for number, value in enumerate(values))
    machine.install(with_service(plan, "coder", arguments=arguments, environment=(("HOSTILE", variable),)))
    assert machine.launch("coder").returncode == 0
    expected = [
        word
        for argument in arguments
        for word in (
            [f"{argument.flag}={argument.value}"]
            if str(argument.value).startswith("-")
            else [argument.flag, str(argument.value)]
        )
    ]
    assert machine.argv[2:] == expected
    assert machine.env["HOSTILE"] == variable


def test_a_known_nasty_value_arrives_unchanged(machine: Machine) -> None:
    nasty = '\'"$(id)`id`;\n{"a": "é😀 \\\\ *"} !! ~ %n'
    machine.install(with_service(two_on_one_gpu(), "coder", arguments=(Argument("--json", nasty, ""),)))
    assert machine.launch("coder").returncode == 0
    assert machine.argv[2:] == ["--json", nasty]
    printed = machine.launch("coder", "--print-command").stdout.splitlines()
    assert len(printed) == 5  # still one word a line


def test_offline_and_planned_variables_are_set_unless_the_caller_has_them(machine: Machine) -> None:
    machine.launch("coder", VLLM_ENGINE_READY_TIMEOUT_S="7")
    assert machine.env["HF_HUB_OFFLINE"] == "1"
    assert machine.env["VLLM_NO_USAGE_STATS"] == "1"
    assert machine.env["VLLM_ENGINE_READY_TIMEOUT_S"] == "7"
    machine.launch("coder")
    assert machine.env["VLLM_ENGINE_READY_TIMEOUT_S"] == "480"


def test_the_planned_gpu_is_the_visible_one(machine: Machine) -> None:
    machine.launch("coder", CUDA_VISIBLE_DEVICES="3")
    assert (machine.env["CUDA_VISIBLE_DEVICES"], machine.env["CUDA_DEVICE_ORDER"]) == ("0", "PCI_BUS_ID")


def test_gpus_are_named_by_uuid_where_the_plan_has_them(tmp_path: Path) -> None:
    made = pair_machine(tmp_path)
    assert made.launch("big").returncode == 0
    assert made.env["CUDA_VISIBLE_DEVICES"] == ",".join(UUIDS)


def test_a_container_keeps_its_own_gpu_numbers_and_listens_everywhere(tmp_path: Path) -> None:
    made = pair_machine(tmp_path)
    made.launch("big", STACKC_CONTAINER="1", STACKC_HOST="0.0.0.0")
    assert "CUDA_VISIBLE_DEVICES" not in made.env
    assert made.argv[2:4] == ["--host", "0.0.0.0"]


def test_a_cpu_node_has_no_gpu_variables(tmp_path: Path) -> None:
    made = cpu_machine(tmp_path)
    assert made.launch("tiny").returncode == 0
    assert not [name for name in made.env if name.startswith("CUDA")]
    assert made.env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert made.argv[1] == str(tmp_path / "models" / "tiny")


def test_the_key_is_in_the_environment_and_nowhere_else(machine: Machine) -> None:
    done = machine.launch("coder")
    assert machine.env["VLLM_API_KEY"] == KEY
    assert KEY not in " ".join(machine.argv) + done.stdout + done.stderr


def test_systemd_hands_over_the_key(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "api-key").write_text("from-systemd", encoding="ascii")
    machine.launch("coder", STACKC_API_KEY_FILE=None, CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
    assert machine.env["VLLM_API_KEY"] == "from-systemd"


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "with space", None])
def test_without_a_usable_key_the_server_does_not_start(machine: Machine, content: str | None) -> None:
    machine.key.unlink()
    if content is not None:
        machine.key.write_text(content, encoding="ascii")
    assert machine.launch("coder").returncode == 17
    assert not (machine.root / "record.argv").exists()


def test_a_stack_without_a_key_serves_without_one(tmp_path: Path) -> None:
    made = pair_machine(tmp_path)
    made.launch("big", VLLM_API_KEY="leaked in")
    assert "VLLM_API_KEY" not in made.env


def test_a_model_that_is_not_downloaded_names_the_remedy(machine: Machine) -> None:
    for service in ("coder", "general"):
        done = machine.launch(service, HF_HOME=str(machine.root / "empty"))
        assert done.returncode == 15
        assert f"prefetch {service}" in done.stderr


def test_another_commit_than_the_planned_one_is_refused(machine: Machine, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "other", "org/general", "f" * 40)
    done = machine.launch("general", HF_HOME=str(tmp_path / "other"))
    assert done.returncode == 15
    assert "89abcde" in done.stderr


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    made = Machine(tmp_path)
    made.install(one_on_cpu())
    assert made.launch("tiny").returncode == 15


def test_without_vllm_the_start_says_where_to_name_it(machine: Machine) -> None:
    done = machine.launch("coder", STACKC_VLLM="/nowhere/vllm")
    assert done.returncode == 16
    assert "STACKC_VLLM" in done.stderr


@pytest.mark.parametrize(
    "changes", [{"STACKC_VLLM": "/nowhere"}, {"STACKC_API_KEY_FILE": "/nowhere"}, {"HF_HOME": "/nowhere"}]
)
def test_a_start_that_is_refused_leaves_no_trace(machine: Machine, changes: dict[str, str | None]) -> None:
    before = sorted(machine.root.rglob("*"))
    assert machine.launch("coder", **changes).returncode in (15, 16, 17)
    assert sorted(machine.root.rglob("*")) == before
