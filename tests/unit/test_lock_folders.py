"""A lock made elsewhere: facts come from a copy, and the lock names the path on the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.cli.main import cli
from compiler.lock.file import read_lock
from tests.hub.builders import repository

SERVER = "/srv/models/qwen3-8b"
SPEC = f"""\
stack: air
engine: {{vllm: 0.33.0}}
nodes: {{gpu01: {{gpus: {{model: rtx-pro-6000}}}}}}
services:
  chat: {{model: {SERVER}, task: completion, quantization: none, context: 4K, port: 8000}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "elsewhere/copy"
    copy.mkdir(parents=True)
    for path, content in repository("acme/base").contents.items():
        (copy / path).write_bytes(content + bytes(1152) if path.endswith(".safetensors") else content)
    (tmp_path / "air.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return copy


def lock(*words: str) -> Result:
    return CliRunner().invoke(cli, ["lock", *words, "air.yaml"])


def test_a_copy_is_read_and_the_servers_path_is_locked(folder: Path) -> None:
    assert lock("--folder", f"{SERVER}/=elsewhere/copy").exit_code == 0
    text = Path("air.lock.yaml").read_text()
    found, _ = read_lock(Path("air.lock.yaml"), "air.lock.yaml")
    assert found is not None
    assert list(found.models) == [SERVER]
    assert found.models[SERVER].source == "folder"
    assert "elsewhere" not in text
    assert str(folder.parent.parent) not in text


def test_the_folder_of_the_server_alone_is_told_with_the_way_out(folder: Path) -> None:
    assert folder.is_dir()
    result = lock()
    assert result.exit_code != 0
    assert f"--folder {SERVER}=COPY" in result.stderr
    assert not Path("air.lock.yaml").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((f"{SERVER}=nowhere",), "is no folder"),
        ((f"{SERVER}=air.yaml",), "is no folder"),
        ((SERVER,), "write the path on the server"),
        (("models/x=elsewhere/copy",), "write the path on the server"),
        (("/srv/models/other=elsewhere/copy",), "no service has the model /srv/models/other"),
        ((f"{SERVER}=elsewhere/copy", f"{SERVER}/=elsewhere"), "twice"),
    ],
)
def test_a_copy_that_cannot_be_meant_is_a_usage_error(folder: Path, given: tuple[str, ...], said: str) -> None:
    assert folder.is_dir()
    result = lock(*(word for each in given for word in ("--folder", each)))
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("air.lock.yaml").exists()


def test_what_is_no_file_in_a_copy_is_not_read(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    assert lock("--folder", f"{SERVER}=elsewhere/copy").exit_code == 1
    assert not Path("air.lock.yaml").exists()
