"""Bounds of one address: how often it may be wrong about a key, and how much it may have open at once."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.targets.gateway.nginx import nginx_config
from tests.conftest import ROOT
from tests.gateway.conftest import NJS
from tests.gateway.machine import Machine, free_port, gateway_plan, machine_with, wait_until
from tests.gateway.servers import KEY, OTHER_KEY, Answer, Client


def guess(machine: Machine, count: int, path: str = "/v1/models") -> list[Answer]:
    """Answers to as many wrong keys."""
    return [Client(machine.port, f"wrong-key-{index:08}").get(path) for index in range(count)]


def test_a_flood_of_wrong_keys_is_slowed_down_and_right_keys_pass(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        answers = guess(machine, 150) + [Client(machine.port, None).chat("coder") for _ in range(20)]
        counted = Counter(answer.status for answer in answers)
        assert counted[401] + counted[429] == len(answers)
        assert 50 <= counted[401] < 130, "the first ones learn that their key is wrong"
        refused = [answer for answer in answers if answer.status == 429]
        assert {(answer.error["code"], answer.headers["retry-after"]) for answer in refused} == {
            ("rate_limit_exceeded", "1")
        }
        # The same address, in the middle of the flood.
        assert machine.client.chat("coder").status == 200
        assert Client(machine.port, OTHER_KEY).get("/v1/models").status == 200
        assert machine.client.get("/health").status == 200


def test_right_keys_are_never_counted_as_wrong(machine: Machine) -> None:
    assert {machine.client.get("/v1/models").status for _ in range(200)} == {200}


def test_without_keys_nothing_is_wrong_about_one(nginx: str, tmp_path: Path) -> None:
    plan = gateway_plan()
    plan = replace(plan, secrets=replace(plan.secrets, client_keys=None))
    with machine_with(tmp_path, plan) as machine:
        machine.environment["STACKC_CLIENT_KEYS_FILE"] = ""
        with machine.running():
            assert {answer.status for answer in guess(machine, 120)} == {200}


def with_few_connections(machine: Machine, count: int) -> None:
    config = machine.tree / "gateway/nginx.conf"
    text, replaced = re.subn(
        r"limit_conn stackc_addresses \d+;", f"limit_conn stackc_addresses {count};", config.read_text()
    )
    assert replaced
    config.write_text(text)


@pytest.mark.parametrize("rate", [None, 1000])
def test_one_address_holds_a_part_of_the_gateway_at_most(nginx: str, tmp_path: Path, rate: int | None) -> None:
    with machine_with(tmp_path, gateway_plan(requests_per_second=rate, burst=100)) as machine:
        with_few_connections(machine, 5)
        with machine.running():
            machine.servers["coder"].delay = 3.0
            answers: list[Answer] = []
            threads = [threading.Thread(target=lambda: answers.append(machine.client.chat("coder"))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert Counter(answer.status for answer in answers) == {200: 5, 429: 3}
            assert {answer.error["code"] for answer in answers if answer.status == 429} == {"rate_limit_exceeded"}
            machine.servers["coder"].delay = 0.0
            # nginx frees a place a moment after the answer.
            wait_until(lambda: machine.client.chat("coder").status == 200)


def test_the_bound_of_an_address_is_never_below_what_the_servers_take() -> None:
    for connections, bound in ((64, 1024), (5000, 5000)):
        plan = gateway_plan(connections=connections)
        assert plan.gateway is not None
        assert nginx_config(plan, plan.gateway).address_connections == bound


NETWORKS = {
    "192.0.2.7": "192.0.2.7",
    "192.0.2.8": "192.0.2.8",
    "::ffff:192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2",
    "2001:db8:1:2::1": "2001:db8:1:2",
    "2001:db8:1:2:ffff::": "2001:db8:1:2",
    "2001:db8:1:3::1": "2001:db8:1:3",
    "2001:db8::1": "2001:db8:0:0",
    "::1": "0:0:0:0",
    "fe80::1:2:3:4": "fe80:0:0:0",
}


def test_an_address_of_ipv6_counts_with_its_network(nginx: str, tmp_path: Path) -> None:
    """Whoever has one address of IPv6 has 2^64 of them."""
    port = free_port()
    (tmp_path / "route.js").write_text((ROOT / "templates/gateway/route.js").read_text())
    (tmp_path / "stack.js").write_text("export default {};")
    (tmp_path / "nginx.conf").write_text(
        f'load_module "{NJS}"; pid nginx.pid; error_log stderr; daemon off; events {{}}\n'
        "http { access_log off; js_import route from route.js; js_set $network route.network;\n"
        f"server {{ listen 127.0.0.1:{port}; set_real_ip_from 127.0.0.1; real_ip_header X-Address;\n"
        'location / { return 200 "$network"; } } }\n'
    )
    process = subprocess.Popen([nginx, "-e", "stderr", "-p", f"{tmp_path}/", "-c", "nginx.conf"])
    try:
        wait_until(lambda: is_open(port))
        client = Client(port, KEY)
        found = {address: client.get("/", {"X-Address": address}).body.decode() for address in NETWORKS}
        assert found == NETWORKS
    finally:
        process.terminate()
        process.wait(10)


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
