"""Five hundred hostile inputs of every kind. `python -m tests.fuzz` asks for more, and for other ones."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.running import AREAS
from tests.fuzz.workers import Asked, Limits, run_all

CASES = 520
SEED = 20261129


def test_every_hostile_input_ends_soon_in_sound_files_or_in_a_diagnostic(tmp_path: Path) -> None:
    asked = [Asked(area, SEED, number) for number in range(CASES // len(AREAS)) for area in AREAS]
    found = [
        f"{find.kind}: {find.detail} (--area {each.area} --seed {each.seed} --only {each.number})"
        for each, came in run_all(asked, Limits(), tmp_path, configs=None, processes=2)
        for find in came.found
    ]
    assert found == []
