"""Who has no key gets nothing, and no key is written where it does not belong."""

from __future__ import annotations

import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Secrets
from tests.gateway.machine import Machine, gateway_plan, machine_with, wait_until
from tests.gateway.servers import BACKEND_KEY, KEY, OTHER_KEY, Answer, Client


def everything_about(process: subprocess.Popen[bytes]) -> str:
    """What other users of the machine can see of a process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    files = [f"/proc/{pid}/{file}" for pid in [process.pid, *children] for file in ("cmdline", "environ")]
    return "".join(Path(file).read_text() for file in files)


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", f"Bearer  x{KEY}", f"Bearer {KEY}x", f"Bearer {KEY.upper()}", f"Basic {KEY}", KEY,
        f"Bearer {KEY} {KEY}", f"Bearer {BACKEND_KEY}", "Bearer alice", f"Bearer alice:{KEY}", "Bearer .*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/coder"])
def test_without_a_key_nothing_is_answered(machine: Machine, authorization: str | None, path: str) -> None:
    before = len(machine.servers["coder"].seen)
    headers = {} if authorization is None else {"Authorization": authorization}
    client = Client(machine.port, None)
    body = None if "models" in path else b'{"model": "coder"}'
    answer = client.send("GET" if body is None else "POST", path, body, headers)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(machine.servers["coder"].seen) == before


def test_clients_of_either_api_may_show_their_key_in_their_own_way(machine: Machine) -> None:
    anonymous = Client(machine.port, None)
    message = {"model": "coder", "messages": [], "max_tokens": 1}
    assert anonymous.post("/v1/messages", message, {"X-Api-Key": KEY}).status == 200
    assert anonymous.post("/v1/messages", message, {"Authorization": f"bearer {KEY}"}).status == 200
    assert anonymous.post("/v1/messages", message, {"X-Api-Key": KEY, "Authorization": "Bearer no"}).status == 401


def test_the_log_says_who_asked_for_what_and_holds_no_key(machine: Machine) -> None:
    bob, body = Client(machine.port, OTHER_KEY), {"model": "coder", "prompt": "confidential"}
    assert bob.post(f"/v1/completions?api_key={OTHER_KEY}", body).status == 200
    last = machine.last_request("client-5")
    assert (last["client"], last["path"], last["service"]) == ("client-5", "/v1/completions", "coder")
    log = machine.log.read_text()
    assert not [secret for secret in (KEY, OTHER_KEY, BACKEND_KEY, "confidential") if secret in log]


def test_health_needs_no_key(machine: Machine) -> None:
    assert Client(machine.port, None).get("/health").data["status"] == "ok"


def test_keys_are_in_no_command_line_and_no_environment(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running() as process:
        wait_until(lambda: "nginx" in everything_about(process))
        seen = everything_about(process)
        assert not [key for key in (KEY, OTHER_KEY, BACKEND_KEY) if key in seen]
        written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
        assert all(path.stat().st_mode & 0o077 == 0 for path in written if path.parent.name.startswith("conf-"))
        assert not [path for path in written if any(key.encode() in path.read_bytes() for key in (KEY, OTHER_KEY))]
        assert (tmp_path / "run").stat().st_mode & 0o066 == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no key"),
        ("# nobody\n", "holds no key"),
        ("short\n", "line 1"),
        (f"{KEY}\n\nalice:{KEY}\n", "line 3: the same key as that of client-1"),
        (f"a b:{KEY}\n", "line 1"),
        (f"x:{KEY} # comment\n", "line 1"),
        (f'x:{KEY}"; return 200 "\n', "line 1"),
        (f"x:{KEY}$\n", "line 1"),
        (f"x:{KEY}\\\n", "line 1"),
        ("x:é123456789012345\n", "line 1"),
        (f"x:{'k' * 257}\n", "line 1"),
    ],
)
def test_a_file_of_keys_that_cannot_be_meant_stops_the_start(nginx: str, tmp_path: Path, text: str, words: str) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        machine.keys.write_text(text)
        done = machine.gateway("run")
        assert (done.returncode, words in done.stderr) == (19, True), done.stderr
        assert KEY not in done.stderr


def test_a_missing_file_is_named(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        done = machine.gateway("run", STACKC_CLIENT_KEYS_FILE=str(tmp_path / "none"))
        assert (done.returncode, str(tmp_path / "none") in done.stderr) == (19, True)
        done = machine.gateway("run", STACKC_API_KEY_FILE=str(tmp_path / "none"))
        assert (done.returncode, str(tmp_path / "none") in done.stderr) == (17, True)
        machine.api_key.write_text('secret"0123456789')
        done = machine.gateway("check")
        assert (done.returncode, "secret" in done.stderr) == (17, False)


def test_systemd_hands_the_keys_over_in_its_own_folder(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        folder = tmp_path / "credentials"
        folder.mkdir()
        (folder / "client-keys").write_text(f"carol:{KEY}\n")
        (folder / "api-key").write_text(BACKEND_KEY)
        machine.environment |= {"STACKC_CLIENT_KEYS_FILE": "", "STACKC_API_KEY_FILE": ""}
        done = machine.gateway("check", CREDENTIALS_DIRECTORY=str(folder))
        assert (done.returncode, done.stderr) == (0, "")


def test_a_new_key_counts_after_a_reload_and_a_removed_one_no_more(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        machine.keys.write_text(f"alice:{'n' * 32}\n")
        assert machine.client.chat("coder").status == 200
        assert machine.gateway("reload").returncode == 0
        assert machine.client.chat("coder").status == 401
        assert Client(machine.port, "n" * 32).chat("coder").status == 200


def test_two_keys_may_be_one_clients_while_one_replaces_the_other(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine:
        machine.keys.write_text(f"alice:{KEY}\r\nalice:{OTHER_KEY}")
        with machine.running():
            assert Client(machine.port, OTHER_KEY).chat("coder").status == 200
            assert machine.last_request("alice")["status"] == "200"


def test_without_keys_everybody_on_this_machine_is_served(nginx: str, tmp_path: Path) -> None:
    plan = replace(gateway_plan(), secrets=Secrets(None, None))
    with machine_with(tmp_path, plan) as machine:
        machine.servers["coder"].key = ""
        machine.environment |= {"STACKC_CLIENT_KEYS_FILE": "", "STACKC_API_KEY_FILE": ""}
        with machine.running():
            Client(machine.port, KEY).chat("coder")
        headers = machine.servers["coder"].seen[-1].headers
        assert "Authorization" not in headers
        assert headers["X-Stackc-Client"] == "anonymous"


def test_a_client_beyond_its_rate_waits_and_another_does_not(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(requests_per_second=2, burst=3)) as machine, machine.running():
        answers = [machine.client.chat("coder") for _ in range(8)]
        assert [answer.status for answer in answers[:4]] == [200] * 4
        refused = [answer for answer in answers if answer.status != 200]
        assert len(refused) >= 3
        assert {(answer.status, answer.error["code"], answer.headers["retry-after"]) for answer in refused} == {
            (429, "rate_limit_exceeded", "1")
        }
        assert Client(machine.port, OTHER_KEY).chat("coder").status == 200


def test_a_stop_waits_for_a_stream(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running() as process:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(machine.client.chat("coder", stream=True)))
        thread.start()
        while not machine.servers["coder"].seen:
            pass
        process.send_signal(signal.SIGQUIT)
        thread.join()
        assert process.wait(5) == 0
        assert answers[0].body.endswith(b"[DONE]\n\n")
