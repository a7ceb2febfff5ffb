"""`python -m tests.refusals --uncovered [--folder config]`: the places that no row of the table answers yet."""

from __future__ import annotations

import argparse
import sys

from tests.engine.engine_process import ENGINE
from tests.refusals.answers import faults
from tests.refusals.sites import FOLDERS, sites_of
from tests.refusals.table import RELEASE, cover, load_rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.refusals", description=__doc__)
    parser.add_argument("--uncovered", action="store_true", help="print each place without a row, with its first line")
    parser.add_argument("--all", action="store_true", help="print every place")
    parser.add_argument("--folder", choices=sorted(FOLDERS), help="this part only")
    arguments = parser.parse_args()
    problems = 0
    for part in [arguments.folder] if arguments.folder else FOLDERS:
        problems += report(part, uncovered=arguments.uncovered, everything=arguments.all)
    return 1 if problems else 0


def report(part: str, *, uncovered: bool, everything: bool) -> int:
    """What is wrong with a part, and how much."""
    package = ENGINE / f"vllm-{RELEASE}/vllm"
    rows, sites = load_rows(part), sites_of(part, package)
    coverage = cover(rows, sites)
    for site in sites if everything else coverage.uncovered if uncovered else ():
        line = (package / site.file).read_text().splitlines()[site.line - 1].strip()
        sys.stdout.write(f"{site}  {line}\n")
    problems = [*coverage.problems, *(fault for row in rows for fault in faults(row))]
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(f"{part}: {len(sites)} sites, {len(rows)} rows, {len(coverage.uncovered)} without a row\n")
    return len(problems) + len(coverage.uncovered)


if __name__ == "__main__":
    sys.exit(main())
