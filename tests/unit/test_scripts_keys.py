"""One file of keys, one verdict: whoever reads it, the start, the gateway, the checks before and the tests after it."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tests.unit.key_machine import KeyMachine, Verdict, judge_in_python

KEY = "sk-0123456789abcdefXYZ._~+/=-"
BOM = b"\xef\xbb\xbf"
LONGEST = "k" * 256
# What a file holds, and whether it is one key for the servers, and keys for clients. Where the two differ, it is
# because a list may have comments, blank lines, names and several keys.
TABLE: dict[str, tuple[bytes, bool, bool]] = {
    "a line": (f"{KEY}\n".encode(), True, True),
    "no line end": (KEY.encode(), True, True),
    "crlf": (f"{KEY}\r\n".encode(), True, True),
    "cr alone": (f"{KEY}\r".encode(), True, True),
    "eight": (b"12345678\n", True, True),
    "longest": (LONGEST.encode(), True, True),
    "hex": (b"0123456789abcdef" * 4 + b"\n", True, True),
    "empty": (b"", False, False),
    "blank": (b"\n", False, False),
    "blank crlf": (b"\r\n", False, False),
    "seven": (b"1234567\n", False, False),
    "too long": (LONGEST.encode() + b"k", False, False),
    "200 KB": (b"k" * 200_000, False, False),
    "2 MB": (b"k" * 2_000_000, False, False),
    "2 MB of lines": (f"{KEY}\n".encode() * 80_000, False, False),
    "nul within": (b"sk-0123\x00456789abcdef\n", False, False),
    "nul at the end": (f"{KEY}\n\0".encode(), False, False),
    "nul first": (f"\0{KEY}\n".encode(), False, False),
    "byte order mark": (BOM + KEY.encode(), False, False),
    "utf-16": (KEY.encode("utf-16"), False, False),
    "utf-16 without mark": (KEY.encode("utf-16-le"), False, False),
    "space within": (b"sk-0123 456789abcdef\n", False, False),
    "space before": (f" {KEY}\n".encode(), False, False),
    "space after": (f"{KEY} \n".encode(), False, False),
    "tab": (f"{KEY}\t\n".encode(), False, False),
    "cr within": (b"sk-0123\r456789abcdef\n", False, False),
    "two crs": (f"{KEY}\r\r\n".encode(), False, False),
    "escape": (b"sk-0123\x1b[31m456789\n", False, False),
    "delete": (b"sk-0123\x7f456789abc\n", False, False),
    "umlaut": ("sk-0123äöü456789\n".encode(), False, False),
    "latin": ("sk-0123äöü456789\n".encode("latin-1"), False, False),
    "no text": (bytes(range(128, 256)), False, False),
    "quote": (b'sk-0123"; return 200 "\n', False, False),
    "dollar": (b"sk-0123$HOME456789\n", False, False),
    "backslash": (b"sk-0123\\n456789abc\n", False, False),
    "command": (b"sk-$(id)`id`0123456\n", False, False),
    "two keys": (f"{KEY}\n{KEY}2\n".encode(), False, True),
    "twice": (f"{KEY}\n{KEY}\n".encode(), False, False),
    "two line ends": (f"{KEY}\n\n".encode(), False, True),
    "blank before": (f"\n{KEY}\n".encode(), False, True),
    "comment": (f"# of the team\n{KEY}\n".encode(), False, True),
    "only a comment": (f"# {KEY}\n".encode(), False, False),
    "named": (f"alice:{KEY}\n".encode(), False, True),
    "empty name": (f":{KEY}\n".encode(), False, False),
    "bad name": (f"a b:{KEY}\n".encode(), False, False),
    "two colons": (f"a:b:{KEY}\n".encode(), False, False),
    "one bad of two": (f"{KEY}\nsk bad and known\n".encode(), False, False),
}
IN_BASH = {  # program: the variable of its file, whether it is a list, the exit status that refuses
    "cpu/launch-tiny": ("STACKC_API_KEY_FILE", False, 17),
    "nginx/gateway check": ("STACKC_API_KEY_FILE", False, 17),
    "litellm/gateway check": ("STACKC_API_KEY_FILE", False, 17),
    "nginx/gateway check ": ("STACKC_CLIENT_KEYS_FILE", True, 19),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> KeyMachine:
    return KeyMachine(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules that read keys in Python."""
    monkeypatch.syspath_prepend(str(ROOT / "templates/lib"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # Whoever reads a key forbids itself core dumps; this test's own process keeps its limits.
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    return {
        name: importlib.import_module(f"stack.{name}") for name in ("keys", "machine.check_machine", "install.switch")
    }


def in_python(modules: dict[str, ModuleType], file: Path, *, is_list: bool) -> dict[str, Verdict]:
    """What each of them says to a file."""
    name, code = ("client_keys", 19) if is_list else ("api_key", 17)
    plan = {"secrets": {name: str(file)}, "targets": [], "gateway": {"kind": "nginx"}}
    keys, checks, switch = modules["keys"], modules["machine.check_machine"], modules["install.switch"]
    read = keys.read_client_key if is_list else keys.read_api_key
    return {
        "smoke-test, bench, evaluate": judge_in_python(lambda: read(file)),
        "preflight": judge_in_python(lambda: checks.check_secret(plan, name, code)),
        "install": judge_in_python(lambda: switch._check_secret(file, code)),
    }


def in_bash(machine: KeyMachine, file: Path, *, is_list: bool) -> dict[str, Verdict]:
    """What each program says to a file."""
    return {
        words: machine.judge(words, variable, file)
        for words, (variable, takes_list, _) in IN_BASH.items()
        if takes_list == is_list
    }


@pytest.mark.parametrize("is_list", [False, True], ids=["api-key", "client-keys"])
@pytest.mark.parametrize("case", TABLE)
def test_all_programs_say_the_same(
    machine: KeyMachine, modules: dict[str, ModuleType], tmp_path: Path, case: str, *, is_list: bool
) -> None:
    content, *valid = TABLE[case]
    file = tmp_path / "the-file"
    file.write_bytes(content)
    file.chmod(0o600)
    verdicts = in_python(modules, file, is_list=is_list) | in_bash(machine, file, is_list=is_list)
    assert {program: code == 0 for program, (code, _) in verdicts.items()} == dict.fromkeys(verdicts, valid[is_list])
    if not valid[is_list]:
        agree_and_hide(verdicts, file, content, 19 if is_list else 17)


def agree_and_hide(verdicts: dict[str, Verdict], file: Path, content: bytes, code: int) -> None:
    """The same reason from all, with the file's name and nothing of what it holds."""
    reasons = set()
    for program, (status, said) in verdicts.items():
        assert status == (4 if program.startswith("smoke-test") else code), program
        assert str(file) in said, program
        reasons.add(said.partition("this machine: ")[2].split(";")[0] or said.partition(f"{file}: ")[2].strip())
        for word in content.decode("latin-1").split():
            assert len(word) < 7 or word not in said.replace(str(file), ""), program
    assert len({reason.partition(": make it with")[0].partition("\n")[0] for reason in reasons}) == 1, reasons


@pytest.mark.parametrize("is_list", [False, True], ids=["api-key", "client-keys"])
@pytest.mark.parametrize("kind", ["none", "folder", "pipe", "socket", "device", "dangling link", "endless"])
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(
    machine: KeyMachine, modules: dict[str, ModuleType], tmp_path: Path, kind: str, *, is_list: bool
) -> None:
    file = tmp_path / "the-file"
    with socket.socket(socket.AF_UNIX) as listener:
        make_no_file(file, kind, listener)
        verdicts = in_python(modules, file, is_list=is_list) | in_bash(machine, file, is_list=is_list)
    words = "cannot read it: No such file or directory" if "link" in kind or kind == "none" else "no regular file"
    for program, (code, said) in verdicts.items():
        assert code != 0, program
        assert words in said, (program, said)
        assert str(file) in said, program


def make_no_file(file: Path, kind: str, listener: socket.socket) -> None:
    """A name that leads to something else than a file."""
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(file.parent)  # a socket's address is short
        try:
            listener.bind(file.name)
        finally:
            os.chdir(here)
    elif kind != "none":
        file.symlink_to({"device": "/dev/null", "endless": "/dev/zero"}.get(kind, "/nowhere/at/all"))


def test_a_link_to_a_file_is_a_file(machine: KeyMachine, modules: dict[str, ModuleType], tmp_path: Path) -> None:
    """As systemd and container engines lay secrets out."""
    (tmp_path / "..data").write_text(KEY)
    (tmp_path / "..data").chmod(0o600)
    (tmp_path / "the-file").symlink_to("..data")
    for is_list in (False, True):
        file = tmp_path / "the-file"
        verdicts = in_python(modules, file, is_list=is_list) | in_bash(machine, file, is_list=is_list)
        assert {code for code, _ in verdicts.values()} == {0}


@pytest.mark.parametrize("program", ["smoke-test", "bench", "evaluate", "preflight"])
def test_the_programs_themselves_read_keys_that_way(machine: KeyMachine, tmp_path: Path, program: str) -> None:
    file = tmp_path / "the-file"
    file.write_bytes(b"sk-0123\x00456789abcdef\n")
    option = [] if program == "preflight" else ["--api-key-file", str(file)]
    words = {"evaluate": ["--service", "tiny", str(ROOT / "templates/lib/evaluation/smoke.yaml")]}.get(program, [])
    done = subprocess.run(
        [*machine.program(f"cpu/{program}"), *words, *option],
        env={**machine.environment, "STACKC_API_KEY_FILE": str(file)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode in (4, 17), said
    assert "it holds a NUL byte" in said
    assert str(file) in said
    assert "Traceback" not in said


def test_the_servers_get_the_key_without_its_line_end(machine: KeyMachine, tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n"):
        (tmp_path / "key").write_text(KEY + end, newline="")
        (tmp_path / "vllm").write_text('#!/bin/sh\nprintf "%s" "$VLLM_API_KEY"\n')
        (tmp_path / "vllm").chmod(0o755)
        places = {"STACKC_API_KEY_FILE": str(tmp_path / "key"), "STACKC_VLLM": str(tmp_path / "vllm")}
        assert machine.run("cpu/launch-tiny", **places).stdout.decode() == KEY
