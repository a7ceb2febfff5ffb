"""What to type at 3 a.m., by the way in which the stack was installed."""

from __future__ import annotations

from compiler.plan.ir import Plan


def status_command(plan: Plan, service: str) -> str:
    """Show whether a server runs, and why not."""
    if "systemd" in plan.targets:
        return f"systemctl status {plan.stack}-{service}.service"
    if "compose" in plan.targets:
        return f"docker compose ps --all {service}"
    if "quadlet" in plan.targets:
        return f"systemctl status {plan.stack}-{service}.service"
    return f"see whether bin/launch-{service} still runs"


def logs_command(plan: Plan, service: str) -> str:
    """Show its last lines."""
    if "systemd" in plan.targets or "quadlet" in plan.targets:
        return f"journalctl -u {plan.stack}-{service}.service -n 200"
    if "compose" in plan.targets:
        return f"docker compose logs --tail 200 {service}"
    return f"read what bin/launch-{service} printed"


def smoke_command(plan: Plan, service: str) -> str:
    """Compare the running server with the plan."""
    return f"{plan.paths.current}/bin/smoke-test {service}"
