"""Rows of what a plan says of its engines: their releases, and what is the same for all servers of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.catalog.images import PYTHON
from compiler.engines.interface.host import Signal
from tests.faithfulness.samples import behind_litellm, everything, ranking_behind_litellm
from tests.faithfulness.table import CHECKED, PEOPLE, Knob, in_plan_only
from tests.unit.other_engine import HOST as OTHER
from tests.unit.other_engine import shared_with_vllm
from tests.unit.plan_samples import two_on_one_gpu

ENGINE = ("engines", "vllm")
FACTS = (*ENGINE, "host")
PUT = ("engines", "other", "host", "installing")
PROGRAM, CONTAINER, PACKAGES = (*FACTS, "program"), (*FACTS, "container"), (*FACTS, "packages")
WHEEL, START = (*FACTS, "kernels", 0), (*FACTS, "start")
UNIT = "duo-coder.service"
RULES = "monitoring/rules.yml"
SIGNALS = two_on_one_gpu().engine.host.signals

INSTALLED = "for whoever installs it: README.md, and the files of lib/requirements that all stacks share"
DEFAULT = "where the spec says nothing; the plan has what is so"
EACH = "the launch script of each server says it, and units and containers run that"


def silent(name: str, path: tuple[str | int, ...], value: object, reason: str) -> Knob:
    """A field that no kind of artifact shows."""
    return Knob(name, path, value, {}, reason)


def shown(name: str, path: tuple[str | int, ...], value: object, shows: Mapping[str, Any], reason: str = EACH) -> Knob:
    """A field of a stack without monitoring and gateway."""
    return Knob(name, path, value, shows, reason)


OF_ENGINE = (
    in_plan_only("Engine.version", (*ENGINE, "version"), "9.9.9", "engine.vllm", CHECKED),
    shown(
        "Engine.image",
        (*ENGINE, "image"),
        "vllm:x",
        {
            "plan.json": {"engine.image": "vllm:x"},
            "compose": {"services.coder.image": "vllm:x", "services.prefetch.image": "vllm:x"},
        },
        "units run the program of the plan",
    ),
    shown(
        "Engine.program",
        (*ENGINE, "program"),
        "/opt/v/bin/vllm",
        {
            "plan.json": {"paths.vllm": "/opt/v/bin/vllm"},
            "systemd": {f"{UNIT} Service Environment": "STACKC_VLLM=/opt/v/bin/vllm"},
        },
        "the launch script takes it from its environment, and an image has its own",
    ),
)

OF_HOST = (
    shown("HostFacts.name", (*FACTS, "name"), "x", {"plan.json": {"engine.x": "0.33.0"}}, "for readers of plan.json"),
    shown(
        "HostFacts.title",
        (*FACTS, "title"),
        "X",
        {
            "plan.json": {"engines.vllm.title": "X"},
            "launch": {"coder $engine": "X"},
            "systemd": {f"{UNIT} Unit Description": "X server coder of stack duo: coder"},
        },
        PEOPLE,
    ),
    shown(
        "Program.name",
        (*PROGRAM, "name"),
        "x",
        {"plan.json": {"engines.vllm.program.name": "x"}, "launch": {"coder argv": "x"}},
    ),
    shown(
        "Program.variable",
        (*PROGRAM, "variable"),
        "X",
        {
            "plan.json": {"engines.vllm.program.variable": "X"},
            "launch": {"coder $program_variable": "X"},
            "systemd": {f"{UNIT} Service Environment": "X=/opt/vllm/bin/vllm"},
        },
    ),
    silent("Program.path", (*PROGRAM, "path"), "/x", DEFAULT),
    shown("Program.key", (*PROGRAM, "key"), "x", {"plan.json": {"paths.x": "/opt/vllm/bin/vllm"}}, CHECKED),
    shown(
        "HostFacts.key_variable",
        (*FACTS, "key_variable"),
        "X",
        {"plan.json": {"engines.vllm.key_variable": "X"}, "launch": {"coder $key_variable": "X"}},
    ),
    silent("HostFacts.guarded", (*FACTS, "guarded"), "x", PEOPLE),
    silent("ContainerFacts.image", (*CONTAINER, "image"), "x", DEFAULT),
    shown(
        "ContainerFacts.login",
        (*CONTAINER, "login"),
        "x",
        {"compose": {"services.coder.environment.USER": "x", "services.coder.environment.LOGNAME": "x"}},
        "only images lack the user",
    ),
    shown(
        "ContainerFacts.cache", (*CONTAINER, "cache"), "x", {"compose": {"volumes.x": {}}}, "only containers have it"
    ),
    shown(
        "ContainerFacts.program",
        (*CONTAINER, "program"),
        "/app/x",
        {"compose": {"services.coder.environment.STACKC_VLLM": "/app/x"}},
        "the machine's own lies where the plan says",
    ),
    shown(
        "ContainerFacts.has_python",
        (*CONTAINER, "has_python"),
        False,
        {
            "compose": {"services.coder.healthcheck.test": "curl", "services.prefetch.image": PYTHON},
        },
        "the machine has Python, or nothing of a tree runs there",
    ),
    shown(
        "ContainerFacts.binds_memory",
        (*CONTAINER, "binds_memory"),
        True,
        {"compose": {"services.coder.cap_add": "SYS_NICE"}},
        "only containers forbid it",
    ),
    shown(
        "HostFacts.compiled_bytes",
        (*FACTS, "compiled_bytes"),
        7,
        {"plan.json": {"services.0.compiled_bytes": 7}},
        CHECKED,
    ),
    in_plan_only("HostFacts.cuda", (*FACTS, "cuda"), "99.9", "engine.cuda", CHECKED),
    in_plan_only("HostFacts.minimum_driver", (*FACTS, "minimum_driver"), "999", "engine.minimum_driver", CHECKED),
    silent("Packages.name", (*PACKAGES, "name"), "x", INSTALLED),
    silent("Packages.root", (*PACKAGES, "root"), "x", INSTALLED),
    silent("Packages.requirements", (*PACKAGES, "requirements"), None, INSTALLED),
    silent("Packages.what", (*PACKAGES, "what"), "x", "for the warning W0305"),
    silent("Packages.why", (*PACKAGES, "why"), "x", "for the warning W0305"),
    in_plan_only("KernelWheel.index", (*WHEEL, "index"), "x", "engine.kernels.0.index", CHECKED),
    in_plan_only("KernelWheel.requirement", (*WHEEL, "requirement"), "x", "engine.kernels.0.requirement", CHECKED),
    in_plan_only("KernelWheel.has_parts", (*WHEEL, "has_parts"), True, "engine.kernels.0.has_parts", CHECKED),
    shown("HostFacts.closed", (*FACTS, "closed"), ("X_",), {"launch": {}}),
    Knob("Installing.what", (*PUT, "what"), "x", {}, INSTALLED, shared_with_vllm),
    Knob("Installing.commands", (*PUT, "commands"), ("x",), {}, INSTALLED, shared_with_vllm),
    shown(
        "HostFacts.configuration",
        (*FACTS, "configuration"),
        ("/etc/x",),
        {
            "plan.json": {"engines.vllm.configuration": "/etc/x"},
            "systemd": {f"{UNIT} Service InaccessiblePaths": "-/etc/x"},
        },
        "an image has no such folder; preflight looks for it",
    ),
    in_plan_only("HostFacts.commit", (*FACTS, "commit"), "7e4c0a9", "engines.vllm.commit", CHECKED),
    in_plan_only(
        "HostFacts.answers_while_loading",
        (*FACTS, "answers_while_loading"),
        True,
        "engines.vllm.answers_while_loading",
        "wait-ready reads it from plan.json",
    ),
    shown("HostFacts.fixed", (*FACTS, "fixed"), frozenset({"VLLM_ENGINE_READY_TIMEOUT_S"}), {"launch": {}}),
    shown("HostFacts.offline", (*FACTS, "offline"), (("X", "7"),), {"launch": {"coder $X": "7"}}),
    shown(
        "HostFacts.caches",
        (*FACTS, "caches"),
        (("X", "x"),),
        {
            "systemd": {f"{UNIT} Service Environment": "X=/var/lib/stackc/duo/cache/x"},
            "compose": {"services.coder.environment.X": "/var/lib/stackc/cache/x"},
        },
        "the launch script has them from whoever runs it",
    ),
    Knob(
        "HostFacts.file_options",
        ("engines", "other", "host", "file_options"),
        (),
        {"compose": {}},
        "only containers must be given the file",
        shared_with_vllm,
    ),
    Knob(
        "HostFacts.guards_metrics",
        (*FACTS, "guards_metrics"),
        True,
        {
            "monitoring": {"monitoring/prometheus.yml": "/etc/stackc/api-key"},
            "compose": {"services.prometheus.user": "65534:0"},
        },
        "only Prometheus asks for metrics",
        everything,
    ),
    Knob(
        "HostFacts.has_slow_metrics",
        (*FACTS, "has_slow_metrics"),
        True,
        {"monitoring": {"monitoring/prometheus.yml": "15s"}},
        "only Prometheus asks for metrics",
        everything,
    ),
    silent("Manual.exit_codes", (*FACTS, "manual", "exit_codes"), ((9, "x", "x"),), PEOPLE),
    silent("Manual.symptoms", (*FACTS, "manual", "symptoms"), (("x", "x"),), PEOPLE),
    silent("Manual.steps", (*FACTS, "manual", "steps"), {"QueueLong": ("x",)}, PEOPLE),
    silent("Manual.finishes_requests", (*FACTS, "manual", "finishes_requests"), False, PEOPLE),
    silent("Manual.brings_bench", (*FACTS, "manual", "brings_bench"), False, PEOPLE),
    Knob(
        "HostFacts.client_paths",
        (*FACTS, "client_paths"),
        {"chat": ("/v1/x",)},
        {"gateway": {"gateway/nginx.conf": "/v1/x", "gateway/stack.js": "/v1/x"}},
        "only nginx lets paths through one by one",
        everything,
    ),
    Knob(
        "HostFacts.ranking_provider",
        (*FACTS, "ranking_provider"),
        "x",
        {"gateway": {"gateway/litellm.yaml": "x/coder"}},
        "only LiteLLM has names for engines",
        ranking_behind_litellm,
    ),
    Knob(
        "HostFacts.provider",
        (*FACTS, "provider"),
        "x",
        {"gateway": {"gateway/litellm.yaml": "x/coder"}},
        "only LiteLLM has names for engines",
        behind_litellm,
    ),
    silent("StartSpeed.fastest", (*START, "fastest"), 1, PEOPLE),
    silent("StartSpeed.slowest", (*START, "slowest"), 1, PEOPLE),
    silent("StartSpeed.beside", (*START, "beside"), (1, 2), PEOPLE),
    silent("HostFacts.metrics", (*FACTS, "metrics"), OTHER.metrics, "what rules may ask for is compared with it"),
    Knob(
        "HostFacts.signals",
        (*FACTS, "signals"),
        {**SIGNALS, Signal.WAITING: SIGNALS[Signal.CACHE_USED]},
        {"plan.json": {"engines.vllm.signals.waiting": SIGNALS[Signal.CACHE_USED]}, "monitoring": {}},
        "only rules, panels and the smoke test ask",
        everything,
    ),
    Knob(
        "HostFacts.unmeasured",
        (*FACTS, "unmeasured"),
        "with --x-off",
        {"monitoring": {RULES: "--x-off"}},
        PEOPLE,
        everything,
    ),
)
