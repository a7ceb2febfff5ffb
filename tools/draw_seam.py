#!/usr/bin/env python3
"""Draw who knows what of engines, as the imports of the compiler's modules say: docs/seam.svg, and a table of text.

    python -m tools.draw_seam

Only `import` statements are read, those inside functions too, and nothing is imported.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "seam.svg"
PAGE = ROOT / "docs" / "explanation" / "engines.md"
INTERFACE, REGISTRY, COMMON = "engines.interface", "engines.registry", "engines.common"
_TABLE = re.compile(r"^```text\nwho .*?^```$", re.MULTILINE | re.DOTALL)

Known = Mapping[str, Mapping[str, frozenset[str]]]
"""By part of the compiler: the modules that it imports of each other part."""


def imports(package: Path) -> Known:
    """A part is a package or module of `package`, and below `engines` one of those."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted(package.rglob("*.py")):
        importer = _part(".".join(path.relative_to(package).with_suffix("").parts))
        for name in _imported(path, package):
            if _part(name) not in ("", importer):
                found[importer][_part(name)].add(name.removeprefix(f"{_part(name)}."))
    return {who: {what: frozenset(names) for what, names in parts.items()} for who, parts in found.items()}


def _imported(path: Path, package: Path) -> Iterator[str]:
    """Modules below the package, by their names in it."""
    # To parse whole files would take seconds.
    statement = rf"^[ \t]*((?:from|import) {package.name}\b(?:[^\n(]*\([^)]*\)|[^\n]*))"
    statements = re.findall(statement, path.read_text(encoding="utf-8"), re.MULTILINE)
    for node in ast.parse("\n".join(statements)).body:
        names: Sequence[str] = ()
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = list(_modules(node.module, [each.name for each in node.names], package))
        inside = f"{package.name}."
        yield from (name.removeprefix(inside) for name in names if name.startswith(inside))


def _modules(module: str, names: Sequence[str], package: Path) -> Iterator[str]:
    """What `from module import names` imports: a module that has these names, or modules of a package."""
    folder = package.parent.joinpath(*module.split("."))
    for name in names:
        yield f"{module}.{name}" if (folder / f"{name}.py").exists() else module


def _part(module: str) -> str:
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == "engines" else names[0]


@dataclass(frozen=True, slots=True)
class Seam:
    """What is drawn.

    Attributes:
        askers: parts outside `engines` that know the interface.
        choosers: those that know the registry; most of them are askers too.
        questions: modules of the interface that anybody outside it imports.
        engines: that the registry imports.
        read: parts that engines import.
    """

    askers: tuple[str, ...]
    choosers: tuple[str, ...]
    questions: tuple[str, ...]
    engines: tuple[str, ...]
    read: tuple[str, ...]


def seam_of(known: Known) -> Seam:
    """The parts of the picture."""
    outside = {who: parts for who, parts in known.items() if not who.startswith("engines")}
    engines = tuple(sorted(part for part in known[REGISTRY] if part not in (INTERFACE, COMMON) and "engines" in part))
    read = {part for engine in engines for part in known[engine] if not part.startswith("engines")}
    return Seam(
        askers=tuple(sorted(who for who, parts in outside.items() if INTERFACE in parts)),
        choosers=tuple(sorted(who for who, parts in outside.items() if REGISTRY in parts)),
        questions=tuple(sorted(set[str]().union(*(parts.get(INTERFACE, set()) for parts in known.values())))),
        engines=engines,
        read=tuple(sorted(read)),
    )


def table(known: Known) -> str:
    """A line for each part that knows of engines, and what it imports of them, in 80 columns."""
    rows = [("who", "knows of engines")]
    for who, parts in sorted(known.items(), key=lambda row: (row[0].startswith("engines"), row[0])):
        told = [_told(who, part, names) for part, names in sorted(parts.items()) if part.startswith("engines.")]
        if told and who != INTERFACE:
            rows.append((who, "; ".join(told)))
    lines = (textwrap.wrap(f"{who:18}{told}", 80, subsequent_indent=" " * 18) for who, told in rows)
    return "\n".join(line for wrapped in lines for line in wrapped) + "\n"


def _told(who: str, part: str, names: frozenset[str]) -> str:
    name = part.removeprefix("engines.")
    is_asked = part == INTERFACE and not who.startswith("engines.")
    return f"{name} ({', '.join(sorted(names))})" if is_asked else name


_BOX, _GAP, _HIGH = 84, 6, 30
_LEFT, _TOP, _ASIDE = 9, 28, 30
_BAR, _DEEP, _ENGINES, _GROUND = 96, 52, 190, 262
_REGISTRY = 110
_STYLE = """\
:root{--line:#8a8f98;--text:#1c1f24;--soft:#5a606b;--paper:#fff;--asks:#eef0f3;--seam:#cfe0fb;--engine:#d5eede}
@media (prefers-color-scheme:dark){:root{--line:#777d88;--text:#e6e8ec;--soft:#a2a9b5;--paper:#15171b;--asks:#262a31;\
--seam:#1f3a66;--engine:#1d4a31}}
svg text{fill:var(--text);font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;text-anchor:middle}
svg .soft{fill:var(--soft);font-size:12px;text-anchor:start}
rect{stroke:var(--line)}.paper{fill:var(--paper);stroke:none}.asks{fill:var(--asks)}.seam{fill:var(--seam)}
.engine{fill:var(--engine)}
path{stroke:var(--line);fill:none;marker-end:url(#tip)}.stub{marker-end:none}#tip path{fill:var(--line);marker-end:none}
"""


def svg(seam: Seam) -> str:
    """Who asks stands above the seam, who answers below it; an arrow leads from who imports to what is imported."""
    alone = [name for name in seam.askers if name not in seam.choosers]
    names = (*alone, *seam.choosers)
    bar = len(names) * (_BOX + _GAP) - _GAP
    registry = _LEFT + bar - _REGISTRY
    parts = (
        *_askers(seam, names),
        *_choosers(seam, _LEFT + len(alone) * (_BOX + _GAP), _LEFT + bar),
        _box("seam", _LEFT, _BAR, bar, _DEEP, "interface", ", ".join(seam.questions)),
        *_engines(seam, bar - _REGISTRY - 24),
        _box("seam", registry, _ENGINES, _REGISTRY, _HIGH, "registry"),
        _arrow((registry + _REGISTRY // 2, _ENGINES), (registry + _REGISTRY // 2, _BAR + _DEEP)),
        _arrow((registry, _ENGINES + _HIGH // 2), (registry - 24, _ENGINES + _HIGH // 2)),
        _box("asks", _LEFT, _GROUND, bar, _HIGH, ", ".join(seam.read)),
    )
    width, height = _LEFT + bar + _ASIDE + _LEFT, _GROUND + _HIGH + 10
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title">\n<title id="title">Who knows what of engines</title>\n'
        f"<style>\n{_STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>\n'
        f'<rect class="paper" width="{width}" height="{height}"/>\n'
    )
    return head + "".join(f"{part}\n" for part in parts) + "</svg>\n"


def _askers(seam: Seam, names: Sequence[str]) -> Iterator[str]:
    yield f'<text class="soft" x="{_LEFT}" y="14">asks any engine</text>'
    for place, name in enumerate(names):
        left = _LEFT + place * (_BOX + _GAP)
        yield _box("asks", left, _TOP, _BOX, _HIGH, name)
        if name in seam.askers:
            yield _arrow((left + _BOX // 2, _TOP + _HIGH), (left + _BOX // 2, _BAR))


def _choosers(seam: Seam, left: int, right: int) -> Iterator[str]:
    """Their ways to the registry are one line around the interface."""
    yield f'<text class="soft" x="{left}" y="14">asks, and picks the engine</text>'
    first, row = left + _BOX // 2, _ENGINES + _HIGH // 2
    yield _arrow((first, _TOP - 6), (right + _ASIDE, _TOP - 6), (right + _ASIDE, row), (right, row))
    for place in range(len(seam.choosers)):
        middle = first + place * (_BOX + _GAP)
        yield f'<path class="stub" d="M{middle} {_TOP} L{middle} {_TOP - 6}"/>'


def _engines(seam: Seam, wide: int) -> Iterator[str]:
    """Side by side; each answers the interface, and reads what is below."""
    each = (wide - (len(seam.engines) - 1) * _GAP) // len(seam.engines)
    for place, name in enumerate(seam.engines):
        left = _LEFT + place * (each + _GAP)
        yield _box("engine", left, _ENGINES, each, _HIGH, name.removeprefix("engines."))
        yield _arrow((left + each // 2, _ENGINES), (left + each // 2, _BAR + _DEEP))
        yield _arrow((left + each // 2, _ENGINES + _HIGH), (left + each // 2, _GROUND))


def _box(kind: str, left: int, top: int, wide: int, high: int, *lines: str) -> str:
    first = top + high // 2 + 5 - 9 * (len(lines) - 1)
    texts = (f'<text x="{left + wide // 2}" y="{first + 18 * n}">{line}</text>' for n, line in enumerate(lines))
    rect = f'<rect class="{kind}" x="{left}" y="{top}" width="{wide}" height="{high}" rx="4"/>'
    return rect + "".join(texts)


def _arrow(*points: tuple[int, int]) -> str:
    return f'<path d="M{" L".join(f"{x} {y}" for x, y in points)}"/>'


def with_table(page: str, known: Known) -> str:
    """The page with the present table."""
    return _TABLE.sub(lambda _: f"```text\n{table(known)}```", page)


def main() -> int:
    """Write the picture, and the table into its page."""
    known = imports(ROOT / "compiler")
    PICTURE.write_text(svg(seam_of(known)), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), known), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
