"""Baselines: what revisions of a service measured, in files, and the comparison of two of them.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import statistics
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_ENVIRONMENT, EXIT_USAGE, JsonObject, StackError
from stack.judge.measure import Load, Metric
from stack.models.model import model_folder

SCHEMA = 1
# A change counts when it exceeds the tolerance and three times the runs' own spread (median absolute deviation),
# which for normal noise is two standard deviations. Beyond half a noisy machine excuses nothing.
NOISE_FACTOR, NOISE_LIMIT = 3.0, 0.5
# Flags that say where a server listens and how it stops, not how it computes.
_OUTSIDE = ("--host", "--port", "--served-model-name", "--shutdown-timeout", "--api-key")


class Summary(NamedTuple):
    """One figure over all runs. `spread` is the median absolute deviation as a fraction of the median."""

    median: float
    spread: float
    values: list[float]


class Baseline(NamedTuple):
    """What one revision measured. Only equal `conditions` may be compared."""

    service: str
    revision: str
    release: JsonObject
    conditions: JsonObject
    metrics: dict[str, Summary]
    recorded: str


class Change(NamedTuple):
    """One figure beside another. `worse` and `allowed` are fractions of `before`; a negative `worse` is a gain."""

    metric: Metric
    before: float
    now: float
    worse: float
    allowed: float

    @property
    def is_regression(self) -> bool:
        """Whether it is worse than noise and tolerance explain."""
        return self.worse > self.allowed


def summarize(runs: list[dict[str, float]]) -> dict[str, Summary]:
    """Median and spread of every figure."""
    return {key: _summary([run[key] for run in runs]) for key in runs[0]}


def _summary(values: list[float]) -> Summary:
    median = statistics.median(values)
    deviation = statistics.median(abs(value - median) for value in values)
    return Summary(median, deviation / median if median else 0.0, values)


def new_baseline(
    plan: JsonObject, service: JsonObject, *, load: Load, route: str, version: str, runs: list[dict[str, float]]
) -> Baseline:
    """What was just measured, with all that tells it from other measurements."""
    release = _release(service, version)
    conditions = {"load": load._asdict(), "route": route, "hardware": _hardware(plan, service)}
    # The same settings under another load are another baseline, for they cannot be compared.
    digest = hashlib.sha256(json.dumps([release, conditions], sort_keys=True).encode()).hexdigest()
    parts = (Path(release["model"]).name, release["commit"][:8], release["quantization"], version, digest[:8])
    revision = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part))
    recorded = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Baseline(service["name"], revision, release, conditions, summarize(runs), recorded)


def _release(service: JsonObject, version: str) -> JsonObject:
    model = service["model"]
    settings = sorted(
        [argument["flag"], argument["value"]] for argument in service["arguments"] if argument["flag"] not in _OUTSIDE
    )
    return {
        "model": model["repository"] or model["folder"],
        "commit": model_folder(model).name if model["repository"] else "",
        "quantization": model["quantization"],
        "vllm": version,
        "settings": settings,
    }


def _hardware(plan: JsonObject, service: JsonObject) -> JsonObject:
    node = plan["node"]
    if node["kind"] == "cpu":
        return {"kind": "cpu", "processor": _processor(), "cores": os.cpu_count()}
    return {"kind": "gpu", "gpu": node["gpu"], "mig": node.get("mig"), "devices": len(service["devices"])}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def compare(metrics: tuple[Metric, ...], before: Baseline, now: Baseline, tolerance: float) -> list[Change]:
    """Every figure that both have. `tolerance` is a fraction."""
    return [
        _change(metric, before.metrics[metric.key], now.metrics[metric.key], tolerance)
        for metric in metrics
        if metric.key in before.metrics and before.metrics[metric.key].median > 0
    ]


def _change(metric: Metric, before: Summary, now: Summary, tolerance: float) -> Change:
    growth = now.median / before.median - 1
    noise = min(NOISE_LIMIT, NOISE_FACTOR * max(before.spread, now.spread))
    worse = -growth if metric.more_is_better else growth
    return Change(metric, before.median, now.median, worse, max(tolerance, noise))


class Store:
    """A folder of baselines: `SERVICE/REVISION.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, baseline: Baseline) -> Path:
        """Where a baseline lies or would lie."""
        return self.folder / baseline.service / f"{baseline.revision}.json"

    def own(self, baseline: Baseline) -> Baseline | None:
        """What the same revision measured before."""
        path = self.path(baseline)
        return _read(path) if path.exists() else None

    def all(self, service: str) -> list[Baseline]:
        """Every baseline of a service, the oldest first."""
        found = [_read(path) for path in sorted((self.folder / service).glob("*.json"))]
        return sorted(found, key=lambda baseline: baseline.recorded)

    def latest_other(self, service: str, now: Baseline) -> Baseline | None:
        """The newest comparable baseline of another revision."""
        others = [
            each for each in self.all(service) if each.conditions == now.conditions and each.release != now.release
        ]
        return others[-1] if others else None

    def find(self, service: str, name: str) -> Baseline:
        """The one revision whose name begins with `name`."""
        known = self.all(service)
        found = [each for each in known if each.revision == name] or [
            each for each in known if each.revision.startswith(name)
        ]
        if len(found) == 1:
            return found[0]
        problem = f"{len(found)} baselines begin" if found else "no baseline begins"
        names = ", ".join(each.revision for each in known) or "none"
        raise StackError(EXIT_USAGE, f"{service}: {problem} with {name}; there are {names}")

    def save(self, baseline: Baseline) -> Path:
        """Write a baseline whole or not at all."""
        path = self.path(baseline)
        document = {"schema": SCHEMA, **baseline._asdict()}
        document["metrics"] = {key: summary._asdict() for key, summary in baseline.metrics.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise StackError(EXIT_ENVIRONMENT, f"cannot write {path}: {error.strerror}: set --baselines") from error
        return path


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: a reader, or a crash, finds the old text or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink()
        raise


def _read(path: Path) -> Baseline:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema") != SCHEMA:
            raise StackError(EXIT_ENVIRONMENT, f"{path} has another schema than {SCHEMA}: remove it and measure again")
        metrics = {key: _read_summary(value) for key, value in document.pop("metrics").items()}
        baseline = Baseline(metrics=metrics, **document)
        datetime.fromisoformat(baseline.recorded)
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(EXIT_ENVIRONMENT, f"{path} is damaged ({error}): remove it and measure again") from error
    return baseline


def _read_summary(value: JsonObject) -> Summary:
    summary = Summary(**value)
    if not all(isinstance(number, (int, float)) for number in (summary.median, summary.spread)):
        raise ValueError("a figure is no number")
    return summary
