"""Check that this machine is the one that the plan was proven for, before a server starts.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Every check is made, and each prints what the plan says and what this machine has. `gateway` stands for the stack's
gateway; without names, the gateway and all servers are checked together.

Exit codes, of the first check that fails: 0 all fine, 2 usage, 4 no plan, 10 driver, 11 GPU identity, 12 memory,
13 disk, 14 port, 15 model, 16 version of an engine, 17 secret file, 19 keys or certificate of the gateway, 20 the
gateway's program, 31 what the engine compiles with, or a MIG slice that it cannot find.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from functools import partial

from stack import (
    EXIT_ENVIRONMENT,
    EXIT_SNAPSHOT,
    EXIT_USAGE,
    FAIL,
    Check,
    JsonObject,
    Result,
    Sides,
    Skipped,
    StackError,
    answers,
    choose_services,
    end_well_when_stopped,
    engines_of,
    format_json,
    format_result,
    format_summary,
    load_plan,
    run_check,
)
from stack.machine.check_engine import EXIT_VERSION, check_configuration, check_version
from stack.machine.check_machine import (
    EXIT_DISK,
    EXIT_PORT,
    EXIT_SECRET,
    GATEWAY,
    check_address,
    check_disk,
    check_port,
    check_secret,
    check_shared_memory,
    check_snapshot,
    gateway_checks,
)
from stack.machine.check_tools import EXIT_TOOLS, check_compiler, check_kernels
from stack.machine.gpu import (
    EXIT_DRIVER,
    EXIT_IDENTITY,
    EXIT_MEMORY,
    check_devices,
    check_driver,
    check_gpu,
    check_gpu_memory,
    check_host_memory,
    check_main_memory,
    check_slice,
    check_slice_number,
)
from stack.models.model import models_of

KINDS = (
    *("driver", "devices", "gpu", "memory", "main-memory", "disk", "shm", "port", "model", "secrets", "version"),
    *("configuration", "mig", "compiler", "kernels", "njs", "program", "certificate"),
)
# What cannot be asked once another question has failed.
NEEDS = {
    "devices": ("driver",),
    "gpu": ("driver", "devices"),
    "memory": ("driver", "devices", "gpu"),
    "mig": ("driver", "gpu"),
}


def checks(plan: JsonObject, services: list[JsonObject], *, reads_all: bool) -> list[Check]:
    """Everything to ask about servers, cheapest first."""
    if not services:
        return []
    node = plan["node"]["name"]
    model = partial(check_snapshot, reads_all=reads_all)
    return [
        *_node_checks(plan, services),
        *_host_checks(plan, services),
        Check(node, "disk", partial(check_disk, services), EXIT_DISK),
        Check(node, "shm", partial(check_shared_memory, services), EXIT_DISK),
        *(check for service in services for check in _port_checks(service)),
        *(
            Check(each["name"], "model", partial(model, loaded), EXIT_SNAPSHOT)
            for each in services
            for loaded in models_of(each)
        ),
        *_secret_checks(plan),
        *(
            Check(node, "version", partial(check_version, name, engine), EXIT_VERSION)
            for name, engine in engines_of(plan, services).items()
        ),
        *(
            Check(node, "configuration", partial(check_configuration, engine), EXIT_VERSION)
            for engine in engines_of(plan, services).values()
            if engine["configuration"]
        ),
        *_tool_checks(plan, services),
    ]


def _tool_checks(plan: JsonObject, services: list[JsonObject]) -> list[Check]:
    """What the servers compile with; in containers, whose images have it, nobody needs it of the machine."""
    if not any(service["host_needs"] for service in services):
        return []
    node = plan["node"]["name"]
    found = [Check(node, "compiler", partial(check_compiler, services), EXIT_TOOLS)]
    if plan["node"]["kind"] == "gpu":
        found.append(Check(node, "kernels", partial(check_kernels, plan, services), EXIT_TOOLS))
    return found


def _port_checks(service: JsonObject) -> list[Check]:
    """Where it listens, which of a server that spans machines only the first does; there also at its address."""
    host = os.environ.get("STACKC_HOST") or service["host"]
    name, group = service["name"], service.get("group")
    places, found = [(host, service["port"])], []
    if group is not None:
        own = group["members"][group["rank"]]
        at_address = [(own["address"], group[key]) for key in ("rendezvous_port", "watch_port")]
        places = [*places, *at_address] if answers(service) else []
        found = [Check(name, "address", partial(check_address, own), EXIT_ENVIRONMENT, is_transient=True)]
    return found + [Check(name, "port", partial(check_port, *place), EXIT_PORT, is_transient=True) for place in places]


def _secret_checks(plan: JsonObject) -> list[Check]:
    token = partial(check_secret, plan, "hf_token", EXIT_SECRET, is_optional=True)
    return [
        Check("api-key", "secrets", partial(check_secret, plan, "api_key", EXIT_SECRET), EXIT_SECRET),
        Check("hf-token", "secrets", token, EXIT_SECRET),
    ]


def _node_checks(plan: JsonObject, services: list[JsonObject]) -> list[Check]:
    node = plan["node"]
    names = {service["name"] for service in services}
    devices = [each for each in plan["devices"] if names & {server["service"] for server in each["servers"]}]
    if node["kind"] == "cpu":
        memory = partial(check_main_memory, plan)
        return [_memory_check(node["name"], partial(memory, device, services)) for device in devices]
    found = [
        Check(node["name"], "driver", partial(check_driver, engine), EXIT_DRIVER, is_transient=True)
        for engine in engines_of(plan, services).values()
    ]
    if node.get("mig"):
        return found + [check for device in devices for check in _slice_checks(plan, device)]
    listed = partial(check_devices, node, devices)
    found.append(Check(node["name"], "devices", listed, EXIT_IDENTITY, is_transient=True))
    for device in devices:
        found.append(Check(_subject(node, device), "gpu", partial(check_gpu, node, device), EXIT_IDENTITY))
        found.append(_memory_check(_subject(node, device), partial(check_gpu_memory, node, device, services)))
    return found


def _host_checks(plan: JsonObject, services: list[JsonObject]) -> list[Check]:
    """Of main memory beside GPUs."""
    names = {service["name"] for service in services}
    memory = plan["main_memory"]
    if memory is None or not names & {server["service"] for server in memory["servers"]}:
        return []
    question = partial(check_host_memory, plan, services)
    return [Check(plan["node"]["name"], "main-memory", question, EXIT_MEMORY, is_transient=True)]


def _slice_checks(plan: JsonObject, device: JsonObject) -> list[Check]:
    node = plan["node"]
    subject = _subject(node, device)
    found = [Check(subject, "gpu", partial(check_slice, node, device), EXIT_IDENTITY, is_transient=True)]
    if {"scripts", "systemd"} & set(plan["targets"]):
        found.append(Check(subject, "mig", partial(check_slice_number, node, device), EXIT_TOOLS))
    return found


def _memory_check(subject: str, question: Callable[[], Sides]) -> Check:
    return Check(subject, "memory", question, EXIT_MEMORY, is_transient=True)


def _subject(node: JsonObject, device: JsonObject) -> str:
    return f"{node['name']}:{device['index']}"


def run_all(questions: list[Check], skip: list[str], seconds: float) -> list[Result]:
    """Ask everything; what hangs on an answer that did not come is skipped."""
    deadline = time.monotonic() + seconds
    results: list[Result] = []
    for check in questions:
        reason = "asked by --skip" if check.name in skip else _blocked(check, results)
        asked = check if reason is None else check._replace(run=partial(_skip, reason))
        results.append(run_check(asked, deadline))
    return results


def _blocked(check: Check, results: list[Result]) -> str | None:
    failed = [result for result in results if result.status == FAIL and result.name in NEEDS.get(check.name, ())]
    # A GPU that is another one says nothing about its neighbour.
    hit = [result for result in failed if result.name != "gpu" or result.subject == check.subject]
    return f"the {hit[0].name} check failed" if hit else None


def _skip(reason: str) -> str:
    raise Skipped(reason)


def _read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="or `gateway`; default: all, together")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for memory and ports to get free")
    parser.add_argument("--skip", action="append", default=[], choices=KINDS, help="leave a check out; may be repeated")
    parser.add_argument("--only", action="append", default=[], choices=KINDS, help="make no other; may be repeated")
    parser.add_argument("--verify", action="store_true", help="hash the models' files; reads all of them")
    parser.add_argument("--json", action="store_true", help="report for machines")
    options = parser.parse_args()
    if not math.isfinite(options.wait) or options.wait < 0:
        raise StackError(EXIT_USAGE, "--wait takes a number of seconds")
    return options


def _questions(plan: JsonObject, names: list[str], *, reads_all: bool) -> list[Check]:
    """Those about the named servers and the gateway; about everything for no names."""
    has_gateway = plan["gateway"] is not None
    servers = [name for name in names if name != GATEWAY or not has_gateway]
    services = choose_services(plan, servers) if servers or not names else []
    asks_gateway = has_gateway and (GATEWAY in names or not names)
    return [*checks(plan, services, reads_all=reads_all), *(gateway_checks(plan) if asks_gateway else [])]


def main() -> int:
    """Read the command line, check, report."""
    options = _read_options()
    end_well_when_stopped()
    plan = load_plan()
    questions = _questions(plan, options.services, reads_all=options.verify)
    chosen = [question for question in questions if question.name in (options.only or KINDS)]
    results = run_all(chosen, options.skip, options.wait)
    code = next((result.code for result in results if result.status == FAIL), 0)
    if options.json:
        print(format_json(plan["stack"], results, code))
    else:
        print(*map(format_result, results), format_summary(results), sep="\n")
    return code
