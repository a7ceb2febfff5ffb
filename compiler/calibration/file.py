"""The calibration file: what was measured, for which release and card, and from how many start-ups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.diagnostics import Diagnostic, Help, Label, SourceText
from compiler.source.document import Document, Path, load_document
from compiler.units import ByteRange

COMPONENTS = (
    "activation_ratio",
    "context_parallel",
    "context_single",
    "graphs",
    "graphs_shared",
    "non_torch_parallel",
    "non_torch_pipeline",
    "non_torch_single",
)
GRAPHS = ("graphs", "graphs_shared")
"""Components in bytes for each captured size and each layer."""
_UNITS = {"activation_ratio": "2^-20 of the formula"} | dict.fromkeys(GRAPHS, "bytes for each captured size and layer")
_KEYS = ("low", "expected", "high", "count")
LARGEST = 1 << 40
_PLAIN = re.compile(r"[\w./-]+")
_KEY = re.compile(r"^(\w+):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured components of one release on one card.

    Attributes:
        name: of the file, as the spec gives it.
        gpu: catalog name.
        components: interval and number of start-ups.
    """

    name: str
    engine: str
    gpu: str
    components: Mapping[str, tuple[ByteRange, int]]


def write_calibration(calibration: Calibration, models: tuple[str, ...]) -> str:
    """The file's text; the same for the same measurements."""
    lines = [
        "# Measured start-ups; written by `stackc calibrate`.",
        f"engine: {_scalar(calibration.engine)}",
        f"gpu: {_scalar(calibration.gpu)}",
        f"models: [{', '.join(map(_scalar, models))}]",
        "components:",
    ]
    for name, (size, count) in sorted(calibration.components.items()):
        figures = f"low: {size.low}, expected: {size.expected}, high: {size.high}, count: {count}"
        lines.append(f"  {name}: {{{figures}}}  # {_UNITS.get(name, 'bytes')}")
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    safe = "".join(_PLAIN.findall(text))
    return f'"{safe}"'


def is_calibration(text: str) -> bool:
    """Whether a YAML file is one of these, by its keys at the left: specs lie beside them, with the same suffix."""
    keys = set(_KEY.findall(text))
    return {"gpu", "components"} <= keys and not keys & {"stack", "services"}


def read_calibration(source: SourceText, name: str | None = None) -> tuple[Calibration | None, tuple[Diagnostic, ...]]:
    """A calibration file, which a spec calls `name`, or what is wrong with it, and where."""
    document, diagnostics = load_document(source)
    if document is None:
        return None, diagnostics
    problem = _problem(document.data)
    if problem is not None:
        path, words = problem
        label = Label(document.value(path) if path in document.places else document.key(path[:-1]))
        help_ = Help("have `stackc calibrate` write it anew: every figure in it was measured")
        return None, (Diagnostic("E0212", f"{source.name} is no calibration: {words}", label, helps=(help_,)),)
    return _calibration(name or source.name, document), ()


def _problem(data: Any) -> tuple[Path, str] | None:
    """The first thing that is wrong, and where."""
    if not isinstance(data, dict) or not isinstance(data.get("components"), dict):
        return ("components",), "`components` must be a map"
    for key in ("engine", "gpu"):
        if not isinstance(data.get(key), str):
            return (key,), f"`{key}` must be text"
    for name, figures in data["components"].items():
        where: Path = ("components", name)
        if name not in COMPONENTS:
            return where, f"`components` has the unknown key `{name[:40]}`"
        odd = [key for key in _KEYS if not isinstance(figures, dict) or not _is_size(figures.get(key))]
        if odd:
            words = f"`components.{name}` must have `low`, `expected`, `high` and `count`, whole numbers"
            return (*where, odd[0]) if isinstance(figures, dict) else where, words
        if not figures["low"] <= figures["expected"] <= figures["high"] or not figures["count"]:
            return where, f"`components.{name}` is no interval"
    return None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _calibration(name: str, document: Document) -> Calibration:
    data = document.data
    components = {
        key: (ByteRange(each["low"], each["expected"], each["high"]), each["count"])
        for key, each in data["components"].items()
    }
    return Calibration(name, data["engine"], data["gpu"], components)
