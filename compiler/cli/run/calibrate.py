"""`stackc calibrate`: what real start-ups took, as a file that a spec names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.calibration.file import GRAPHS, Calibration, read_calibration, write_calibration
from compiler.calibration.measure import RATIO_UNIT, Measurement, component_ranges, measure
from compiler.calibration.startup_log import MAX_BYTES, LogError, StartupLog, read_log
from compiler.catalog.hardware.gpus import GPUS
from compiler.catalog.vllm.overheads import overheads_of
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.cli.loudness import Loudness, loudness
from compiler.cli.paths import keep_inputs
from compiler.cli.report import finish, unreadable, unwritable
from compiler.diagnostics import Diagnostic, SourceText
from compiler.diagnostics.render import visible
from compiler.emit.place import SPECS
from compiler.render.quoting import quote_yaml
from compiler.source.files import TooLargeError, read_file, replace_file
from compiler.source.text import label_at, read_source
from compiler.units import ByteRange, counted, format_gib

_MAX_CONFIG = 16 << 20
_PLAIN = re.compile(r"[A-Za-z./][\w./-]*", re.ASCII)


def run(logs: tuple[Path, ...], *, gpu: str, config: Path | None, out: Path | None, form: str) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    if gpu not in GPUS:
        raise click.UsageError(f"unknown GPU {visible(gpu[:80])}: `stackc gpus` lists them")
    keep_inputs("--out", out, [*logs, *([] if config is None else [config])])
    content = _config(config, form) if config is not None else None
    found = [_measured(path, gpu, content) for path in logs]
    problems = tuple(each for each in found if isinstance(each, Diagnostic))
    measured = [each for each in found if not isinstance(each, Diagnostic)]
    versions = sorted({log.version for log, _ in measured})
    if len(versions) > 1:
        problems += (Diagnostic("E0213", f"the logs are of several releases: {', '.join(versions)}"),)
    components = component_ranges([measurement for _, measurement in measured])
    if not problems and not components:
        problems = (Diagnostic("E0213", "the logs hold no figure that a calibration could use"),)
    if problems:
        finish(form, problems, result={}, lines=())
    calibration = Calibration(str(out or ""), versions[0], gpu, components)
    text = write_calibration(calibration, tuple(sorted({log.model for log, _ in measured})))
    if read_calibration(SourceText("", text))[0] is None:  # what is written must be of use
        finish(form, (Diagnostic("E0213", "the logs hold figures that no card could have"),), result={}, lines=())
    lines = list(_lines(components, measured))
    lines += text.splitlines() if out is None else _written(out, text, form)
    if loudness() is Loudness.QUIET:  # what was asked for: a file, or its text alone
        lines = text.splitlines() if out is None else []
    result = {
        "engine": versions[0],
        "gpu": gpu,
        "components": {n: _object(size, c) for n, (size, c) in components.items()},
    }
    finish(form, (), result=result, lines=lines)


def _config(path: Path, form: str) -> dict[str, Any]:
    """The model's config.json, or the end of the run with what is wrong with it, and where."""
    try:
        source, problem = read_source(path, str(path), _MAX_CONFIG)
    except OSError as error:
        finish(form, (unreadable(str(path), error),), result={}, lines=())
    config, problem = _json_object(source) if problem is None else (None, replace(problem, code="E0309"))
    if config is None:
        finish(form, () if problem is None else (problem,), result={}, lines=())
    return config


def _json_object(source: SourceText) -> tuple[dict[str, Any] | None, Diagnostic | None]:
    message, offset = f"{source.name} is no JSON object, as a model's config.json is", 0
    try:
        config = json.loads(source.text)
        if isinstance(config, dict):
            return config, None
    except json.JSONDecodeError as error:
        message, offset = f"{source.name} is no JSON: {error.msg}", error.pos
    except RecursionError:
        message = f"{source.name} is nested too deeply"
    except ValueError:
        message = f"{source.name} holds a number of too many digits"
    return None, Diagnostic("E0309", message, label_at(source, offset))


def _measured(path: Path, gpu: str, config: Any) -> _Measured | Diagnostic:
    try:
        log = read_log(read_file(path, MAX_BYTES).decode(errors="replace"))
        overheads = overheads_of(log.version)
        if overheads is None:
            return Diagnostic("E0213", f"{path}: stackc knows no release {log.version[:40]}")
        return log, measure(log, overheads, GPUS[gpu].compute_capability, config)
    except TooLargeError as error:
        return Diagnostic("E0213", f"{path}: {error.strerror}")
    except OSError as error:
        return unreadable(str(path), error)
    except LogError as error:
        return Diagnostic("E0213", f"{path}: {error}")
    except (ConfigError, UnsupportedArchitectureError) as error:
        return Diagnostic("E0309", f"the model's config.json: {error}")


def _written(out: Path, text: str, form: str) -> list[str]:
    try:
        replace_file(out, text.encode())
    except OSError as error:
        finish(form, (unwritable(str(out), error),), result={}, lines=())
    # Paths in a spec are relative to the spec.
    relative = Path(os.path.relpath(out, SPECS)).as_posix()
    named = relative if _PLAIN.fullmatch(relative) else quote_yaml(relative)
    return [f"wrote {out}; name it in a spec in {SPECS}/ as `engine: {{calibration: {named}}}`"]


_Measured = tuple[StartupLog, Measurement]


def _lines(components: dict[str, tuple[ByteRange, int]], measured: Sequence[_Measured]) -> Iterator[str]:
    yield from (f"{name:<20} {_figures(name, size)}  ({count})" for name, (size, count) in components.items())
    for log, one in measured:
        yield from (f"not used of {one.model}: {reason}" for reason in one.skipped)
        if loudness() is Loudness.VERBOSE:
            ranks = log.tensor_parallel_size * log.pipeline_parallel_size
            yield f"{one.model}, vLLM {log.version}, {counted(ranks, 'rank')}:"
            yield from (f"  {name:<18} {_figures(name, ByteRange.exact(size))}" for name, size in one.values.items())


def _figures(name: str, size: ByteRange) -> str:
    if name == "activation_ratio":
        return f"{size.expected / RATIO_UNIT:.3f} of the formula"
    if name in GRAPHS:
        return f"{size.expected} bytes for each size and layer"
    return f"{format_gib(size.low)} GiB" if size.is_exact else f"{format_gib(size.low)} to {format_gib(size.high)} GiB"


def _object(size: ByteRange, count: int) -> dict[str, int]:
    return {"low": size.low, "expected": size.expected, "high": size.high, "count": count}
