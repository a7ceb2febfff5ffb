"""The fuzzer by hand: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.running import AREAS
from tests.fuzz.workers import Asked, Limits, run_all


def main() -> int:
    """Run cases, tell finds as they come, and count them at the end."""
    options = _options()
    numbers = [options.only] if options.only is not None else range(options.count)
    asked = [Asked(area, options.seed, number) for number in numbers for area in options.area or AREAS]
    root = options.keep or Path(tempfile.mkdtemp(prefix="stackc-fuzz-"))
    root.mkdir(parents=True, exist_ok=True)
    kinds: Counter[str] = Counter()
    slowest, begun = (0.0, ""), time.monotonic()
    limits = Limits(seconds=options.limit)
    for each, came in run_all(asked, limits, root, configs=options.configs, processes=options.processes):
        again = f"--area {each.area} --seed {each.seed} --only {each.number}"
        slowest = max(slowest, (came.seconds, again))
        for find in came.found:
            kinds[find.kind] += 1
            _say(f"{find.kind}: {find.detail}")
            _say(f"    {again}   {' '.join(find.words)[:200]!r}   {find.what[:200]!r}")
    told = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common()) or "nothing found"
    _say(
        f"{len(asked)} cases in {time.monotonic() - begun:.0f} s: {told}; the slowest: {slowest[0]:.1f} s, {slowest[1]}"
    )
    return 1 if kinds else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--area", action="append", choices=sorted(AREAS), help="one of these only; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="cases of each area")
    parser.add_argument("--only", type=int, help="one case of each area, by its number")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds of processor time that a case may take")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--configs", type=Path, help="more real configurations: DIR/*/config.json")
    parser.add_argument("--keep", type=Path, help="where the folders of cases go; those with a find stay")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
