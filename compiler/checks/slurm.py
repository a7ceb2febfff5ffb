"""Jobs of Slurm: what they must know of the cluster, and what they do not do."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checks.entry.entrance import removing_gateway
from compiler.checks.entry.gateway import free_port
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile

_TARGET = "slurm"
_FIRST_FREE_PORT = 1024


def check_slurm(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of this module."""
    spec = file.spec
    if _TARGET not in spec.targets:
        if spec.slurm is not None:
            yield _unused(file)
        return
    if spec.slurm is None:
        message = "a job of Slurm runs in a partition, which the spec does not name"
        edits = (Edit((_TARGET, "partition"), "gpu"),)
        help_ = Help("add `slurm: {partition: gpu}`, with the name that `sinfo` shows", edits)
        yield Diagnostic("E0280", message, file.at("targets"), helps=(help_,))
    elif spec.slurm.gres is not None:
        yield from _check_gres(file, spec.slurm.gres)
    if spec.paths.state is None:
        yield _no_state(file)
    if spec.gateway is not None and len(spec.machines) > 1:
        message = "a job runs the servers of its own nodes, and no gateway for those of other jobs"
        yield Diagnostic("E0214", message, file.at_key("gateway"), helps=(removing_gateway(file),))
    yield from _check_ports(file)


def _check_ports(file: SpecFile) -> Iterator[Diagnostic]:
    gateway = file.spec.gateway
    tls = None if gateway is None else gateway.tls
    if gateway is not None and gateway.port < _FIRST_FREE_PORT:
        edit = Edit(("gateway", "port"), free_port(file, gateway.port + 8000))
        yield _privileged(file, ("gateway", "port"), gateway.port, Help(f"write `port: {edit.value}`", (edit,)))
    if tls is not None and tls.http_port is not None and tls.http_port < _FIRST_FREE_PORT:
        where = ("gateway", "tls", "http_port")
        # An authority asks at port 80 alone.
        edit = Edit(where, free_port(file, tls.http_port + 8001))
        other = Help(f"write `http_port: {edit.value}`", (edit,))
        away = Help("remove `tls`", (Edit(where[:2], None),))
        yield _privileged(file, where, tls.http_port, other if tls.acme is None and tls.challenges is None else away)


def _privileged(file: SpecFile, where: tuple[str, ...], port: int, mended: Help) -> Diagnostic:
    message = f"a job runs as whoever submits it, and may not listen at port {port}"
    notes = (f"ports below {_FIRST_FREE_PORT} are root's",)
    return Diagnostic("E0280", message, file.at(*where), notes, (mended,))


def _unused(file: SpecFile) -> Diagnostic:
    message = "`slurm` changes nothing: `slurm` is not among the targets"
    added = (*file.spec.targets, _TARGET)
    helps = (
        Help("remove `slurm`", (Edit((_TARGET,), None),)),
        Help("add `slurm` to the targets", (Edit(("targets",), added), *_state_edits(file))),
    )
    return Diagnostic("E0214", message, file.at_key(_TARGET), helps=helps)


def _check_gres(file: SpecFile, gres: str) -> Iterator[Diagnostic]:
    """GPUs that the spec counts on must be asked for, and none where there are none."""
    where = (_TARGET, "gres")
    helps = (Help("remove `gres`", (Edit(where, None),)),)
    if gres == "none" and file.spec.has_gpus:
        message = "the partition counts no GPUs (`gres: none`), and the servers need some"
        notes = ("Slurm gives a job no GPU that it does not ask for: `sinfo -o '%P %G'` shows what each partition has",)
        yield Diagnostic("E0280", message, file.at(*where), notes, helps)
    elif gres != "none" and not file.spec.has_gpus:
        yield Diagnostic(
            "E0280", f"`gres: {gres}` asks for GPUs, and the nodes have none", file.at(*where), helps=helps
        )


def _no_state(file: SpecFile) -> Diagnostic:
    message = "a job runs as whoever submits it, and may not write to /var/lib/stackc"
    notes = ("models and caches lie in `paths.state`: a folder that the user may write to and all nodes see",)
    helps = (Help(f"write `state: {_folder(file)}` in `paths`, or another such folder", _state_edits(file)),)
    return Diagnostic("E0280", message, file.at("targets"), notes, helps)


def _state_edits(file: SpecFile) -> tuple[Edit, ...]:
    return () if file.spec.paths.state is not None else (Edit(("paths", "state"), _folder(file)),)


def _folder(file: SpecFile) -> str:
    return f"/scratch/stackc/{file.spec.stack}"
