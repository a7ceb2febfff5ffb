"""Rows of a server that spans machines, and of what a job of Slurm asks for."""

from __future__ import annotations

from tests.faithfulness.table import OPTION, PEOPLE, Knob, in_plan_only
from tests.unit.plan_samples import as_a_job, over_two_machines

GROUP = ("services", 0, "group")
OTHER = (*GROUP, "members", 1)
SHOWN = "services.0.group"
UNIT = "pair-big.service"
JOINING = "bin/join-group reads it from plan.json"

OF_GROUP = (
    Knob(
        "Group.rank",
        (*GROUP, "rank"),
        1,
        {
            "plan.json": {f"{SHOWN}.rank": 1},
            "systemd": {f"{UNIT} Service ExecStart": "/opt/stackc/pair/current/bin/join-group"},
        },
        JOINING,
        over_two_machines,
    ),
    in_plan_only(
        "Group.rendezvous_port",
        (*GROUP, "rendezvous_port"),
        29600,
        f"{SHOWN}.rendezvous_port",
        OPTION,
        sample=over_two_machines,
    ),
    in_plan_only(
        "Group.watch_port", (*GROUP, "watch_port"), 29601, f"{SHOWN}.watch_port", JOINING, sample=over_two_machines
    ),
    in_plan_only("Member.node", (*OTHER, "node"), "x", f"{SHOWN}.members.1.node", PEOPLE, sample=over_two_machines),
    Knob(
        "Member.address",
        (*OTHER, "address"),
        "10.0.0.9",
        {
            "plan.json": {f"{SHOWN}.members.1.address": "10.0.0.9"},
            "systemd": {f"{UNIT} Service IPAddressAllow": "10.0.0.9"},
        },
        JOINING,
        over_two_machines,
    ),
    in_plan_only(
        "Member.interface",
        (*OTHER, "interface"),
        "ib0",
        f"{SHOWN}.members.1.interface",
        "the launch script of that machine has it in the environment of its server",
        sample=over_two_machines,
    ),
)


def asked_of_slurm(key: str, value: str) -> Knob:
    """What the job says to `sbatch`."""
    shows = {"plan.json": {f"slurm.{key}": value}, "slurm": {key: f"{value}:2" if key == "gres" else value}}
    return Knob(f"Slurm.{key}", ("slurm", key), value, shows, "of the job alone", as_a_job)


OF_SLURM = tuple(
    asked_of_slurm(key, value)
    for key, value in (
        ("partition", "other"), ("account", "other"), ("qos", "low"), ("time", "2-00:00:00"), ("gres", "gpu:a100"),
        ("constraint", "ib"),
    )
)  # fmt: skip
