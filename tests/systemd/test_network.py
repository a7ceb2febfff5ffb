"""With whom the processes of emitted units may exchange packets, as a real systemd and the kernel's filters have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from compiler.plan.ir import Plan
from compiler.targets.systemd import emit_systemd
from tests.systemd.machine import Machine
from tests.unit.plan_samples import two_on_one_gpu, with_service

CARD, METADATA, CLIENT = "10.9.8.7", "169.254.169.254", "203.0.113.9"
OPEN, SHUT = "open", "shut"
# It answers whoever connects; an address that is filtered never sees the connection.
LISTENER = """
import socket
with socket.create_server(("0.0.0.0", 9099)) as server:
    while True:
        server.accept()[0].close()
"""
PROBE = """
import socket, sys
for address in sys.argv[1:]:
    try:
        socket.create_connection((address, 9099), timeout=1).close()
        print(address, "open")
    except OSError:
        print(address, "shut")
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with addresses as of a network card, of a cloud's metadata and of the internet, all of them its own.

    The filter looks at addresses alone, so that they may as well belong to the one interface that is always there.
    """
    with Machine.boot(tmp_path_factory.mktemp("network"), {}) as booted:
        booted.must("ip", "link", "set", "lo", "up")
        for address in (CARD, METADATA, CLIENT):
            booted.must("ip", "address", "add", f"{address}/32", "dev", "lo")
        booted.write("/srv/probe.py", PROBE)
        booted.must("systemd-run", "--unit=listener", "/usr/bin/python3", "-c", LISTENER)
        booted.wait(
            lambda: "shut" not in booted.must("python3", "/srv/probe.py", "127.0.0.1", CARD), 20, "the listener"
        )
        yield booted


def reached(machine: Machine, plan: Plan, unit: str) -> dict[str, str]:
    """Which addresses a program reaches that runs with the addresses of an emitted unit."""
    text = next(each.text for each in emit_systemd(plan) if each.path.name == unit)
    lines = re.findall(r"^IPAddress\w+=.+$", text, re.MULTILINE)
    name = f"probe-{unit}"
    addresses = ("127.0.0.1", CARD, METADATA, CLIENT)
    command = f"/usr/bin/python3 /srv/probe.py {' '.join(addresses)}"
    options = "Type=oneshot\nStandardOutput=truncate:/run/probe.txt"
    machine.write(f"/etc/systemd/system/{name}", "\n".join(["[Service]", options, f"ExecStart={command}", *lines, ""]))
    machine.must("systemctl", "daemon-reload")
    machine.must("systemctl", "start", name)
    found = dict(line.split() for line in machine.must("cat", "/run/probe.txt").splitlines())
    if set(found.values()) == {OPEN}:
        pytest.skip("systemd filters no addresses here: " + machine.log(name)[-300:])
    return found


def test_a_server_whose_clients_are_here_reaches_nobody_else(machine: Machine) -> None:
    found = reached(machine, two_on_one_gpu(), "duo-coder.service")
    assert found == {"127.0.0.1": OPEN, CARD: SHUT, METADATA: SHUT, CLIENT: SHUT}


def test_a_server_with_clients_elsewhere_does_not_reach_the_metadata_of_a_cloud(machine: Machine) -> None:
    found = reached(machine, with_service(two_on_one_gpu(), "coder", host="0.0.0.0"), "duo-coder.service")
    assert found == {"127.0.0.1": OPEN, CARD: OPEN, METADATA: SHUT, CLIENT: OPEN}


def test_a_server_that_fetches_media_reaches_the_internet_and_no_private_network(machine: Machine) -> None:
    plan = with_service(two_on_one_gpu(), "coder", media_domains=("images.example.org",))
    found = reached(machine, plan, "duo-coder.service")
    assert found == {"127.0.0.1": OPEN, CARD: SHUT, METADATA: SHUT, CLIENT: OPEN}


def test_the_download_reaches_a_mirror_in_a_private_network_and_no_metadata(machine: Machine) -> None:
    found = reached(machine, replace(two_on_one_gpu()), "duo-prefetch.service")
    assert found == {"127.0.0.1": OPEN, CARD: OPEN, METADATA: SHUT, CLIENT: OPEN}
