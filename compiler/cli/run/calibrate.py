"""`stackc calibrate`: what real start-ups took and how fast servers were, as a file that a spec names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from compiler.calibration.bench import Benched, read_bench
from compiler.calibration.measure import Start, calibration_of, read_start, text_of
from compiler.calibration.named import naming
from compiler.calibration.speeds import as_object
from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.loudness import Loudness, loudness
from compiler.cli.paths import keep_inputs
from compiler.cli.report import finish, unreadable, unwritable
from compiler.diagnostics import Diagnostic, SourceText
from compiler.diagnostics.render import visible
from compiler.engines.interface.calibration import RATIO_UNIT, Calibration, LogError, ModelConfigError, Unit
from compiler.engines.registry import ENGINES
from compiler.render.quoting import quote_yaml
from compiler.source.files import TooLargeError, read_file, replace_file
from compiler.source.text import label_at, read_source
from compiler.source.user_file import SPECS
from compiler.units import ByteRange, counted, format_gib

_MAX_CONFIG = 16 << 20
_MAX_LOG = 64 << 20
_Read = TypeVar("_Read", Start, Benched)
_PLAIN = re.compile(r"[A-Za-z./][\w./-]*", re.ASCII)


def run(
    logs: tuple[Path, ...],
    speeds: tuple[Path, ...],
    *,
    gpu: str | None,
    config: Path | None,
    out: Path | None,
    form: str,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    if not logs and not speeds:
        raise click.UsageError("nothing to read: name start-up logs, or --speed and what bin/bench wrote")
    if gpu is not None and gpu not in GPUS:
        raise click.UsageError(f"unknown GPU {visible(gpu[:80])}: `stackc gpus` lists them")
    keep_inputs("--out", out, [*logs, *speeds, *([] if config is None else [config])])
    content = _config(config, form) if config is not None else None
    measured = _sound([_bench(path) for path in speeds], form)
    card = gpu or _card(measured)
    starts = _sound([_start(path, card, content) for path in logs], form)
    try:
        calibration = calibration_of(starts, GPUS[card], str(out or ""), measured)
    except LogError as error:
        finish(form, (Diagnostic("E0213", str(error)),), result={}, lines=())
    text = text_of(calibration, starts)
    lines = list(_lines(calibration, starts))
    lines += text.splitlines() if out is None else _written(out, text, calibration, form)
    if loudness() is Loudness.QUIET:  # what was asked for: a file, or its text alone
        lines = text.splitlines() if out is None else []
    result = {
        "engine": calibration.release,
        "engine_name": calibration.engine,
        "gpu": card,
        "components": {n: _object(size, c) for n, (size, c) in calibration.components.items()},
        "speed": [as_object(one) for one in calibration.speeds],
    }
    finish(form, (), result=result, lines=lines)


def _sound(found: list[_Read | Diagnostic], form: str) -> list[_Read]:
    """What was read, or the end of the run with all that could not be."""
    problems = tuple(each for each in found if isinstance(each, Diagnostic))
    if problems:
        finish(form, problems, result={}, lines=())
    return [each for each in found if not isinstance(each, Diagnostic)]


def _card(measured: Sequence[Benched]) -> str:
    """The card that speeds were measured on, where its title is one card's."""
    names = sorted({name for one in measured for name in one.gpus})
    if len(names) != 1:
        known = f": they name {', '.join(names)}" if names else ""
        raise click.UsageError(f"name the card with --gpu{known}")
    return names[0]


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


def _bench(path: Path) -> Benched | Diagnostic:
    try:
        return read_bench(read_file(path, _MAX_CONFIG).decode(errors="replace"))
    except TooLargeError as error:
        return Diagnostic("E0213", f"{path}: {error.strerror}")
    except OSError as error:
        return unreadable(str(path), error)
    except LogError as error:
        return Diagnostic("E0213", f"{path}: {error}")


def _start(path: Path, gpu: str, config: Any) -> Start | Diagnostic:
    try:
        return read_start(read_file(path, _MAX_LOG).decode(errors="replace"), GPUS[gpu], config)
    except TooLargeError as error:
        return Diagnostic("E0213", f"{path}: {error.strerror}")
    except OSError as error:
        return unreadable(str(path), error)
    except LogError as error:
        return Diagnostic("E0213", f"{path}: {error}")
    except ModelConfigError as error:
        return Diagnostic("E0309", f"the model's config.json: {error}")


def _written(out: Path, text: str, calibration: Calibration, form: str) -> list[str]:
    try:
        replace_file(out, text.encode())
    except OSError as error:
        finish(form, (unwritable(str(out), error),), result={}, lines=())
    # Paths in a spec are relative to the spec.
    relative = Path(os.path.relpath(out, SPECS)).as_posix()
    named = relative if _PLAIN.fullmatch(relative) else quote_yaml(relative)
    return [f"wrote {out}; name it in a spec in {SPECS}/ as `{naming(calibration, named)}`"]


def _lines(calibration: Calibration, starts: Sequence[Start]) -> Iterator[str]:
    engine = ENGINES[calibration.engine]
    units, title = engine.start_ups.components, engine.title
    for name, (size, count) in calibration.components.items():
        yield f"{name:<20} {_figures(units[name], size)}  ({count})"
    for speed in calibration.speeds:
        load = f"{speed.concurrency} at once, {speed.prompt} + {speed.answer} tokens"
        yield f"{speed.service:<20} {load}: {speed.output_rate:.0f} tokens/s"
        yield f"{'':<20} first token after {speed.ttft_ms:.0f} ms, then one each {speed.tpot_ms:.1f} ms"
    for one in (start.measurement for start in starts):
        yield from (f"not used of {one.model}: {reason}" for reason in one.skipped)
        if loudness() is Loudness.VERBOSE:
            yield f"{one.model}, {title} {one.version}, {counted(one.ranks, 'rank')}:"
            for name, values in one.values.items():
                yield from (f"  {name:<18} {_figures(units[name], ByteRange.exact(value))}" for value in values)


def _figures(unit: Unit, size: ByteRange) -> str:
    match unit:
        case Unit.RATIO:
            return f"{size.expected / RATIO_UNIT:.3f} of the formula"
        case Unit.PER_GRAPH:
            return f"{size.expected} bytes for each size and layer"
        case Unit.BYTES:
            low, high = format_gib(size.low), format_gib(size.high)
            return f"{low} GiB" if size.is_exact else f"{low} to {high} GiB"


def _object(size: ByteRange, count: int) -> dict[str, int]:
    return {"low": size.low, "expected": size.expected, "high": size.high, "count": count}
