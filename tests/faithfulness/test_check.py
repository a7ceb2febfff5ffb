"""The check that runs at every compilation finds each fact that goes missing from what stackc's own templates made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.facts import lost_entries
from compiler.targets.faithful import FACTS, UnfaithfulError, check_own
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu

PLANS = [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_what_stackc_renders_is_faithful(plan: Plan) -> None:
    check_own(plan, render_plan(plan))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_every_unit_and_launch_script_has_facts(plan: Plan) -> None:
    known = {expected.path for facts in FACTS for expected in facts(plan) if expected.facts}
    paths = {artifact.path for artifact in render_plan(plan)}
    assert {path for path in paths if path.parts[0] == "systemd" or path.name.startswith("launch-")} <= known


def test_what_is_added_with_a_specifier_is_no_loss_but_what_it_overrides_is() -> None:
    plan = two_on_one_gpu()
    unit = next(service_units(plan))
    added = "ReadWritePaths=%S/notes\nEnvironment=NOTES=%h\nExecStartPre=/bin/echo $HOME\nUMask="
    check_own(plan, [replace(unit, text=unit.text.replace("UMask=", added))])
    overridden = "Environment=HF_HOME=%h\nUMask="
    with pytest.raises(UnfaithfulError, match=r"HF_HOME=/var/lib/stackc/duo/hf is missing; it has .*%h"):
        check_own(plan, [replace(unit, text=unit.text.replace("UMask=", overridden))])


# Directives that follow from no plan. All others of a unit do, and must be missed when they are gone.
STATIC = {
    "AmbientCapabilities", "CapabilityBoundingSet", "Description", "KillMode", "KillSignal", "LimitCORE",
    "LimitMEMLOCK", "LimitNOFILE",
    "LockPersonality", "NoNewPrivileges", "OOMPolicy", "PrivateDevices", "PrivateTmp", "ProtectClock", "ProtectProc",
    "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectSystem", "Restart", "RestartPreventExitStatus", "RestrictAddressFamilies",
    "RestrictNamespaces", "SystemCallErrorNumber", "SystemCallFilter",
    "RestrictRealtime", "RestrictSUIDSGID", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve", "StateDirectoryMode",
    "SuccessExitStatus", "SystemCallArchitectures", "TasksMax", "Type", "UMask",
}  # fmt: skip


def service_units(plan: Plan) -> Iterator[Artifact]:
    for artifact in render_plan(plan):
        if artifact.path.suffix == ".service" and "prefetch" not in artifact.path.name:
            yield artifact


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_no_line_of_a_unit_can_go_missing_in_silence(plan: Plan) -> None:
    for artifact in service_units(plan):
        for line in artifact.text.splitlines():
            key = line.partition("=")[0]
            if "=" not in line or line.startswith("#") or key in STATIC or "nvidia-modprobe" in line:
                continue
            text = artifact.text.replace(f"{line}\n", "", 1)
            with pytest.raises(UnfaithfulError, match=key):
                check_own(plan, [replace(artifact, text=text)])


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_no_option_of_a_launch_script_can_go_missing_in_silence(plan: Plan) -> None:
    for artifact in render_plan(plan):
        lines = [line for line in artifact.text.splitlines() if line.startswith("  --")]
        for line in lines if artifact.path.name.startswith("launch-") else ():
            with pytest.raises(UnfaithfulError, match=line.split()[0]):
                check_own(plan, [replace(artifact, text=artifact.text.replace(f"{line}\n", "", 1))])


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("{a: 1, b: [x, {c: 2, d: 3}], more: 4}", ()),
        ("{a: 2, b: [x, {c: 2}]}", ("a: 1 is missing; it has 2",)),
        ("{b: [x, {c: 2}]}", ("a: 1 is missing",)),
        ("{a: 1, b: [x, {c: 3}]}", ("b: {'c': 2} is missing",)),
        ("{a: 1, b: [{c: 2}]}", ("b: x is missing",)),
        ("{a: '1', b: [x, {c: 2}]}", ("a: 1 is missing; it has 1",)),
        ("{a: 1, b: x}", ("b: ['x', {'c': 2}] is missing; it has x",)),
        ("[]", (": {'a': 1, 'b': ['x', {'c': 2}], 'free': 1} is missing; it has []",)),
    ],
)
def test_a_yaml_file_may_add_and_not_change(text: str, lost: tuple[str, ...]) -> None:
    assert lost_entries("{a: 1, b: [x, {c: 2}], free: 1}", text, frozenset({"free"})) == lost
