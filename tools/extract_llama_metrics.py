#!/usr/bin/env python3
"""Write every metric of a llama-server to compiler/engines/llama_cpp/releases/BUILD/metrics.json, as `/metrics` has it.

A server must run, with `--metrics`, on a model of any kind:

    python -m tools.extract_llama_metrics http://127.0.0.1:8080

A record is {name, kind}: no metric has a label of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from collections.abc import Iterable

from tools.extract_llama_options import CATALOG, compare
from tools.setup_llama_server import BUILD

_TYPE = re.compile(r"^# TYPE (\S+) (counter|gauge|histogram|summary)$", re.MULTILINE)
Json = dict[str, str]


def main() -> int:
    """Write the table, or with --check compare it."""
    arguments = _parse_arguments()
    with urllib.request.urlopen(f"{arguments.address}/metrics", timeout=60) as answer:
        text = render(BUILD, describe(answer.read().decode()))
    output = CATALOG / BUILD / "metrics.json"
    if arguments.check:
        return compare(output, text)
    output.write_text(text)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the metrics of llama-server to the catalog.")
    parser.add_argument("address", help="of a server that runs with --metrics, such as http://127.0.0.1:8080")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    return parser.parse_args()


def describe(exposed: str) -> list[Json]:
    """Describe all metrics of what `/metrics` says, sorted by name.

    Raises:
        ValueError: a series has a label, which no metric of the table has.
    """
    if labelled := re.search(r"^[^#\s]*\{.*", exposed, re.MULTILINE):
        raise ValueError(f"a series has labels: {labelled[0]}")
    return [{"name": name, "kind": kind} for name, kind in sorted(_TYPE.findall(exposed))]


def render(build: str, records: Iterable[Json]) -> str:
    """Render the table with one record a line, so that a diff between builds can be read."""
    lines = ",\n".join(json.dumps(record) for record in records)
    return f'{{"llama_cpp": {json.dumps(build)}, "metrics": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    sys.exit(main())
