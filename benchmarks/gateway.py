"""What a change costs clients while the gateway serves twenty requests a second by TLS: requests that fail.

`python -m benchmarks.gateway [--json] [--seconds 5]`, with a real nginx and servers that are processes of their own.
Each change is measured for itself: a certificate is renewed, another team's key is added and revoked, a server is added
to those of a model, and one of them is killed. Of that one, requests that nginx had handed to it may fail, since a
generation is never asked for twice; `lost_before` counts those that it had not begun. Exits with 1 if there are any.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from compiler.plan.ir import Plan, Team, Tls
from tests.gateway.certificates import make_pair
from tests.gateway.machine import Machine, free_port
from tests.gateway.servers import KEY
from tests.gateway.test_balancing import NAMES, replicated, start
from tests.gateway.test_tls import SecureClient, trusting
from tests.unit.plan_samples import write_tree

PERIOD = 0.05
TEAM_KEY = "research-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `status` is 0 where the connection broke; `request` is the gateway's number of it."""

    status: int
    seconds: float
    request: str


@dataclass(frozen=True, slots=True)
class Result:
    """Requests around one change.

    Attributes:
        failed: of them, those that ended with anything but 200.
        lost_before: of the failed ones, those that no killed server had begun.
        seconds: that the change itself took.
        median_ms: of a request, whose server takes 200 ms.
    """

    change: str
    requests: int
    failed: int
    lost_before: int
    seconds: float
    median_ms: float


class Load:
    """Twenty requests a second, each from a thread of its own."""

    def __init__(self, client: SecureClient) -> None:
        self.client, self.asked = client, list[Asked]()

    @contextmanager
    def running(self) -> Iterator[None]:
        """From now until the end of the block, when all of them have ended."""
        ended, threads = threading.Event(), list[threading.Thread]()

        def begin() -> None:
            while not ended.wait(PERIOD):
                threads.append(threading.Thread(target=self._ask))
                threads[-1].start()

        source = threading.Thread(target=begin)
        source.start()
        try:
            yield
        finally:
            ended.set()
            source.join()
            for each in threads:
                each.join()

    def _ask(self) -> None:
        begun = time.monotonic()
        try:
            status, _, headers = self.client.chat("coder")
            number = headers.get("x-request-id", "")
        except (OSError, ValueError):
            status, number = 0, ""
        self.asked.append(Asked(status, time.monotonic() - begun, number))


def measured(
    machine: Machine, client: SecureClient, seconds: float, change: Callable[[], Any], killed: int = 0
) -> Result:
    """Requests from before a change until some time after it.

    Args:
        killed: the port of the server that the change kills.
    """
    load = Load(client)
    with load.running():
        time.sleep(seconds / 2)
        begun = time.monotonic()
        change()
        took = time.monotonic() - begun
        time.sleep(seconds / 2)
    failed = [each for each in load.asked if each.status != 200]
    sent = {line["request"]: line["upstream"] for line in machine.requests()}
    begun_there = [each for each in failed if killed and sent.get(each.request) == f"127.0.0.1:{killed}"]
    middle = median(each.seconds for each in load.asked) * 1000
    lost = len(failed) - len(begun_there)
    return Result("", len(load.asked), len(failed), lost, round(took, 2), round(middle, 1))


def _must(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode != 0:
        raise SystemExit(f"{done.args}: {done.stderr}")
    return done.stdout


def run(root: Path, seconds: float) -> list[Result]:
    """All changes, one after another, to one gateway that is never started anew."""
    pair, renewed = make_pair(root / "tls"), make_pair(root / "renewed")
    context = trusting(pair.certificate)
    context.load_verify_locations(str(renewed.certificate))
    ports = {name: free_port() for name in NAMES}
    processes = {name: start(name, port) for name, port in ports.items()}
    gateway_port, tls = free_port(), Tls(str(pair.certificate), str(pair.key), ("llm.example.org",))

    def plan(names: tuple[str, ...]) -> Plan:
        found = replicated({name: ports[name] for name in names}, gateway_port=gateway_port)
        assert found.gateway is not None
        return replace(found, gateway=replace(found.gateway, tls=tls, teams=(Team("research", 5, 20, ()),)))

    machine = Machine(root / "machine", plan(NAMES[:2]), {})
    machine.keys.write_text(f"alice:{KEY}\nresearch:{TEAM_KEY}\n")

    def renew() -> None:
        shutil.copy(renewed.certificate, pair.certificate)
        shutil.copy(renewed.key, pair.key)
        _must(machine.gateway("reload"))

    def extend() -> None:
        write_tree(plan(NAMES), machine.tree)
        _must(machine.gateway("reload"))

    changes: dict[str, tuple[Callable[[], Any], int]] = {
        "nothing": (lambda: None, 0),
        "a certificate is renewed": (renew, 0),
        "a team gets a key": (lambda: _must(machine.command("keys", "add", "research")), 0),
        "a team's key is revoked": (lambda: _must(machine.command("keys", "revoke", "research")), 0),
        "a server is added": (extend, 0),
        "a server is killed": (processes["coder"].kill, ports["coder"]),
    }
    try:
        with machine.running():
            client = SecureClient(gateway_port, context)
            return [
                replace(measured(machine, client, seconds, change, killed), change=name)
                for name, (change, killed) in changes.items()
            ]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def main() -> None:
    """Run them and say what was lost."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load around each change")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stackc-gateway-") as folder:
        results = run(Path(folder), options.seconds)
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for each in results:
            lost = f"{each.failed} failed, {each.lost_before} of them not begun"
            print(f"{each.change}: {each.requests} requests, {lost}; {each.seconds} s, median {each.median_ms} ms")
    sys.exit(1 if any(each.lost_before for each in results) else 0)


if __name__ == "__main__":
    main()
