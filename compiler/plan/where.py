"""Whether a server has GPUs."""

from __future__ import annotations

from compiler.plan.ir import CpuNode, Plan, Service


def is_on_cpu(plan: Plan, service: Service) -> bool:
    """Whether it has none: on a node without, or beside them in main memory."""
    return isinstance(plan.node, CpuNode) or not service.devices
