"""Run one machine's part of a server that spans machines: it starts when all are there, and ends when one is gone.

vLLM does not notice a machine that is lost: the others wait for its messages, without end or for minutes. So the first
machine keeps a connection to each of the others beside those of the engine. Both ends say every two seconds that they
are there. Whoever hears nothing any more, or whose own part ends, ends with an error; the unit then starts it again,
and it waits until all others are back. Nothing that is heard is run or kept: words that are not expected end a
connection.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 ended when it was asked to, 2 usage, 4 no plan, 14 the port is taken, 28 another machine is gone; else
that of the program, 128 + N if signal N ended it.
"""

from __future__ import annotations

import argparse
import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

from stack import EXIT_USAGE, JsonObject, StackError, choose_services, load_plan

EXIT_PORT, EXIT_ALONE = 14, 28
BEAT_SECONDS = 2.0
# A machine that is busy, or a network that loses packets for a moment, is not gone.
LOST_SECONDS = 20.0
CONNECT_SECONDS = 5.0
# Nobody waits for answers of a group that has lost a machine.
ENDING_SECONDS = 10.0
LOOK_SECONDS = 0.25
REPORT_SECONDS = 60.0
MAX_LINE = 1024
BEAT, START, OTHER = "here", "start", "other"


class Member(NamedTuple):
    """A machine of the group."""

    rank: int
    node: str
    address: str


class Part(NamedTuple):
    """What this machine is in the group.

    Attributes:
        greeting: what must be the same on all machines.
    """

    service: str
    rank: int
    members: list[Member]
    port: int
    greeting: JsonObject

    @property
    def own(self) -> Member:
        """This machine."""
        return self.members[self.rank]

    @property
    def leader(self) -> Member:
        """The machine that answers clients."""
        return self.members[0]


class Gone(Exception):  # noqa: N818 (it is what happened to a machine)
    """A machine is not there any more; the text says how that shows."""


class Refused(Exception):  # noqa: N818 (it is what the other machine did)
    """The other machine has another version of the tree."""


class Stopped(Exception):  # noqa: N818 (it is no error)
    """This part was asked to end."""


class Requests:
    """The signals by which this part is asked to end."""

    def __init__(self) -> None:
        self.first: int | None = None
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._take)

    def _take(self, number: int, _: object) -> None:
        self.first = self.first or number

    def check(self) -> None:
        """Raise if this part is to end."""
        if self.first is not None:
            raise Stopped


class Connection:
    """Lines from and to another machine."""

    def __init__(self, open_socket: socket.socket, node: str) -> None:
        open_socket.settimeout(0)
        self.socket, self.node = open_socket, node
        self._rest = b""
        self._heard, self._said = time.monotonic(), 0.0

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def say(self, line: str) -> None:
        """Send a line, which the kernel has room for unless the other side has read nothing for long."""
        try:
            self.socket.sendall(line.encode() + b"\n")
        except BlockingIOError:
            pass  # then nothing is heard of it either
        except OSError as error:
            raise Gone(f"the connection to it ended: {error}") from error
        self._said = time.monotonic()

    def hear(self) -> list[str]:
        """The lines that have come; none if nothing has."""
        try:
            data = self.socket.recv(4096)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Gone(f"the connection to it ended: {error}") from error
        if not data:
            raise Gone("it has closed the connection")
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise Gone("it says what no machine of this group says")
        return [line.decode("ascii", "replace") for line in lines]

    def keep(self) -> None:
        """Say that this machine is there, and see whether the other one still is."""
        now = time.monotonic()
        if now - self._said >= BEAT_SECONDS:
            self.say(BEAT)
        if now - self._heard > LOST_SECONDS:
            raise Gone(f"nothing was heard of it for {LOST_SECONDS:.0f} s")

    def close(self) -> None:
        """End it; the other side sees that at once."""
        self.socket.close()


def lead(part: Part, requests: Requests) -> list[Connection]:
    """Wait for all other machines; then tell them to start. Who has another version is sent away."""
    listener = _listen(part)
    joined: dict[int, Connection] = {}
    strangers: list[Connection] = []
    try:
        told = 0.0
        while len(joined) < len(part.members) - 1:
            requests.check()
            if time.monotonic() - told >= REPORT_SECONDS:
                told = time.monotonic()
                say(f"{part.service}: waits for {_named(each for each in part.members[1:] if each.rank not in joined)}")
            ready, _, _ = select.select([listener, *strangers, *joined.values()], [], [], LOOK_SECONDS)
            if listener in ready:
                strangers += _accepted(listener, part)
            _admit(part, strangers, joined)
            _forget_lost(joined)
        for connection in joined.values():
            connection.say(START)
    except BaseException:
        for connection in joined.values():
            connection.close()
        raise
    finally:
        # Whoever comes from now on has to wait until this start has ended.
        listener.close()
        for stranger in strangers:
            stranger.close()
    return list(joined.values())


def _listen(part: Part) -> socket.socket:
    family = socket.AF_INET6 if ":" in part.own.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((part.own.address, part.port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise StackError(EXIT_PORT, f"cannot listen on {part.own.address} port {part.port}: {error}") from error
    return listener


def _accepted(listener: socket.socket, part: Part) -> list[Connection]:
    """A connection from one of the others' addresses; those from elsewhere are closed unread."""
    try:
        found, (address, *_) = listener.accept()
    except OSError:
        return []
    nodes = {each.address: each.node for each in part.members[1:]}
    if address not in nodes:
        say(f"{part.service}: a connection from {address}, which is no machine of the group, was closed")
        found.close()
        return []
    return [Connection(found, nodes[address])]


def _admit(part: Part, strangers: list[Connection], joined: dict[int, Connection]) -> None:
    """Let those in that have said who they are; the last one of a rank counts, for the one before it is dead."""
    for stranger in list(strangers):
        try:
            lines = stranger.hear()
            stranger.keep()
            if not lines:
                continue
            rank = _rank_of(part, stranger, lines[0])
        except Gone:
            rank = None
        strangers.remove(stranger)
        if rank is None:
            stranger.close()
            continue
        if rank in joined:
            joined.pop(rank).close()
        joined[rank] = stranger
        say(f"{part.service}: {stranger.node} has joined")


def _rank_of(part: Part, stranger: Connection, line: str) -> int | None:
    """Of a machine that greets as it should; it is told if it has another version."""
    try:
        greeting = json.loads(line)
    except ValueError:
        return None
    rank = greeting.pop("rank", None) if isinstance(greeting, dict) else None
    ranks = {each.rank: each.node for each in part.members[1:]}
    if ranks.get(rank) != stranger.node:
        return None
    if greeting != part.greeting:
        say(f"{part.service}: {stranger.node} has another version of the stack: install the same on all machines")
        stranger.say(OTHER)
        return None
    return int(rank)


def _forget_lost(joined: dict[int, Connection]) -> None:
    for rank, connection in list(joined.items()):
        try:
            connection.hear()
            connection.keep()
        except Gone as reason:
            say(f"{connection.node} is gone before the start: {reason}")
            joined.pop(rank).close()


def follow(part: Part, requests: Requests) -> list[Connection]:
    """Wait for the first machine, and until it says that all are there."""
    told, reason = 0.0, ""
    while True:
        requests.check()
        try:
            return [_joined(part, requests)]
        except (OSError, Gone, Refused) as error:
            if time.monotonic() - told >= REPORT_SECONDS or str(error) != reason:
                told, reason = time.monotonic(), str(error)
                say(f"{part.service}: waits for {part.leader.node} ({part.leader.address} port {part.port}): {error}")
        _pause(BEAT_SECONDS, requests)


def _joined(part: Part, requests: Requests) -> Connection:
    # From its own address, by which the first machine knows it.
    source = (part.own.address, 0)
    found = socket.create_connection((part.leader.address, part.port), CONNECT_SECONDS, source_address=source)
    connection = Connection(found, part.leader.node)
    try:
        connection.say(json.dumps({**part.greeting, "rank": part.rank}))
        while not _is_told_to_start(connection):
            requests.check()
            select.select([connection], [], [], LOOK_SECONDS)
            connection.keep()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_told_to_start(connection: Connection) -> bool:
    lines = connection.hear()
    if OTHER in lines:
        raise Refused("it has another version of the stack: install the same on all machines")
    return START in lines


def _pause(seconds: float, requests: Requests) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        requests.check()
        time.sleep(LOOK_SECONDS)


def hold(part: Part, program: list[str], others: list[Connection], requests: Requests) -> int:
    """Run the program as long as all others are there; its exit code, or what stands for a lost machine."""
    child = subprocess.Popen(program, stdin=subprocess.DEVNULL)
    is_asked = False
    while child.poll() is None:
        if requests.first is not None and not is_asked:
            is_asked = True
            child.send_signal(signal.SIGTERM)  # it finishes what it has begun: the others stay for that
        try:
            select.select(others, [], [], LOOK_SECONDS)
            for other in others:
                other.hear()
                other.keep()
        except Gone as reason:
            gone = ", ".join(sorted({each.node for each in others if _is_gone(each)})) or "another machine"
            say(f"{part.service}: {gone} is gone ({reason}): this part of it ends")
            _end(child)
            return 0 if is_asked else EXIT_ALONE
    return _code(part, child.returncode, is_asked=is_asked)


def _is_gone(connection: Connection) -> bool:
    try:
        connection.hear()
        connection.keep()
    except Gone:
        return True
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _code(part: Part, status: int, *, is_asked: bool) -> int:
    if is_asked:
        return 0 if status in (0, -signal.SIGTERM, 128 + signal.SIGTERM) else _exit_code(status)
    say(f"{part.service}: its process here has ended with status {status}")
    # Without this part the others serve nothing, however well it ended.
    return _exit_code(status) or EXIT_ALONE


def _exit_code(status: int) -> int:
    return status if status >= 0 else 128 - status


def say(text: str) -> None:
    """A line for the log."""
    print(f"join-group: {text}", file=sys.stderr, flush=True)


def _named(members: Iterable[Member]) -> str:
    return ", ".join(f"{each.node} ({each.address})" for each in members)


def part_of(plan: JsonObject, name: str) -> Part:
    """What this machine is in the group of a service."""
    service = choose_services(plan, [name])[0]
    group = service.get("group")
    if group is None:
        raise StackError(EXIT_USAGE, f"service {name} runs on this machine alone")
    members = [Member(rank, each["node"], each["address"]) for rank, each in enumerate(group["members"])]
    greeting = {"stack": plan["stack"], "service": name, "revision": group["revision"]}
    return Part(name, group["rank"], members, group["watch_port"], greeting)


def main() -> int:
    """Read the command line, wait for the others and run."""
    parser = argparse.ArgumentParser(
        description="Run this machine's part of a server that spans machines, as long as all of them are there.",
        epilog="Exit codes: 0 ended when asked to, 2 usage, 4 no plan, 14 the port is taken, "
        "28 another machine is gone, else that of the program.",
    )
    parser.add_argument("service")
    parser.add_argument("program", nargs="+", help="after `--`: what to run, with its arguments")
    options = parser.parse_args()
    requests = Requests()
    part = part_of(load_plan(), options.service)
    others: list[Connection] = []
    try:
        others = (lead if part.rank == 0 else follow)(part, requests)
        say(f"{part.service}: all {len(part.members)} machines are here")
        return hold(part, options.program, others, requests)
    except Stopped:
        return 0
    finally:
        for other in others:
            other.close()
