"""The page of the engines: releases, words, options and metrics, as a spec's checks and the artifacts know them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from compiler.catalog.metrics import Metric
from compiler.engines.interface.engine import Engine, ReleaseFacts
from compiler.engines.interface.host import HostFacts, Signal
from compiler.engines.registry import ENGINES
from tools.reference.markdown import code, table

BEGINNING = """# Engines

What `engine` of a spec may pin, and what each engine has: the catalogues that specs are checked with, and that rules
and panels are made from. [Which engine for what](../explanation/choosing-an-engine.md) helps to choose.
"""

_OPTIONS = """### Options of {title} {version} {{ #{anchor}-options }}

All that the program has, for `engine_args`. What the plan decides, what opens a door or changes memory unseen is
refused, with what holds instead ([E0501](codes-e05.md#E0501) and the codes after it).
"""


def pages() -> dict[str, str]:
    """One page with a section for each engine."""
    sections = (part for engine in ENGINES.values() for part in _section(engine))
    return {"reference/engines.md": "\n".join((BEGINNING, *sections, *_signals()))}


def _section(engine: Engine) -> Iterator[str]:
    yield f"## {engine.title} {{ #{_anchor(engine)} }}\n"
    yield table(("release", "nodes", "image", "CUDA", "driver"), _releases(engine))
    yield table(("", engine.title), _words(engine))
    for version, release in engine.releases.items():
        yield from _options(engine, version)
        yield f"### Metrics of {engine.title} {version}\n"
        yield table(("metric", "kind", "labels"), map(_metric, _host(engine, release).metrics.metrics.values()))


def _anchor(engine: Engine) -> str:
    return engine.name.replace(".", "-")


def _host(engine: Engine, release: ReleaseFacts, *, on_gpu: bool | None = None) -> HostFacts:
    on_gpu = release.build != "cpu" if on_gpu is None else on_gpu
    return engine.pin(release.version, None, assumes_full=False).host(on_gpu=on_gpu)


def _releases(engine: Engine) -> Iterator[tuple[str, ...]]:
    for version, release in engine.releases.items():
        for kind, on_gpu in (("gpu", True), ("cpu", False)):
            if release.build in (kind, None):
                host = _host(engine, release, on_gpu=on_gpu)
                where = "with GPUs" if on_gpu else "without"
                yield code(version), where, code(host.container.image), host.cuda or "–", host.minimum_driver or "–"


def _words(engine: Engine) -> Iterator[tuple[str, str]]:
    host = _host(engine, next(iter(engine.releases.values())))
    yield "weights", ", ".join(sorted(engine.formats))
    yield "program", f"{code(host.program.name)}; another by {code(host.program.variable)}"
    yield "API key by", code(host.key_variable)
    yield "keys of a service that others lack", _listed(sorted(engine.keys))
    for key, words in engine.words.items():
        yield code(key), _listed(words.known)


def _options(engine: Engine, version: str) -> Iterator[str]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for name, part in engine.options(version):
        grouped[part].append(name)
    if grouped:
        anchor = f"{_anchor(engine)}-{version.replace('.', '-')}"
        yield _OPTIONS.format(title=engine.title, version=version, anchor=anchor)
        yield table(("part", "options"), ((part or "–", _listed(names)) for part, names in sorted(grouped.items())))


def _metric(metric: Metric) -> tuple[str, str, str]:
    return code(metric.name), metric.kind, _listed(sorted(metric.labels))


def _signals() -> Iterator[str]:
    yield "## What rules and panels ask for\n\nWhere an engine lacks one, its servers have no such rule or panel.\n"
    hosts = [_host(engine, next(iter(engine.releases.values()))) for engine in ENGINES.values()]
    rows = ((signal, *(_series(host, signal) for host in hosts)) for signal in Signal)
    yield table(("", *(host.title for host in hosts)), rows)


def _series(host: HostFacts, signal: Signal) -> str:
    return code(host.signals[signal]) if signal in host.signals else "–"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(code, words)) or "–"
