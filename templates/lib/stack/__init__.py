"""What all programs of the tree share: its plan, checks and their results.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

SCHEMA = 1
OK, FAIL, SKIP, WARN = "ok", "FAIL", "skip", "warn"
EXIT_USAGE, EXIT_ENVIRONMENT, EXIT_SNAPSHOT = 2, 4, 15
WILDCARD_HOSTS = ("0.0.0.0", "::", "[::]")

JsonObject = dict[str, Any]

TREE = Path(os.devnull)
"""The tree of the program that runs, which sets it: a link may lead from the tree to this folder, and none back."""


class Sides(NamedTuple):
    """What the plan says of something, what this machine has, and what to do about it if anything."""

    plan: str
    found: str
    note: str = ""

    def __str__(self) -> str:
        """Both sides in one line."""
        text = f"plan: {self.plan}; this machine: {self.found}"
        return f"{text}; {self.note}" if self.note else text


class StackError(Exception):
    """Ends the program with a message and an exit code."""

    def __init__(self, code: int, message: str | Sides) -> None:
        super().__init__(str(message))
        self.code = code
        self.sides = message if isinstance(message, Sides) else None


class LastingError(StackError):
    """A failure that no waiting mends, whatever else the check may find."""


class Skipped(Exception):  # noqa: N818 (not an error)
    """A check that cannot be made here; the text says why."""


class Warned(Exception):  # noqa: N818 (not an error)
    """A check that found something worth a look, which is no failure; the text says what."""


class Result(NamedTuple):
    """What one check found. `code` is the exit code it stands for if it failed, `seconds` how long it took.

    A failure that `lasts` is not asked about again.
    """

    subject: str
    name: str
    status: str
    detail: str
    code: int
    sides: Sides | None = None
    seconds: float = 0.0
    lasts: bool = False


class Check(NamedTuple):
    """One question. `run` returns what it found, or raises; a transient failure may mend itself."""

    subject: str
    name: str
    run: Callable[[], str | Sides]
    code: int = 1
    is_transient: bool = False


def run_check(check: Check, deadline: float = 0.0) -> Result:
    """Ask once, or, while a transient failure may still mend itself, until the deadline."""
    while True:
        result = _run_once(check)
        may_mend = result.status == FAIL and check.is_transient and not result.lasts
        if not may_mend or time.monotonic() >= deadline:
            return result
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))


def _run_once(check: Check) -> Result:
    start = time.monotonic()
    return _ask(check)._replace(seconds=time.monotonic() - start)


def _ask(check: Check) -> Result:
    try:
        found = check.run()
        return Result(check.subject, check.name, OK, str(found), 0, found if isinstance(found, Sides) else None)
    except Skipped as reason:
        return Result(check.subject, check.name, SKIP, str(reason), 0)
    except Warned as finding:
        return Result(check.subject, check.name, WARN, str(finding), 0)
    except StackError as error:
        found = Result(check.subject, check.name, FAIL, str(error), error.code, error.sides)
        return found._replace(lasts=isinstance(error, LastingError))
    except OSError as error:
        return Result(check.subject, check.name, FAIL, str(error), check.code)


MAX_DETAIL = 2000


def printable(text: str) -> str:
    """One line that leaves the terminal alone: a server's answer may hold anything."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:MAX_DETAIL])
    return shown + "…" if len(text) > MAX_DETAIL else shown


def format_result(result: Result) -> str:
    """One line of a report for people."""
    return f"{result.status:<4}  {printable(f'{result.subject}: {result.name}: {result.detail}')}"


def format_summary(results: Iterable[Result]) -> str:
    """How many checks ended how; a skipped one is no pass."""
    statuses = [result.status for result in results]
    counted = f"{statuses.count(OK)} ok, {statuses.count(FAIL)} failed, {statuses.count(SKIP)} skipped"
    return f"{counted}, {statuses.count(WARN)} warned" if WARN in statuses else counted


def format_json(stack: str, results: Iterable[Result], code: int) -> str:
    """The report for machines."""
    checks = [
        {"subject": result.subject, "check": result.name, "status": result.status.lower(), "detail": result.detail}
        | (result.sides._asdict() if result.sides is not None else {})
        for result in results
    ]
    return json.dumps({"stack": stack, "exit_code": code, "checks": checks}, indent=2)


def load_plan() -> JsonObject:
    """The plan of the tree."""
    path = TREE / "plan.json"
    try:
        plan: JsonObject = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot read the plan: {error}") from error
    if plan.get("schema") != SCHEMA:
        raise StackError(
            EXIT_ENVIRONMENT,
            f"{path} has schema {plan.get('schema')}, this program reads {SCHEMA}: copy the whole tree again",
        )
    return plan


def choose_services(plan: JsonObject, names: list[str]) -> list[JsonObject]:
    """The named services in start order; all of them for no names."""
    known = [service["name"] for service in plan["services"]]
    for name in names:
        if name not in known:
            raise StackError(EXIT_USAGE, f"no service {name} in stack {plan['stack']}: it has {', '.join(known)}")
    return [service for service in plan["services"] if not names or service["name"] in names]


def service_of(server: JsonObject) -> str:
    """The service that a server is of: of several replicas the first has the service's own name."""
    return str(server.get("replica_of") or server["name"])


def first_replicas(servers: list[JsonObject]) -> list[JsonObject]:
    """One server of each service, the first of those that are given."""
    found: dict[str, JsonObject] = {}
    for server in servers:
        found.setdefault(service_of(server), server)
    return list(found.values())


def choose_answering(plan: JsonObject, names: list[str]) -> list[JsonObject]:
    """The same without those that another machine answers for, of which none may be named."""
    chosen = choose_services(plan, names)
    for service in chosen if names else ():
        if not answers(service):
            leader = service["group"]["members"][0]
            message = f"service {service['name']} answers on {leader['node']} ({leader['address']}): ask it there"
            raise StackError(EXIT_USAGE, message)
    return [service for service in chosen if answers(service)]


def answers(service: JsonObject) -> bool:
    """Whether clients ask it on this machine; of a server that spans machines one alone answers."""
    group = service.get("group")
    return group is None or group["rank"] == 0


def engine_of(plan: JsonObject, service: JsonObject) -> JsonObject:
    """The engine that serves a service: its title, version, program and what else the plan says of it."""
    engine: JsonObject = plan["engines"][service["engine"]]
    return engine


def engines_of(plan: JsonObject, services: list[JsonObject]) -> dict[str, JsonObject]:
    """Those that serve some services, by name, in the order of the services."""
    return {service["engine"]: engine_of(plan, service) for service in services}


def positive_count(text: str) -> int:
    """A word of the command line that is a whole number above zero."""
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def positive_number(text: str) -> float:
    """A word of the command line that is a number above zero."""
    number = float(text)
    if not math.isfinite(number) or number <= 0:
        raise ValueError(text)
    return number


def report_form(word: str) -> str:
    """The word of `--format`; a program of an earlier release called `text` `human`, and scripts may still say so."""
    return "text" if word == "human" else word


def probe_host(service: JsonObject) -> str:
    """Where a client on this machine finds the server. In a container STACKC_HOST says where it listens."""
    host: str = os.environ.get("STACKC_HOST") or service["host"]
    return "127.0.0.1" if host in WILDCARD_HOSTS else host


def secret_file(plan: JsonObject, key: str) -> Path | None:
    """The file of a secret: named by the caller, else handed over by systemd, else where the plan has it."""
    name = key.replace("_", "-")
    explicit = os.environ.get(f"STACKC_{key.upper()}_FILE")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if explicit:
        return Path(explicit)
    if credentials and plan["secrets"][key]:
        return Path(credentials) / name
    return Path(plan["secrets"][key]) if plan["secrets"][key] else None


def end_well_when_stopped() -> None:
    """For what a unit runs before and after its server: a stop ends it with SIGTERM, and is a failure if that kills it.

    Only what systemd itself has started, which this variable tells, is meant.
    """
    if os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid()):
        signal.signal(signal.SIGTERM, _end_well)


def _end_well(*_: object) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: stopped before it was done", file=sys.stderr, flush=True)
    os._exit(0)


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run a program to its exit code; an expected error is one line on stderr."""
    try:
        code = main()
        sys.stdout.flush()
    except StackError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read the report has seen enough; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)
