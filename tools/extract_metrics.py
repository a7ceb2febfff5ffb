#!/usr/bin/env python3
"""Write every metric that `vllm serve` exposes by itself to compiler/engines/vllm/releases/VERSION/metrics.json.

vLLM's own logger registers its metrics for a server without options, and they are read from the registry that
`/metrics` prints. Run it with the Python of an engine that has vLLM's dependencies, and once more for a release of
which only the Python files are there:

    .engine/cpu/bin/python tools/extract_metrics.py
    .engine/cpu/bin/python tools/extract_metrics.py --source .engine/vllm-0.33.0

A record is {name, kind, labels, values, buckets}; fields are left out where they say nothing. `name` is the one that is
scraped, so a counter's ends in `_total`. `values` are those of a label that are there from the start, other than the
server's own. What a feature that is off would add is not listed, and neither are the interpreter's own figures.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "compiler/engines/vllm/releases"
# Their values are the server's own.
OWN_LABELS = {"model_name", "engine"}
# How many tokens a request may have follows the model, and so do the bounds of these histograms.
OF_THE_MODEL = re.compile(r"vllm:request_.*_tokens")
Json = dict[str, Any]


def main() -> int:
    """Write the table of one version, or with --check compare it."""
    arguments = _parse_arguments()
    if arguments.source:
        sys.path.insert(0, str(arguments.source.resolve()))
    os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    version = importlib.import_module("vllm").__version__
    output = arguments.output or CATALOG / version / "metrics.json"
    text = render(version, describe(registered()))
    if arguments.check:
        return _compare(output, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the metrics of `vllm serve` to the catalog.")
    parser.add_argument("--source", type=Path, help="a folder with vLLM's files, instead of the installed vLLM")
    parser.add_argument("--output", type=Path, help="the file to write (default: in compiler/engines/vllm/releases)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    return parser.parse_args()


def registered() -> list[Any]:
    """Every collector of the process's registry, once vLLM's engine and its HTTP server have added theirs."""
    registry = importlib.import_module("prometheus_client").REGISTRY
    config = importlib.import_module("vllm.config")
    logger = importlib.import_module("vllm.v1.metrics.loggers").PrometheusStatLogger(_server(config))
    logger.log_metrics_info("cache_config", config.CacheConfig())
    web = importlib.import_module("vllm.entrypoints.serve.instrumentator.metrics")
    app = importlib.import_module("fastapi").FastAPI()
    web.attach_router(app)
    app.build_middleware_stack()  # the web server's metrics are made with its middleware
    return list(registry._collector_to_names)  # noqa: SLF001


def _server(config: Any) -> SimpleNamespace:
    """What the logger asks of a configuration: all of vLLM's would want a model."""
    return SimpleNamespace(
        model_config=SimpleNamespace(served_model_name="model", max_model_len=1, is_diffusion=False),
        cache_config=config.CacheConfig(),
        observability_config=config.ObservabilityConfig(),
        parallel_config=config.ParallelConfig(),
        speculative_config=None,
        kv_transfer_config=None,
        ec_transfer_config=None,
        watermark_config=None,
        lora_config=None,
    )


def describe(collectors: Iterable[Any]) -> list[Json]:
    """Describe all metrics, sorted by name."""
    records = [record for collector in collectors for record in _records(collector)]
    wanted = [record for record in records if not record["name"].startswith("python_")]
    return sorted(wanted, key=lambda record: str(record["name"]))


def _records(collector: Any) -> Iterator[Json]:
    labels = getattr(collector, "_labelnames", None)
    if labels is None:
        # Of a collector that is no single metric, such as the process's: what it says now.
        for family in collector.collect():
            yield _record(family.name, family.type, (), {}, ())
        return
    name, kind, children = collector._name, collector._type, getattr(collector, "_metrics", {})  # noqa: SLF001
    if labels and not children and name.startswith("vllm:"):
        return  # registered, and exposed only with a feature that is off; the web server's wait for a request
    bounds = [] if OF_THE_MODEL.fullmatch(name) else _bounds(collector, children)
    yield _record(name, kind, labels, _values(labels, children), bounds)


def _bounds(collector: Any, children: Mapping[Any, Any]) -> Sequence[float]:
    one = next(iter(children.values()), collector)
    bounds: Sequence[float] = getattr(one, "_upper_bounds", ())
    return bounds


def _values(labels: Sequence[str], children: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    columns = dict(zip(labels, map(set, zip(*children, strict=True)), strict=False))
    listed = {label: sorted(found) for label, found in columns.items() if label not in OWN_LABELS}
    # One child with one value of each label is an information, whose values are this process's.
    return {label: found for label, found in listed.items() if len(found) > 1}


def _record(
    name: str, kind: str, labels: Sequence[str], values: Mapping[str, Sequence[str]], bounds: Sequence[float]
) -> Json:
    record: Json = {
        "name": f"{name}_total" if kind == "counter" else name,
        "kind": kind,
        "labels": sorted(labels),
        "values": values,
        "buckets": [bound for bound in bounds if math.isfinite(bound)],
    }
    return {key: value for key, value in record.items() if value}


def render(version: str, records: Iterable[Json]) -> str:
    """Render the table with one record a line, so that a diff between versions can be read."""
    lines = ",\n".join(json.dumps(record) for record in records)
    return f'{{"vllm": {json.dumps(version)}, "metrics": [\n{lines}\n]}}\n'


def _compare(path: Path, text: str) -> int:
    before = path.read_text().splitlines() if path.is_file() else []
    diff = list(difflib.unified_diff(before, text.splitlines(), str(path), "as extracted", n=0, lineterm=""))
    print("\n".join(diff))
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
