"""Move requests between the two revisions of a service, while the gateway runs.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 done, 2 usage, 3 a server or the gateway does not answer, or requests still run on the old split,
4 no plan or no running gateway, 17 API key file, 19 client keys, 20 the gateway refused: the split is what it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_USAGE, JsonObject, StackError, load_plan
from stack.runtime import EXIT_REFUSED, EXIT_UNREACHABLE, Runtime, call_gateway, find_runtime, run

POLL_SECONDS = 1.0


class Change(NamedTuple):
    """A share to set, in percent for the candidate, with what the gateway does before."""

    rollout: JsonObject
    before: int
    after: int


def running_state(runtime: Runtime) -> JsonObject:
    """What the running gateway does, as it says itself."""
    try:
        state: JsonObject = json.loads(call_gateway(runtime, "status", "--json"))
    except ValueError as error:
        raise StackError(EXIT_UNREACHABLE, f"the gateway's status cannot be read: {error}") from error
    return state


def weight_of(state: JsonObject, service: str) -> int:
    """The share that the running gateway gives the candidate of a service."""
    for split in state["splits"]:
        if split["service"] == service:
            return int(split["weight"])
    raise StackError(EXIT_REFUSED, f"the running gateway knows no rollout of {service}: reload or restart it")


def apply(runtime: Runtime, change: Change) -> None:
    """Set the share and reload; on failure the share is what it was."""
    service = change.rollout["stable"]
    call_gateway(runtime, "weight", service, str(change.after))
    try:
        _reload(runtime, change)
    except StackError:
        call_gateway(runtime, "weight", service, str(change.before))
        raise


def _reload(runtime: Runtime, change: Change) -> None:
    done = run(runtime.reload, runtime.environment)
    if done.returncode != 0:
        raise StackError(EXIT_REFUSED, done.stderr.strip() or done.stdout.strip())
    found = weight_of(running_state(runtime), change.rollout["stable"])
    if found != change.after:
        raise StackError(EXIT_REFUSED, f"the gateway was reloaded, and still gives {found} % to the candidate")


def check_health(runtime: Runtime, change: Change, plan: JsonObject) -> None:
    """Whoever gets requests must be ready, as the gateway sees it; of replicas one is enough, as it asks no others."""
    for name, share in ((change.rollout["candidate"], change.after), (change.rollout["stable"], 100 - change.after)):
        if share:
            _check_ready(runtime, name, _replicas(plan, name))


def _replicas(plan: JsonObject, revision: str) -> list[str]:
    """The servers of a revision."""
    found = [upstream["service"] for upstream in _upstreams(plan, revision)]
    return found or [revision]


def _upstreams(plan: JsonObject, revision: str) -> list[JsonObject]:
    for route in plan["gateway"]["routes"]:
        rollout = route["rollout"] or {}
        if revision in (route["service"], rollout.get("candidate")):
            return list((route if revision == route["service"] else rollout).get("upstreams") or ())
    return []


def _check_ready(runtime: Runtime, revision: str, servers: list[str]) -> None:
    failures = []
    for server in servers:
        try:
            call_gateway(runtime, "probe", server)
        except StackError as error:
            failures.append(str(error))
        else:
            return
    what = f"{revision} is not ready" if servers == [revision] else f"no replica of {revision} is ready"
    raise StackError(EXIT_UNREACHABLE, f"{what} ({'; '.join(failures)}); --force shifts all the same")


def wait_drained(runtime: Runtime, seconds: float) -> None:
    """Until no request of an earlier split runs any more."""
    deadline = time.monotonic() + seconds
    while True:
        draining = running_state(runtime)["draining"]
        if not draining:
            return
        if time.monotonic() >= deadline:
            message = f"{draining} workers still finish earlier requests after {seconds:.0f} s"
            raise StackError(EXIT_UNREACHABLE, message)
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def next_step(change: Change) -> str:
    """What is left to do by hand."""
    stable, candidate = change.rollout["stable"], change.rollout["candidate"]
    if change.after == 100:
        return (
            f"once no earlier request runs (--wait), write the candidate's keys into `services.{stable}`, remove its "
            f"`rollout`, compile and upgrade; that stops {candidate}"
        )
    if change.after == 0:
        return f"{candidate} gets no request any more; to give it up, remove `rollout` from `services.{stable}`"
    return f"compare the two, then `{Path(sys.argv[0]).name} promote {stable}` or `rollback {stable}`"


def report(data: JsonObject, lines: Sequence[str], *, as_json: bool) -> int:
    """Print the result in the form that was asked for."""
    print(json.dumps(data, indent=2) if as_json else "\n".join(lines))
    return 0


def show_status(plan: JsonObject, options: argparse.Namespace) -> int:
    """What each rollout was planned as, and what runs."""
    runtime = find_runtime(plan, options.runtime)
    state = running_state(runtime)
    rows = [
        {**rollout, "planned_weight": rollout["weight"], "weight": weight_of(state, rollout["stable"])}
        for rollout in rollouts_of(plan)
    ]
    data = {"stack": plan["stack"], "runtime": runtime.name, "draining": state["draining"], "rollouts": rows}
    lines = [
        f"{row['stable']}: {row['weight']} % to {row['candidate']} "
        f"({row['strategy']}, planned {row['planned_weight']} %)"
        for row in rows
    ]
    return report(data, [*lines, f"{state['draining']} workers finish earlier requests"], as_json=options.json)


def shift(plan: JsonObject, options: argparse.Namespace) -> int:
    """Give the candidate the share that the command asks for."""
    rollout = choose_rollout(plan, options.service)
    runtime = find_runtime(plan, options.runtime)
    before = weight_of(running_state(runtime), rollout["stable"])
    change = Change(rollout, before, options.percent)
    if not options.force:
        check_health(runtime, change, plan)
    if not options.dry_run:
        apply(runtime, change)
        if options.wait is not None:
            wait_drained(runtime, options.wait or longest_answer(plan))
    data = {
        "stack": plan["stack"], "runtime": runtime.name, "service": rollout["stable"],
        "candidate": rollout["candidate"], "before": before, "after": change.after,
        "changed": not options.dry_run, "next": next_step(change),
    }  # fmt: skip
    verb = "would go" if options.dry_run else "go"
    line = f"{rollout['stable']}: {change.after} % of the requests {verb} to {rollout['candidate']}"
    return report(data, [f"{line} (before: {before} %)", f"next: {next_step(change)}"], as_json=options.json)


def rollouts_of(plan: JsonObject) -> list[JsonObject]:
    """Every rollout of the plan."""
    return [route["rollout"] for route in plan["gateway"]["routes"] if route["rollout"] is not None]


def choose_rollout(plan: JsonObject, service: str) -> JsonObject:
    """The rollout of a service, by the name of either revision."""
    for rollout in rollouts_of(plan):
        if service in (rollout["stable"], rollout["candidate"]):
            return rollout
    known = ", ".join(rollout["stable"] for rollout in rollouts_of(plan))
    raise StackError(EXIT_USAGE, f"no rollout of {service}: there is one of {known}")


def longest_answer(plan: JsonObject) -> float:
    """Seconds after which the gateway itself gives earlier requests up."""
    return float(max(route["read_timeout_seconds"] for route in plan["gateway"]["routes"]))


def percent(text: str) -> int:
    """A share, as the command line has it."""
    if not text.isdigit() or not 0 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a share of 0 to 100 percent")
    return int(text)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Move requests between the two revisions of a service, while the gateway runs.",
        epilog=(__doc__ or "").partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument(
        "--runtime", choices=("auto", "systemd", "compose", "process"), default="auto", help="how the gateway runs"
    )
    change = argparse.ArgumentParser(add_help=False, parents=[common])
    change.add_argument("service")
    change.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    change.add_argument("--force", action="store_true", help="also to a server that is not ready")
    change.add_argument(
        "--wait", type=float, nargs="?", const=0.0, metavar="SECONDS",
        help="until no earlier request runs (default: as long as the longest answer may take)",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", parents=[common], help="what runs")
    part = commands.add_parser("shift", parents=[change], help="give the candidate PERCENT of the requests")
    part.add_argument("percent", type=percent)
    whole = commands.add_parser("promote", parents=[change], help="give the candidate every request")
    whole.set_defaults(percent=100)
    none = commands.add_parser("rollback", parents=[change], help="give the candidate none")
    none.set_defaults(percent=0)
    return parser.parse_args()


def main() -> int:
    """Read the command line and do it."""
    options = parse()
    plan = load_plan()
    return show_status(plan, options) if options.command == "status" else shift(plan, options)
