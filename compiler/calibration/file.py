"""The calibration file: what was measured, for which release and card, and from how many start-ups."""

from __future__ import annotations

import re
from typing import Any

from compiler.calibration.speeds import speed_lines, speed_problem, speeds_of
from compiler.diagnostics import Diagnostic, Help, Label, SourceText
from compiler.engines.interface.calibration import Calibration
from compiler.engines.registry import ENGINES
from compiler.source.document import Document, Path, load_document
from compiler.spec.engines import VLLM
from compiler.units import ByteRange

_KEYS = ("low", "expected", "high", "count")
LARGEST = 1 << 40
_PLAIN = re.compile(r"[\w./ -]+")
_KEY = re.compile(r"^(\w+):", re.MULTILINE)


def write_calibration(calibration: Calibration, models: tuple[str, ...]) -> str:
    """The file's text; the same for the same measurements."""
    units = ENGINES[calibration.engine].start_ups.components
    lines = [
        f"# Measured {_what(calibration)}; written by `stackc calibrate`.",
        f"engine: {{{calibration.engine}: {_scalar(calibration.release)}}}",
        f"gpu: {_scalar(calibration.gpu)}",
        f"models: [{', '.join(map(_scalar, models))}]",
        "components:" if calibration.components else "components: {}",
    ]
    for name, (size, count) in sorted(calibration.components.items()):
        figures = f"low: {size.low}, expected: {size.expected}, high: {size.high}, count: {count}"
        lines.append(f"  {name}: {{{figures}}}  # {units[name]}")
    lines += speed_lines(calibration.speeds)
    return "\n".join(lines) + "\n"


def _what(calibration: Calibration) -> str:
    kinds = {"start-ups": calibration.components, "speeds": calibration.speeds}
    return " and ".join(name for name, found in kinds.items() if found)


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
    release = _release(data.get("engine"))
    if release is None:
        return ("engine",), f"`engine` must be a map of one engine, {' or '.join(ENGINES)}, to its release"
    if not isinstance(data.get("gpu"), str):
        return ("gpu",), "`gpu` must be text"
    known = ENGINES[release[0]].start_ups.components
    for name, figures in data["components"].items():
        where: Path = ("components", name)
        if name not in known:
            return where, f"`components` has the unknown key `{name[:40]}`"
        odd = [key for key in _KEYS if not isinstance(figures, dict) or not _is_size(figures.get(key))]
        if odd:
            words = f"`components.{name}` must have `low`, `expected`, `high` and `count`, whole numbers"
            return (*where, odd[0]) if isinstance(figures, dict) else where, words
        if not figures["low"] <= figures["expected"] <= figures["high"] or not figures["count"]:
            return where, f"`components.{name}` is no interval"
    return speed_problem(data.get("speed"))


def _release(engine: Any) -> tuple[str, str] | None:
    """The engine and its release. Files of before there were several have the release alone, which is vLLM's."""
    named = {VLLM: engine} if isinstance(engine, str) else engine
    if not isinstance(named, dict) or len(named) != 1:
        return None
    ((name, release),) = named.items()
    return (name, release) if name in ENGINES and isinstance(release, str) else None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _calibration(name: str, document: Document) -> Calibration:
    data = document.data
    components = {
        key: (ByteRange(each["low"], each["expected"], each["high"]), each["count"])
        for key, each in data["components"].items()
    }
    release = _release(data["engine"])
    assert release is not None  # noqa: S101  _problem has said so
    return Calibration(name, *release, data["gpu"], components, speeds_of(data.get("speed")))
