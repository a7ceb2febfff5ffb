"""Whether the GPUs of a node are cards that are known or described, and what to know of them."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.hardware.gpus import GPUS, same_gpus, shares_memory, system_memory
from compiler.catalog.vllm.releases import RELEASES
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.load import SpecFile
from compiler.spec.models import GpusSpec
from compiler.units import GIB, counted, format_gib

# What the machine says of its card.
_ASKED = "`python3 -c 'import torch; print(torch.cuda.mem_get_info()[1], torch.cuda.get_device_capability())'`"
# The catalog has no other card's figures to offer for it: they would prove the wrong thing.
_OWN_FIGURES = (
    f"`memory` and `compute_capability` beside its `model`, which its machine prints with {_ASKED}; "
    "the number on the box and that of nvidia-smi are larger"
)


def check_gpus(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    """Every finding about the GPUs of one node."""
    own_figures = gpus.memory is not None and gpus.compute_capability is not None
    if gpus.model is not None and gpus.model not in GPUS and not own_figures:
        yield _unknown(file, name, gpus.model)
    if gpus.model is None and not own_figures:
        yield _without_figures(file, name, gpus)
    yield from _check_mig(file, name, gpus)
    yield from _check_capability(file, name, gpus)
    yield from _check_round_memory(file, name, gpus)
    yield from _check_shared_memory(file, name, gpus)
    different = len(set(gpus.uuids))
    if gpus.uuids and (different != gpus.count or different != len(gpus.uuids)):
        message = f"{counted(len(gpus.uuids), 'uuid')}, {different} of them different, for {counted(gpus.count, 'GPU')}"
        yield Diagnostic("E0203", message, file.at_key("nodes", name, "gpus", "uuids"))


def _without_figures(file: SpecFile, name: str, gpus: GpusSpec) -> Diagnostic:
    """Nothing is said of the cards, or half of what a card that has no name needs."""
    where = ("nodes", name, "gpus")
    figures = {"memory": gpus.memory, "compute_capability": gpus.compute_capability}
    given = next((key for key, value in figures.items() if value is not None), None)
    if given is None:
        message = f"the GPUs of node `{name}` have neither a `model` nor figures of their own"
        help_ = Help(f"add `model: CARD`, with a CARD of `stackc gpus`, or {_OWN_FIGURES}")
        return Diagnostic("E0206", message, file.at_key(*where), helps=(help_,))
    missing = next(key for key in figures if key != given)
    notes = (f"the machine prints both with {_ASKED}",)
    helps = (Help(f"add `{missing}: {_FORMS[missing]}`"), Help("or `model: CARD`, with a CARD of `stackc gpus`"))
    message = f"`{missing}` is missing beside `{given}`"
    return Diagnostic("E0206", message, file.at_key(*where, given), notes, helps)


# Of no card: what is written there comes from the machine.
_FORMS = {"memory": "…B", "compute_capability": '"…"'}


def _unknown(file: SpecFile, name: str, model: str) -> Diagnostic:
    helps = tuple(
        Help(f"did you mean `{known}`?", (Edit(("nodes", name, "gpus", "model"), known),)) for known in same_gpus(model)
    )
    notes = (
        f"`stackc gpus` lists the {len(GPUS)} cards that are known",
        f"a card that is not among them takes {_OWN_FIGURES}",
    )
    return Diagnostic("E0206", f"unknown GPU `{model}`", file.at("nodes", name, "gpus", "model"), notes, helps)


def _check_round_memory(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    """No card reports a whole number of GiB: some are lost to the driver, and to ECC where it is on."""
    if gpus.memory is None or gpus.memory % GIB:
        return
    known = GPUS.get(gpus.model or "") if gpus.mig is None else None
    message = f"{gpus.memory // GIB} GiB is the number on the box, and CUDA reports less of every card"
    notes = (f"the machine prints its bytes, and its compute capability, with {_ASKED}",)
    helps: tuple[Help, ...] = ()
    if known is not None:
        edit = Edit(("nodes", name, "gpus", "memory"), None)
        helps = (Help(f"remove `memory`: {format_gib(known.memory)} GiB are known of `{known.name}`", (edit,)),)
    yield Diagnostic("W0202", message, file.at("nodes", name, "gpus", "memory"), notes, helps)


def _check_shared_memory(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    """Where CPU and GPU share one memory, a plan that fits a card of its own may hang the machine."""
    known, capability = GPUS.get(gpus.model or ""), _capability(gpus)
    if capability is None or not shares_memory(capability):
        return
    total = gpus.memory or (known.memory if known is not None else 0)
    held = f"{format_gib(system_memory(total))} of {format_gib(total)} GiB"
    message = f"the GPU of node `{name}` has no memory of its own: it shares the CPU's, and may hang the machine"
    notes = (
        "reports: vLLM at a utilization of 0.70 took 112 of 119 GiB of a GB10 while profiling a model of 48 GiB, and "
        "the machine hung until it was switched off; 0.29.0 at 0.70 ran out of memory as it sized the KV cache, with "
        "22 GiB said to be available",
        f"counted for that: {held} for the system, the server's processes, and once more the weights, whose files stay "
        "in the page cache; nothing else makes the KV cache larger than what was asked for",
    )
    helps = (
        Help("`sync; echo 3 | sudo tee /proc/sys/vm/drop_caches` before a start; `preflight` says when it is needed"),
        Help("a larger `reserve` of the node, where anything else runs there"),
    )
    yield Diagnostic("W0203", message, file.at_key("nodes", name, "gpus"), notes, helps)


def _capability(gpus: GpusSpec) -> tuple[int, int] | None:
    """That of the spec, else the catalog's."""
    if gpus.compute_capability is not None:
        major, _, minor = gpus.compute_capability.partition(".")
        return int(major), int(minor)
    known = GPUS.get(gpus.model or "")
    return known.compute_capability if known is not None else None


def _check_mig(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    """A slice needs figures: the catalog's or its own. Several need UUIDs, because CUDA has no numbers for slices."""
    where = ("nodes", name, "gpus")
    known = GPUS.get(gpus.model or "")
    if gpus.mig is None:
        if any(uuid.startswith("MIG-") for uuid in gpus.uuids):
            help_ = Help("add the slices' profile, such as `mig: 3g.40gb`")
            yield Diagnostic("E0203", "MIG uuids without `mig`", file.at_key(*where, "uuids"), helps=(help_,))
        return
    profiles = {profile.name for profile in known.mig} if known is not None else set()
    if gpus.memory is None and known is not None and gpus.mig not in profiles:
        listed = ", ".join(sorted(profiles)) or "none"
        notes = (f"profiles of {known.name} with known memory: {listed}",)
        help_ = Help("give its `memory` too, as CUDA reports it inside the slice")
        message = f"the memory of a {gpus.mig} slice of {known.name} is not known"
        yield Diagnostic("E0206", message, file.at(*where, "mig"), notes, (help_,))
    if not gpus.uuids or not all(uuid.startswith("MIG-") for uuid in gpus.uuids):
        help_ = Help("add `uuids`: `nvidia-smi -L` on the machine prints them as MIG-…")
        message = "slices of a GPU are named by their `uuids`: CUDA does not number them"
        yield Diagnostic("E0203", message, file.at(*where, "mig"), helps=(help_,))


def _check_capability(file: SpecFile, name: str, gpus: GpusSpec) -> Iterator[Diagnostic]:
    release, known = RELEASES.get(file.spec.engine.vllm), GPUS.get(gpus.model or "")
    if known is not None and known.refusal is not None:
        yield Diagnostic("E0208", f"{known.title}: {known.refusal}", file.at("nodes", name, "gpus", "model"))
        return
    capability = _capability(gpus)
    if release is not None and capability is not None and capability < release.minimum_capability:
        least = ".".join(map(str, release.minimum_capability))
        own = ".".join(map(str, capability))
        message = f"vLLM {release.version} has no kernels for compute capability {own}, it starts at {least}"
        yield Diagnostic("E0208", message, file.at("nodes", name, "gpus"))
