"""Start-up and compilation against what they cannot be faster than, as ratios. `python -m benchmarks.speed [--json]`.

Each command runs as a whole process; the median of the runs counts, after one run that warms the file cache.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STACKC = Path(sys.executable).with_name("stackc")
RUNS = 11


@dataclass(frozen=True)
class Figure:
    """A measured median in milliseconds, what it is compared with, and how far it may go."""

    what: str
    milliseconds: float
    against: str
    against_milliseconds: float
    ratio: float
    limit: str


def median_milliseconds(command: list[str], folder: Path) -> float:
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "stacks", Path(folder) / "stacks")
        click = median_milliseconds([sys.executable, "-c", "import click"], Path(folder))
        libraries = median_milliseconds([sys.executable, "-c", "import pydantic, jinja2, ruamel.yaml"], Path(folder))
        help_ = median_milliseconds([str(STACKC), "--help"], Path(folder))
        compile_ = median_milliseconds([str(STACKC), "compile"], Path(folder))
    return [
        Figure("stackc --help", help_, "import click", click, help_ / click, "ratio below 3"),
        Figure(
            "stackc compile, 9 stacks, warm", compile_, "import of its libraries", libraries, compile_ / libraries,
            "below 1500 ms",
        ),
    ]  # fmt: skip


def main() -> None:
    found = figures()
    for figure in found:
        print(
            f"{figure.what}: {figure.milliseconds:.0f} ms, {figure.ratio:.1f} × {figure.against} "
            f"({figure.against_milliseconds:.0f} ms); wanted: {figure.limit}"
        )
    if "--json" in sys.argv:
        print(json.dumps({"figures": [asdict(figure) for figure in found]}))


if __name__ == "__main__":
    main()
