"""MIG slices under a vLLM that the machine runs itself.

vLLM 0.33.0 asks NVML for the number of a slice that `CUDA_VISIBLE_DEVICES` names, and then for the card of that number
(vllm/platforms/cuda.py:device_control_id_to_physical_device_id). But NVML numbers slices within their card: the second
slice of a machine with one card is looked up as GPU 1, which is not there, and the server ends before it loads a model.
A container that is given one slice has no such variable, and works.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.hardware.gpus import GPUS
from compiler.catalog.hardware.mig import MigProfile
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.nodes.models import GpusSpec
from compiler.spec.reading.load import SpecFile

_ON_HOST = ("scripts", "systemd")


def check_slices_on_host(file: SpecFile) -> Iterator[Diagnostic]:
    """Slices that only some machines can serve from; a UUID does not say which number its slice has."""
    wanted = [f"`{target}`" for target in file.spec.targets if target in _ON_HOST]
    for name, node in file.spec.written_nodes.items():
        gpus = node.gpus
        if wanted and gpus is not None and gpus.mig is not None and _is_told(gpus) and not _is_whole(gpus):
            yield _warning(file, name, gpus, " and ".join(wanted))


def _profiles(gpus: GpusSpec) -> tuple[MigProfile, ...]:
    known = GPUS.get(gpus.model or "")
    return known.mig if known is not None else ()


def _is_told(gpus: GpusSpec) -> bool:
    """Whether the spec names its slices as it must; checks.py says what is missing."""
    has_figures = gpus.memory is not None or any(each.name == gpus.mig for each in _profiles(gpus))
    return has_figures and bool(gpus.uuids) and all(uuid.startswith("MIG-") for uuid in gpus.uuids)


def _is_whole(gpus: GpusSpec) -> bool:
    """Whether a slice is all of its card, and so its first one."""
    largest = max((each.multiprocessors for each in _profiles(gpus)), default=0)
    return any(each.name == gpus.mig and each.most == 1 and each.multiprocessors == largest for each in _profiles(gpus))


def _warning(file: SpecFile, name: str, gpus: GpusSpec, wanted: str) -> Diagnostic:
    message = f"with {wanted}, vLLM finds a {gpus.mig} slice only if its number in its card is also a card's number"
    notes = (
        "NVML numbers slices within their card, and vLLM takes that number for a card's: of one card only slice 0 can "
        "be served, of two cards slices 0 and 1 of each",
        _arithmetic(gpus),
        "`bin/preflight` looks the numbers up before a server starts, and refuses with exit code 31",
    )
    return Diagnostic("W0204", message, file.at("nodes", name, "gpus", "mig"), notes, tuple(_helps(file)))


def _arithmetic(gpus: GpusSpec) -> str:
    most = next((each.most for each in _profiles(gpus) if each.name == gpus.mig), gpus.count)
    cards = next(cards for cards in range(1, gpus.count + 1) if cards * min(cards, most) >= gpus.count)
    slices = f"{gpus.count} slices" if gpus.count > 1 else "1 slice"
    return f"{slices} of one kind, at most {most} on a card: at least {cards} {'cards' if cards > 1 else 'card'}"


def _helps(file: SpecFile) -> Iterator[Help]:
    """Containers work for every slice. What only the machine's own programs have would be refused without them."""
    spec = file.spec
    containers = tuple(target for target in spec.targets if target not in _ON_HOST) or ("compose",)
    text = f"write `targets: [{', '.join(containers)}]`: a container sees its slice alone"
    yield (
        Help(text)
        if spec.paths.model_fields_set or spec.patches.systemd
        else Help(text, (Edit(("targets",), containers),))
    )
