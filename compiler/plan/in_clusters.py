"""What of a plan a cluster cannot run: found after solving, because it depends on what was chosen and where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.plan.ir import GpuNode, Plan, Service
from compiler.spec.reading.load import SpecFile


def check_in_clusters(file: SpecFile, plans: Iterable[Plan]) -> Iterator[Diagnostic]:
    """Errors of the target `kubernetes`."""
    if "kubernetes" not in file.spec.targets:
        return
    for plan in plans:
        yield from _check_sharing(file, plan)


def _check_sharing(file: SpecFile, plan: Plan) -> Iterator[Diagnostic]:
    """A cluster hands out whole GPUs, unless the servers of one are one pod that claims it."""
    if plan.kubernetes is None or plan.kubernetes.has_claims or not isinstance(plan.node, GpuNode):
        return
    owners: dict[int, Service] = {}
    told: set[str] = set()
    for service in (each for each in plan.services if each.uses_gpus):
        others = [owners.setdefault(device, service) for device in service.devices]
        other = next((each for each in others if each is not service), None)
        if other is not None and service.name not in told:
            told.add(service.name)
            yield _shared(file, service, other)


def _shared(file: SpecFile, service: Service, other: Service) -> Diagnostic:
    name = service.of
    message = f"services `{other.of}` and `{name}` share a GPU, and a cluster hands out whole ones"
    notes = (
        "`nvidia.com/gpu` is a number of GPUs: two pods never get the same one, and time-slicing knows no bytes",
        "there are two ways: slices by MIG (`gpus: {mig: …}`), or one pod for both that claims the GPU by DRA",
    )
    helps = (
        Help("write `kubernetes: {dra: true}`, with Kubernetes 1.34 and NVIDIA's DRA driver", (_DRA,)),
        Help("give each service a GPU of its own, by `gpus: [N]`"),
    )
    return Diagnostic("E0261", message, file.at_key("services", name), notes, helps)


_DRA = Edit(("kubernetes", "dra"), value=True)
