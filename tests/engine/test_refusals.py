"""The table of the engine's own refusals covers the release: each place once, and no row covers what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals.reached import model_modules
from tests.refusals.sites import FOLDERS, sites_of
from tests.refusals.table import RELEASE, cover, load_rows

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("part", FOLDERS)
def test_every_refusal_has_its_answer(engine: Path, part: str) -> None:
    coverage = cover(load_rows(part), sites_of(part, engine / f"vllm-{RELEASE}/vllm"))
    assert [str(site) for site in coverage.uncovered] == [], f"python -m tests.refusals --uncovered --folder {part}"
    assert coverage.problems == ()


def test_models_that_are_read_are_walked(engine: Path) -> None:
    package = engine / f"vllm-{RELEASE}/vllm"
    names = {file.relative_to(package / "model_executor/models").as_posix() for file in model_modules(package)}
    # One that a reader has, one that such a module imports, and one that the registry has and no reader.
    assert {"llama.py", "utils.py", "registry.py", "transformers/base.py"} <= names
    assert "bagel.py" not in names
