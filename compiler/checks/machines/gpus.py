"""Whether the GPUs of a node are cards that are known or described, and what to know of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import GPUS, same_gpus, shares_memory, system_memory
from compiler.checks.engines import pinned
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.nodes.parts import kinds_of
from compiler.spec.reading.load import SpecFile
from compiler.units import GIB, counted, format_gib

# What the machine says of its card.
_ASKED = "`python3 -c 'import torch; print(torch.cuda.mem_get_info()[1], torch.cuda.get_device_capability())'`"
# The catalog has no other card's figures to offer for it: they would prove the wrong thing.
_OWN_FIGURES = (
    f"`memory` and `compute_capability` beside its `model`, which its machine prints with {_ASKED}; "
    "the number on the box and that of nvidia-smi are larger"
)


def check_gpus(file: SpecFile, name: str, node: NodeSpec, engines: Engines) -> Iterator[Diagnostic]:
    """Every finding about the GPUs of one node."""
    for place, gpus in enumerate(node.cards):
        yield from _check_kind(file, Cards(name, place, gpus), engines)
    if len(kinds_of(node)) > 1:
        yield from _check_together(file, name, node)


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards of one record of a node, and where the file has them."""

    node: str
    place: int
    gpus: GpusSpec

    @property
    def where(self) -> tuple[str | int, ...]:
        """The path of the record."""
        return ("nodes", self.node, "gpus", self.place)


def _check_together(file: SpecFile, name: str, node: NodeSpec) -> Iterator[Diagnostic]:
    """Cards of several models on one node are all named by UUID, or none; slices of GPUs stand alone."""
    where = ("nodes", name, "gpus")
    sliced = next((place for place, gpus in enumerate(node.cards) if gpus.mig is not None), None)
    if sliced is not None:
        message = f"node `{name}` has slices of GPUs beside other cards"
        notes = ("CUDA shows a program whole cards or slices, and each card of a node has one kind of them",)
        help_ = Help("write the slices as the only `gpus` of the node, and leave the other cards out")
        yield Diagnostic("E0241", message, file.at(*where, sliced, "mig"), notes, (help_,))
        return
    if "kubernetes" in file.spec.targets:
        yield _without_kubernetes(file, name)
    named = [place for place, gpus in enumerate(node.cards) if gpus.uuids]
    if named and len(named) < len(node.cards):
        message = f"some cards of node `{name}` have `uuids`, and others have none"
        notes = ("a server finds its cards by their numbers or by their UUIDs, never by both",)
        edits = tuple(Edit((*where, place, "uuids"), None) for place in named)
        help_ = Help("remove `uuids`: cards are then numbered as `nvidia-smi` numbers them", edits)
        yield Diagnostic("E0241", message, file.at_key(*where, named[0], "uuids"), notes, (help_,))


def _without_kubernetes(file: SpecFile, name: str) -> Diagnostic:
    """Its device plugin gives a pod any GPUs of a node."""
    message = f"Kubernetes gives a pod GPUs of node `{name}` whatever their model, and it has several"
    left = tuple(target for target in file.spec.targets if target != "kubernetes")
    edits = (Edit(("targets",), left),) if left else ()
    helps = (Help("leave `kubernetes` out of the targets", edits), Help("or give the node cards of one model"))
    return Diagnostic("E0214", message, file.at_key("nodes", name, "gpus"), helps=helps)


def _check_kind(file: SpecFile, cards: Cards, engines: Engines) -> Iterator[Diagnostic]:
    gpus = cards.gpus
    own_figures = gpus.memory is not None and gpus.compute_capability is not None
    if gpus.model is not None and gpus.model not in GPUS and not own_figures:
        yield _unknown(file, cards, gpus.model)
    if gpus.model is None and not own_figures:
        yield _without_figures(file, cards)
    yield from _check_mig(file, cards)
    yield from _check_capability(file, cards, engines)
    yield from _check_round_memory(file, cards)
    yield from _check_shared_memory(file, cards)
    different = len(set(gpus.uuids))
    if gpus.uuids and (different != gpus.count or different != len(gpus.uuids)):
        message = f"{counted(len(gpus.uuids), 'uuid')}, {different} of them different, for {counted(gpus.count, 'GPU')}"
        yield Diagnostic("E0203", message, file.at_key(*cards.where, "uuids"))


def _without_figures(file: SpecFile, cards: Cards) -> Diagnostic:
    """Nothing is said of the cards, or half of what a card that has no name needs."""
    where, gpus = cards.where, cards.gpus
    figures = {"memory": gpus.memory, "compute_capability": gpus.compute_capability}
    given = next((key for key, value in figures.items() if value is not None), None)
    if given is None:
        message = f"the GPUs of node `{cards.node}` have neither a `model` nor figures of their own"
        help_ = Help(f"add `model: CARD`, with a CARD of `stackc gpus`, or {_OWN_FIGURES}")
        return Diagnostic("E0206", message, file.at_key(*where), helps=(help_,))
    missing = next(key for key in figures if key != given)
    notes = (f"the machine prints both with {_ASKED}",)
    helps = (Help(f"add `{missing}: {_FORMS[missing]}`"), Help("or `model: CARD`, with a CARD of `stackc gpus`"))
    message = f"`{missing}` is missing beside `{given}`"
    return Diagnostic("E0206", message, file.at_key(*where, given), notes, helps)


# Of no card: what is written there comes from the machine.
_FORMS = {"memory": "…B", "compute_capability": '"…"'}


def _unknown(file: SpecFile, cards: Cards, model: str) -> Diagnostic:
    helps = tuple(
        Help(f"did you mean `{known}`?", (Edit((*cards.where, "model"), known),)) for known in same_gpus(model)
    )
    notes = (
        f"`stackc gpus` lists the {len(GPUS)} cards that are known",
        f"a card that is not among them takes {_OWN_FIGURES}",
    )
    if _OTHER_MAKERS.search(model.lower()):
        notes = ("servers are proved on NVIDIA's GPUs and on CPUs: a machine with another maker's has `cpu`", notes[0])
    return Diagnostic("E0206", f"unknown GPU `{model}`", file.at(*cards.where, "model"), notes, helps)


# Engines run on these too, in other builds, and what they take there is not known.
_OTHER_MAKERS = re.compile(r"apple|\bm[1-9]\b|radeon|\brx[ -]?\d{4}|\bmi\d{3}|instinct|\barc\b|gaudi|ryzen|strix")


def _check_round_memory(file: SpecFile, cards: Cards) -> Iterator[Diagnostic]:
    """No card reports a whole number of GiB: some are lost to the driver, and to ECC where it is on."""
    gpus = cards.gpus
    if gpus.memory is None or gpus.memory % GIB:
        return
    known = GPUS.get(gpus.model or "") if gpus.mig is None else None
    message = f"{gpus.memory // GIB} GiB is the number on the box, and CUDA reports less of every card"
    notes = (f"the machine prints its bytes, and its compute capability, with {_ASKED}",)
    helps: tuple[Help, ...] = ()
    if known is not None:
        edit = Edit((*cards.where, "memory"), None)
        helps = (Help(f"remove `memory`: {format_gib(known.memory)} GiB are known of `{known.name}`", (edit,)),)
    yield Diagnostic("W0202", message, file.at(*cards.where, "memory"), notes, helps)


def _check_shared_memory(file: SpecFile, cards: Cards) -> Iterator[Diagnostic]:
    """Where CPU and GPU share one memory, a plan that fits a card of its own may hang the machine."""
    gpus = cards.gpus
    known, capability = GPUS.get(gpus.model or ""), _capability(gpus)
    if capability is None or not shares_memory(capability):
        return
    total = gpus.memory or (known.memory if known is not None else 0)
    held = f"{format_gib(system_memory(total))} of {format_gib(total)} GiB"
    message = f"the GPU of node `{cards.node}` has no memory of its own: it shares the CPU's, and may hang the machine"
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
    yield Diagnostic("W0203", message, file.at_key(*cards.where), notes, helps)


def _capability(gpus: GpusSpec) -> tuple[int, int] | None:
    """That of the spec, else the catalog's."""
    if gpus.compute_capability is not None:
        major, _, minor = gpus.compute_capability.partition(".")
        return int(major), int(minor)
    known = GPUS.get(gpus.model or "")
    return known.compute_capability if known is not None else None


def _check_mig(file: SpecFile, cards: Cards) -> Iterator[Diagnostic]:
    """A slice needs figures: the catalog's or its own. Several need UUIDs, because CUDA has no numbers for slices."""
    where, gpus = cards.where, cards.gpus
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


def _check_capability(file: SpecFile, cards: Cards, engines: Engines) -> Iterator[Diagnostic]:
    gpus = cards.gpus
    known = GPUS.get(gpus.model or "")
    if known is not None and known.refusal is not None:
        yield Diagnostic("E0208", f"{known.title}: {known.refusal}", file.at(*cards.where, "model"))
        return
    capability = _capability(gpus)
    for engine, release in pinned(file, engines):
        if capability is None or capability >= release.minimum_capability:
            continue
        least = ".".join(map(str, release.minimum_capability))
        own = ".".join(map(str, capability))
        message = f"{engine.title} {release.version} has no kernels for compute capability {own}, it starts at {least}"
        yield Diagnostic("E0208", message, file.at(*cards.where))
