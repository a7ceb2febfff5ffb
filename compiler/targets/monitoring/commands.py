"""What to type at 3 a.m., by the way in which the stack was installed."""

from __future__ import annotations

from compiler.plan.ir import Plan


def status_command(plan: Plan, service: str) -> str:
    """Show whether a server runs, and why not."""
    if _has_units(plan):
        return f"systemctl status {plan.stack}-{service}.service"
    if "compose" in plan.targets:
        return f"{_compose(plan)} ps --all {service}"
    return f"see whether bin/launch-{service} still runs"


def logs_command(plan: Plan, service: str) -> str:
    """Show its last lines."""
    if _has_units(plan):
        return f"journalctl -u {plan.stack}-{service}.service -n 200"
    if "compose" in plan.targets:
        return f"{_compose(plan)} logs --tail 200 {service}"
    return f"read what bin/launch-{service} printed"


def smoke_command(plan: Plan, service: str) -> str:
    """Compare the running server with the plan; only units say where the tree lies."""
    folder = f"{plan.paths.current}/" if _has_units(plan) else ""
    return f"{folder}bin/smoke-test {service}"


def _has_units(plan: Plan) -> bool:
    return bool({"systemd", "quadlet"} & set(plan.targets))


def _compose(plan: Plan) -> str:
    # By the project's name it is found from every folder.
    return f"docker compose --project-name {plan.stack}"
