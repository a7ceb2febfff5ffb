"""`bin/gateway`: starts, reloads that change nothing when they fail, and what it says when something is missing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest

from compiler.render.quoting import quote_nginx
from tests.conftest import tool
from tests.gateway.machine import Machine, gateway_plan, machine_with, wait_until
from tests.gateway.servers import FakeServer, serving
from tests.unit.plan_samples import write_executable


def test_it_starts_before_its_servers(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ("coder",)) as machine, machine.running():
        assert machine.client.chat("general").status == 503
        with serving(FakeServer("general", machine.plan.service("general").port)):
            wait_until(lambda: machine.client.chat("general").status == 200)


def test_a_port_that_is_taken_is_named(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", machine.port))
        other.listen()
        done = machine.gateway("run")
        assert (done.returncode, f"127.0.0.1:{machine.port}" in done.stderr) == (14, True), done.stderr


def test_a_second_gateway_does_not_disturb_the_first(machine: Machine) -> None:
    assert machine.gateway("run").returncode == 14
    assert machine.gateway("status").returncode == 0
    assert machine.client.chat("coder").status == 200


def test_a_reload_that_nginx_refuses_changes_nothing(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        config = machine.tree / "gateway/nginx.conf"
        good = config.read_text()
        config.write_text(good.replace("proxy_buffering off", "proxy_buffering perhaps"))
        done = machine.gateway("reload")
        assert (done.returncode, "perhaps" in done.stderr) == (20, True), done.stderr
        assert json.loads(machine.gateway("status", "--json").stdout)["running"] is True
        assert machine.client.chat("coder").status == 200
        config.write_text(good)
        assert machine.gateway("reload").returncode == 0
        assert len([path for path in (tmp_path / "run").iterdir() if path.name.startswith("conf-")]) == 1


def test_a_reload_that_the_running_gateway_does_not_take_is_noticed(nginx: str, tmp_path: Path) -> None:
    """nginx accepts the file when it is tested, and the running one cannot listen on the new port."""
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running(), socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = machine.tree / "gateway/nginx.conf"
        port = other.getsockname()[1]
        config.write_text(
            config.read_text().replace("include listen.conf;", f"include listen.conf; listen 127.0.0.1:{port};")
        )
        done = machine.gateway("reload")
        assert (done.returncode, "does not answer" in done.stderr) == (20, True), done.stderr
        assert machine.client.chat("coder").status == 200
        assert machine.gateway("status").returncode == 0


def test_a_bad_key_file_at_a_reload_keeps_the_old_keys(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        machine.keys.write_text("short")
        assert machine.gateway("reload").returncode == 19
        assert machine.client.chat("coder").status == 200
        assert machine.gateway("status").returncode == 0


def test_nothing_runs(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        assert machine.gateway("reload").returncode == 3
        assert machine.gateway("wait", "--once").returncode == 3
        assert machine.gateway("wait", "--timeout", "1").returncode == 3
        status = machine.gateway("status", "--json")
        assert status.returncode == json.loads(status.stdout)["exit_code"] == 3
        dead = subprocess.Popen(["true"])
        dead.wait()
        assert machine.gateway("wait", MAINPID=str(dead.pid)).returncode == 4
        is_ended_well_by_a_stop_of_its_unit(machine)
        assert machine.gateway("check").returncode == 0
        assert not (tmp_path / "run").exists(), "a check leaves nothing behind"


def is_ended_well_by_a_stop_of_its_unit(machine: Machine) -> None:
    """systemd ends it with the gateway that it waits for, and calls the unit failed where that killed it."""
    script = 'SYSTEMD_EXEC_PID=$$ exec "$0" wait --timeout 600'
    command = ["bash", "-c", script, str(machine.tree / "bin/gateway")]
    with subprocess.Popen(command, env=machine.environment) as waiting:
        wait_until(lambda: catches(waiting.pid, signal.SIGTERM))
        waiting.terminate()
        assert waiting.wait(60) == 0


def catches(pid: int, number: int) -> bool:
    words = Path(f"/proc/{pid}/status").read_text().split()
    return bool(int(words[words.index("SigCgt:") + 1], 16) >> (number - 1) & 1)


def test_the_pid_of_another_program_is_not_taken_for_the_gateway(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/nginx.pid").write_text(f"{os.getpid()}\n")
        assert machine.gateway("reload").returncode == 3


def test_what_is_missing_is_named(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        done = machine.gateway("run", STACKC_NGINX=str(tmp_path / "no-nginx"))
        assert (done.returncode, "no-nginx" in done.stderr) == (4, True)
        done = machine.gateway("run", STACKC_NJS_MODULE=str(tmp_path / "none.so"))
        assert (done.returncode, "none.so" in done.stderr) == (20, True)
        assert machine.gateway("run", STACKC_GATEWAY_DIR="run").returncode == 2
        done = machine.gateway("run", STACKC_GATEWAY_DIR="/proc/none")
        assert (done.returncode, "/proc/none" in done.stderr) == (4, True)


@pytest.mark.parametrize(
    "words",
    [[], ["start"], ["run", "x"], ["wait", "--x"], ["wait", "--timeout"], ["status", "-x"], ["weight", "general"],
     ["weight", "general", "101"], ["weight", "general", "05"], ["weight", "coder", "5"], ["probe"], ["probe", "none"]],
)  # fmt: skip
def test_usage(nginx: str, machine: Machine, words: list[str]) -> None:
    done = machine.gateway(*words)
    assert (done.returncode, done.stderr != "") == (2, True)


def test_help_names_every_command(machine: Machine) -> None:
    text = machine.gateway("--help").stdout
    assert all(f"\n  {command}" in text for command in ("run", "reload", "wait", "check", "status", "weight", "probe"))


@pytest.mark.parametrize("kind", ["nginx", "litellm"])
def test_shellcheck_finds_nothing(kind: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, gateway_plan(kind=kind), {})
    options = ["--severity=style", "--enable=all"]
    done = subprocess.run(
        [tool("shellcheck"), *options, machine.tree / "bin/gateway", *machine.tree.glob("lib/*.bash")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_words_are_quoted_as_nginx_reads_them(nginx: str, tmp_path: Path) -> None:
    words = ["a b", '"', "\\", "\\n", "a\nb", "it's", ";", "{}", "#x", "é漢😀", "a\tb", "\\\\", "%41", '\\"']
    with machine_with(tmp_path, gateway_plan()) as machine:
        config = machine.tree / "gateway/nginx.conf"
        paths = "".join(
            f"location = /w{index} {{ return 200 {quote_nginx(word)}; }}" for index, word in enumerate(words)
        )
        config.write_text(config.read_text().replace("include listen.conf;", f"include listen.conf; {paths}"))
        with machine.running():
            assert [machine.client.get(f"/w{index}").body.decode() for index in range(len(words))] == words


@pytest.mark.parametrize("host", ["::1", "::", "localhost", "127.0.0.2"])
def test_it_listens_where_the_plan_says(nginx: str, tmp_path: Path, host: str) -> None:
    with machine_with(tmp_path, gateway_plan(host=host)) as machine, machine.running():
        assert machine.gateway("reload").returncode == 0
        shown = {"::": "::1", "localhost": "127.0.0.1"}.get(host, host)
        connection = http.client.HTTPConnection(shown, machine.port, timeout=60)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


def test_probe_says_whether_a_server_is_ready(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ("coder",)) as machine:
        assert machine.gateway("probe", "coder").returncode == 0
        assert machine.gateway("probe", "general").returncode == 3


def test_a_journal_that_is_a_socket_gets_the_access_log(nginx: str, tmp_path: Path) -> None:
    """systemd connects a unit's output to a socket, which nginx cannot open by its path."""
    with machine_with(tmp_path, gateway_plan()) as machine:
        ours, its = socket.socketpair()
        with ours, its:
            process = subprocess.Popen(
                [machine.tree / "bin/gateway", "run"],
                env=machine.environment,
                stdout=its,
                stderr=its,
                start_new_session=True,
            )
            try:
                assert machine.gateway("wait", MAINPID=str(process.pid)).returncode == 0
                machine.client.chat("coder")
                ours.settimeout(5)
                assert b'"service":"coder"' in ours.recv(65536)
            finally:
                process.terminate()
                process.wait(10)


def test_in_a_container_servers_are_found_by_name_though_they_come_later(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(host="127.0.0.9"), ("coder",)) as machine:
        machine.environment |= {"STACKC_CONTAINER": "1"}
        with machine.running():
            config = (tmp_path / "run/conf/addresses.conf").read_text()
            assert f'"coder" "coder:{machine.servers["coder"].port}";' in config
            assert config.startswith("resolver ")
            assert (tmp_path / "run/conf/listen.conf").read_text() == f"listen 0.0.0.0:{machine.port};\n"
            # No name server of a container network here: the name is unknown, which must be an answer and no end.
            answer = machine.client.chat("coder")
            assert (answer.status, answer.error["code"]) == (503, "server_unavailable")


class NameServer(socketserver.UDPServer):
    """Knows the containers of a network: an address for each name, until the container is gone."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), NameHandler)
        self.addresses: dict[str, str] = {}


class NameHandler(socketserver.BaseRequestHandler):
    """Answers one question for an A record."""

    server: NameServer

    def handle(self) -> None:
        query, reply = self.request
        end = query.index(b"\0", 12) + 5
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        known = self.server.addresses.get(".".join(labels))
        address = known if query[end - 4 : end - 2] == b"\0\1" else None
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) if address else b""
        flags = b"\x81\x80" if known else b"\x81\x83"
        head = query[:2] + flags + b"\0\1" + (b"\0\1" if address else b"\0\0") + b"\0\0\0\0"
        reply.sendto(head + query[12:end] + answer, self.client_address)


def test_a_container_that_comes_back_with_another_address_is_found(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(host="127.0.0.9"), ("coder",)) as machine, NameServer() as names:
        threading.Thread(target=names.serve_forever, daemon=True).start()
        machine.environment |= {"STACKC_CONTAINER": "1", "STACKC_RESOLVER": f"127.0.0.1:{names.server_address[1]}"}
        with machine.running():
            assert machine.client.chat("coder").error["code"] == "server_unavailable"
            names.addresses["coder"] = "127.0.0.1"
            wait_until(lambda: machine.client.chat("coder").status == 200)
            again = FakeServer("coder", machine.servers["coder"].port, "127.0.0.3")
            names.addresses["coder"] = "127.0.0.3"
            with serving(again):
                wait_until(lambda: machine.client.chat("coder").status == 200 and len(again.seen) > 0, 20)
        names.shutdown()


def test_no_file_of_the_programs_folder_is_written(machine: Machine) -> None:
    before = {path: path.stat().st_mtime_ns for path in machine.tree.rglob("*")}
    assert machine.gateway("reload").returncode == 0
    assert machine.rollout("status").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in machine.tree.rglob("*")} == before


def test_a_fake_nginx_is_run_where_the_plan_says(tmp_path: Path) -> None:
    """`paths.nginx` of the spec, or STACKC_NGINX, is what runs, with nothing secret on its command line."""
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        fake = write_executable(tmp_path / "nginx", '#!/bin/sh\nprintf "%s\\n" "$@" >"$0.args"\n')
        (tmp_path / "njs.so").touch()
        done = machine.gateway("run", STACKC_NGINX=str(fake), STACKC_NJS_MODULE=str(tmp_path / "njs.so"))
        assert done.returncode == 0, done.stderr
        run = tmp_path / "run"
        words = ["-e", "stderr", "-p", f"{run}/", "-c", f"{run}/conf/nginx.conf", "-g", "daemon off;"]
        assert (tmp_path / "nginx.args").read_text().splitlines() == words
