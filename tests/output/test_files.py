"""Files that are none, in every place where stackc reads or writes one of the user's: told, never waited for.

Each has little memory and a time limit: what a pipe or an endless file would cost is a failed test.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from compiler.source.files import NoFileError, TooLargeError, read_file, replace_file
from compiler.source.text import decode_source
from tests.output.conftest import Project, run
from tests.unit.test_calibrate import LOG
from tests.unit.test_memory import QWEN3_8B

MEMORY = 1 << 30


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)
    os.chdir(before)


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "loop": lambda path: path.symlink_to(path.name),
    "folder": Path.mkdir,
}


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """What would wait or grow for ever is a failed test, and soon."""

    def stop(*_: object) -> None:
        raise TimeoutError("it waits")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def stackc(*arguments: str) -> Result:
    result = run(*arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def with_calibration(project: Project) -> None:
    spec = project / "stacks" / "coder-5090.yaml"
    spec.write_text(spec.read_text().replace("{vllm: 0.33.0}", "{vllm: 0.33.0, calibration: card.yaml}"))


# The path that is odd, the command, its code, and how it ends.
READERS = {
    "spec": ("stacks/tiny-cpu.yaml", ["compile"], "E0104", 1),
    "named spec": ("stacks/tiny-cpu.yaml", ["compile", "stacks/tiny-cpu.yaml"], "E0104", 1),
    "explained spec": ("stacks/tiny-cpu.yaml", ["explain", "stacks/tiny-cpu.yaml"], "E0104", 1),
    "spec to lock": ("stacks/tiny-cpu.yaml", ["lock", "stacks/tiny-cpu.yaml"], "E0104", 1),
    "lock": ("stacks/tiny-cpu.lock.yaml", ["compile"], "E0104", 1),
    "calibration": ("stacks/card.yaml", ["compile", "stacks/coder-5090.yaml"], "E0212", 1),
    "template": ("site/systemd/service.j2", ["compile", "--templates", "site"], "E0604", 1),
    "manifest": ("generated/tiny-cpu/SHA256SUMS", ["compile"], "E0603", 1),
    "plan": ("generated/tiny-cpu/plan.json", ["compile", "--check"], "E0602", 1),
    "log": ("x.log", ["calibrate", "x.log", "--gpu", "h100-80gb"], "E0104", 1),
    "config": ("config.json", ["calibrate", "good.log", "--gpu", "h100-80gb", "--config", "config.json"], "E0104", 1),
}


@pytest.mark.parametrize("odd", ["pipe", "endless", "loop"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_unread(project: Project, reader: str, odd: str) -> None:
    where, command, code, status = READERS[reader]
    (project / "good.log").write_text(LOG)
    (project / "site" / "systemd").mkdir(parents=True)
    if reader == "calibration":
        with_calibration(project)
    path = project / where
    path.unlink(missing_ok=True)
    ODD[odd](path)
    result = stackc(*command)
    usage = odd == "loop" and reader in ("named spec", "spec to lock", "log", "config")
    assert result.exit_code == (2 if usage else status), result.stderr
    assert usage or f"[{code}]" in result.stderr, result.stderr
    assert os.path.lexists(path)


@pytest.mark.parametrize("odd", ["pipe", "socket", "endless", "folder"])
@pytest.mark.parametrize("writer", ["calibrate", "lock"])
def test_what_is_no_file_is_not_written_to_and_not_replaced(tmp_path: Path, odd: str, writer: str) -> None:
    path = tmp_path / "out.yaml"
    ODD[odd](path)
    before = path.lstat()
    if writer == "calibrate":
        (tmp_path / "x.log").write_text(LOG)
        result = stackc("calibrate", str(tmp_path / "x.log"), "--gpu", "h100-80gb", "--out", str(path))
        assert (result.exit_code, "[E0601]" in result.stderr) == (3, True), result.stderr
    else:
        with pytest.raises(NoFileError):
            replace_file(path, b"x")
    assert path.lstat().st_ino == before.st_ino
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []


def test_a_calibration_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("real.yaml")
    replace_file(link, b"new")
    assert (real.read_text(), real.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="full"):
        replace_file(link, b"newer")
    assert real.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(TooLargeError):
        read_file(path, 4)
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)  # sparse: a terabyte that takes no room
    with pytest.raises(TooLargeError):
        read_file(path, 1 << 20)


@pytest.mark.parametrize(
    ("content", "where"),
    [(b"stack: x\nport: \xff\n", "2:7"), (b"\xff", "1:1"), (b"a: \xc3\xa4\xc3\n", "1:5"), (b"a\r\n\r\n\xfe", "3:1")],
)
def test_a_byte_that_is_no_text_is_shown_where_it_stands(project: Project, content: bytes, where: str) -> None:
    (project / "stacks" / "tiny-cpu.yaml").write_bytes(content)
    result = stackc("compile", "stacks/tiny-cpu.yaml")
    assert "error[E0101]" in result.stderr
    assert f"--> stacks/tiny-cpu.yaml:{where}\n" in result.stderr


@given(before=st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=40))
def test_the_place_of_a_byte_is_that_of_an_editor(before: str) -> None:
    source, problem = decode_source(before.encode() + b"\xff" + b"\nrest", "x")
    assert problem is not None
    assert problem.label is not None
    start = problem.label.span.start
    assert source.line(start.line)[start.column - 1] == "\ufffd"


def test_a_character_that_yaml_does_not_take_is_shown_where_it_stands(project: Project) -> None:
    (project / "stacks" / "tiny-cpu.yaml").write_bytes(b"stack: x\nport: \x07\n")
    assert "--> stacks/tiny-cpu.yaml:2:7\n" in stackc("compile", "stacks/tiny-cpu.yaml").stderr


@pytest.mark.parametrize(
    ("content", "where"),
    [("[]", "1:1"), ('"x"', "1:1"), ("5", "1:1"), ("[" * 100_000, "1:1"), ('{"a": 1,\n "b" 2}', "2:6"), ("", "1:1")],
)
def test_a_config_that_is_none_is_told_with_its_place(project: Project, content: str, where: str) -> None:
    (project / "x.log").write_text(LOG)
    (project / "config.json").write_text(content)
    result = stackc("calibrate", "x.log", "--gpu", "h100-80gb", "--config", "config.json")
    assert result.exit_code == 1, result.stderr
    assert "error[E0309]" in result.stderr
    assert f"--> config.json:{where}\n" in result.stderr or not content


def test_a_calibration_lies_beside_the_specs_and_is_named_as_the_hint_says(project: Project) -> None:
    (project / "x.log").write_text(LOG.replace("v0.19.0", "v0.33.0").replace("84 GiB total", "00 GiB total"))
    (project / "config.json").write_text(json.dumps(QWEN3_8B))
    for out in ("stacks/card.yaml", "cards/rtx 5090.yaml", str(project / "abs.yaml")):
        Path(out).parent.mkdir(exist_ok=True)
        result = stackc("calibrate", "x.log", "--gpu", "rtx-5090", "--out", out)
        assert result.exit_code == 0, result.stderr
        hint = result.stdout.split("`")[-2]
        spec = project / "stacks" / "coder-5090.yaml"
        text = spec.read_text()
        old = next(line for line in text.splitlines() if line.startswith("engine:"))
        spec.write_text(text.replace(old, hint.replace("{cal", "{vllm: 0.33.0, cal")))
        compiled = stackc("compile")
        assert compiled.exit_code == 0, compiled.stderr
        assert "coder-5090" in compiled.stdout
        assert "no start-up of vLLM 0.33.0 was measured" not in compiled.stderr.split("tiny-cpu")[0]
    assert stackc("compile", *map(str, sorted(Path("stacks").glob("*.yaml")))).exit_code == 0, "a shell's glob"


def test_a_copy_of_a_lock_is_no_spec(project: Project) -> None:
    lock = project / "stacks" / "tiny-cpu.lock.yaml"
    (project / "stacks" / "tiny-cpu.lock.old.yaml").write_text(lock.read_text())
    assert stackc("compile").exit_code == 0


@pytest.mark.parametrize("is_named", [False, True])
def test_a_calibration_that_is_none_has_two_places(project: Project, *, is_named: bool) -> None:
    with_calibration(project)
    text = (
        "engine: 0.33.0\ngpu: rtx-5090\nmodels: []\ncomponents:\n  graphs: {low: 5, expected: x, high: 7, count: 1}\n"
    )
    (project / "stacks" / "card.yaml").write_text(text)
    result = stackc("compile", *(["stacks/coder-5090.yaml"] if is_named else []))
    assert "error[E0212]: stacks/card.yaml is no calibration" in result.stderr
    assert "--> stacks/card.yaml:5:30\n" in result.stderr
    assert "named as `calibration` at stacks/coder-5090.yaml:" in result.stderr
