"""The container that prepares volumes and secrets, and servers that run as its user."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import tool
from tests.unit.compose_reading import load
from tests.unit.plan_samples import PATH as PLAN_PATH
from tests.unit.plan_samples import (
    two_on_one_gpu,
    write_executable,
    write_snapshot,
    write_tree,
)


def run_prepare(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tree / "lib/prepare", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of which nothing is changed."""
    return write_tree(two_on_one_gpu(), tmp_path_factory.mktemp("trees") / "duo")


def owner_of(path: Path) -> str:
    return f"{path.stat().st_uid}:{path.stat().st_gid}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the container's user")
@pytest.mark.parametrize("mode", [0o640, 0o440, 0o604, 0o600, 0o400, 0o000])
@pytest.mark.parametrize("owner", [(0, 0), (1000, 1000), (1000, 0)])
def test_prepare_lets_pass_what_the_servers_can_read(tree: Path, mode: int, owner: tuple[int, int]) -> None:
    """As the kernel sees it: each user of a container asks for the file itself."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a test's own folder is closed for others
        Path(folder).chmod(0o755)
        secret = Path(folder) / "api-key"
        secret.write_text("hush")
        secret.chmod(mode)
        os.chown(secret, *owner)
        read = [
            subprocess.run(
                ["setpriv", f"--reuid={uid}", "--regid=0", "--clear-groups", "cat", secret],
                capture_output=True,
                check=False,
            ).returncode
            for uid in (2000, 101)
        ]
        assert (run_prepare(tree, f"--secret={secret}").returncode == 0) == (read == [0, 0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the container's user")
def test_a_server_starts_as_the_user_of_its_container() -> None:
    """With the environment, the owners and the modes that the file says, and nothing else of the caller's."""
    plan = two_on_one_gpu()
    services = load(plan)["services"]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        tree = write_tree(plan, root / "tree")
        inside = {"/opt/stackc": tree, "/run/secrets": root / "secrets"}
        inside |= {target: root / target[1:] for target in ("/var/lib/stackc", "/run/stackc")}

        def outside(text: str) -> str:
            return next((text.replace(path, str(to), 1) for path, to in inside.items() if path in text), text)

        (root / "secrets").mkdir()
        for name in services["prepare"]["secrets"]:
            (root / "secrets" / name).write_text("hush-hush-hush-hush\n")
            (root / "secrets" / name).chmod(0o640)
        for mount in services["prepare"]["volumes"]:
            Path(outside(mount["target"])).mkdir(parents=True, exist_ok=True)
        words = [outside(word) for word in services["prepare"]["command"]]
        assert run_prepare(tree, *words).returncode == 0
        write_snapshot(Path(outside("/var/lib/stackc/hf")), "org/coder-awq")
        vllm = write_executable(
            root / "vllm", '#!/bin/bash\nid -u; id -g; echo "$2"; echo "${#VLLM_API_KEY}"; touch "$HOME/kernel"\n'
        )
        coder = services["coder"]
        given = {name: outside(value) for name, value in coder["environment"].items()}
        uid, gid = coder["user"].split(":")
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
            + [outside(word) for word in coder["entrypoint"]],
            env={"PATH": PLAN_PATH, "STACKC_VLLM": str(vllm), **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == ["2000", "0"]
        assert done.stdout.splitlines()[2].startswith(given["HF_HOME"])
        assert done.stdout.splitlines()[3] == str(len("hush-hush-hush-hush"))
        assert (Path(given["HOME"]) / "kernel").stat().st_uid == 2000
        assert list(Path(given["STACKC_LOCK_DIR"]).iterdir()), "no lock was taken"


def test_prepare_gives_a_volume_to_its_user(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    owner = "2000:0" if os.geteuid() == 0 else owner_of(folder)
    assert run_prepare(tree, f"--own={owner}={folder}").returncode == 0
    assert owner_of(folder) == owner


def test_prepare_says_which_volume_it_cannot_give_away(tree: Path, tmp_path: Path) -> None:
    done = run_prepare(tree, f"--own=2000:0={tmp_path}/gone")
    assert (done.returncode, "gone to 2000:0" in done.stderr) == (13, True)


@pytest.mark.parametrize(("mode", "code"), [(0o640, 0), (0o440, 0), (0o600, 17), (0o400, 17)])
def test_prepare_finds_a_secret_that_servers_cannot_read(tree: Path, tmp_path: Path, mode: int, code: int) -> None:
    secret = tmp_path / "api-key"
    secret.write_text("hush-hush")
    secret.chmod(mode)
    if secret.stat().st_gid != 0:
        pytest.skip("the file of a test belongs to group root only where root runs it")
    done = run_prepare(tree, f"--secret={secret}")
    assert done.returncode == code
    assert (code == 0) == (done.stderr == "")
    assert "hush" not in done.stderr


@pytest.mark.parametrize(("text", "words"), [(None, "is no file"), ("", "is empty")])
def test_prepare_finds_a_secret_that_is_not_there(tree: Path, tmp_path: Path, text: str | None, words: str) -> None:
    secret = tmp_path / "api-key"
    if text is not None:
        secret.write_text(text)
    done = run_prepare(tree, f"--own=0:0={tmp_path}/never", f"--secret={secret}")
    assert (done.returncode, words in done.stderr) == (17, True)


@pytest.mark.parametrize("word", ["--help", "x", "--own=", "--own=1:2", "--own=1:2=relative", "--secret="])
def test_prepare_refuses_what_it_does_not_know(tree: Path, word: str) -> None:
    assert run_prepare(tree, word).returncode == 2


def test_prepare_is_clean_for_shellcheck(tree: Path) -> None:
    done = subprocess.run(
        [tool("shellcheck"), "--severity=style", "--enable=all", tree / "lib/prepare"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
