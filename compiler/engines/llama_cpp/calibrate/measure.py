"""What a start of llama-server took of cards outside its own accounting.

When a server ends it prints for each card what is gone of it and what of that its buffers are; the rest is
`unaccounted` (common/fit.cpp, common_memory_breakdown_print, b10435): CUDA's context and libraries, kernels that were
loaded, their temporaries and cuBLAS's workspace. Whatever else uses the card is in it too, so that the figure is never
less than what one process takes.
"""

from __future__ import annotations

import re

from compiler.catalog.hardware.gpus import Gpu
from compiler.engines.interface.calibration import LogError, Measurement
from compiler.engines.llama_cpp.calibrate.startup_record import BufferKind, DeviceMemory, StartupLog
from compiler.engines.llama_cpp.releases import RELEASES
from compiler.units import MIB

_CARD = re.compile(r"CUDA\d+")
_LEAST, _MOST = 100, 2048
"""MiB. Of CUDA's contexts none is known below 150; with more than the most something else is on the card."""
_TOTAL_TOLERANCE = 10
"""Hundredths by which a card's total may differ from the catalogue's: drivers and ECC move it by less."""
_UBATCH = 512
"""--ubatch-size, where the log does not say it (common/common.h, b10435)."""


def measure(log: StartupLog, gpu: Gpu) -> Measurement:
    """What a start measured of each card.

    Raises:
        LogError: what it says of the cards is not of one model that was served on them alone.
    """
    release = _release(log)
    if not log.is_ready:
        raise LogError("its last start did not load the model")
    _answered(log)
    _one_model(log)
    cards = _cards(log)
    values = tuple(_outside(card, gpu) * MIB for card in cards)
    name = "context_single" if len(cards) == 1 else "context_parallel"
    return Measurement(release, log.model or "", len(cards), {name: values}, ())


def _release(log: StartupLog) -> str:
    """By its number, or by the commit where whoever built it did not set the number."""
    named = f"b{log.build}"
    if named in RELEASES:
        return named
    commits = {release.commit: build for build, release in RELEASES.items() if release.commit is not None}
    known = commits.get((log.commit or "")[:7])
    if known is None:
        raise LogError(f"stackc knows no build {named} of llama.cpp")
    return known


def _answered(log: StartupLog) -> None:
    """Kernels are loaded and ask for their memory when they first run, and those of long prompts are their own."""
    wanted = min(log.ubatch or _UBATCH, (log.slot_context or log.context or 2 * _UBATCH) // 2)
    if (log.longest_prompt or 0) < wanted:
        raise LogError(
            f"its longest prompt had {log.longest_prompt or 0} tokens: what kernels take shows after one of {wanted}"
        )


def _one_model(log: StartupLog) -> None:
    others = [buffer for buffer in log.buffers if buffer.kind is BufferKind.OTHER]
    if any(_CARD.fullmatch(buffer.device) for buffer in (*others, *log.other_buffers)):
        raise LogError("it has buffers of a draft, an adapter or a projector, which its figures do not tell apart")


def _cards(log: StartupLog) -> list[DeviceMemory]:
    if not log.breakdown:
        raise LogError("no line `memory breakdown`: the server prints it when SIGTERM or SIGINT ends it")
    cards = [row for row in log.breakdown if row.unaccounted is not None]
    if not cards:
        raise LogError("its server used no GPU")
    other = next((card.device for card in cards if not _CARD.fullmatch(card.device)), None)
    if other is not None:
        raise LogError(f"it is of the device {other[:40]}, and a calibration is of CUDA's")
    return cards


def _outside(card: DeviceMemory, gpu: Gpu) -> int:
    """MiB of a card that no buffer accounts for."""
    total, outside = card.total or 0, card.unaccounted or 0
    if abs(total * MIB - gpu.memory) * 100 > gpu.memory * _TOTAL_TOLERANCE:
        raise LogError(f"{card.device} has {total} MiB, and {gpu.name} has {gpu.memory // MIB}")
    if outside > _MOST:
        raise LogError(f"its figures leave {outside} MiB of {card.device} unexplained: did another process use it?")
    if outside < _LEAST:
        raise LogError(f"its figures leave {outside} MiB of {card.device} for CUDA itself, which takes more")
    return outside
