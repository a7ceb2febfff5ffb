"""The picture and the table of who knows what of engines are what the compiler's imports say."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT
from tools.draw_seam import PAGE, PICTURE, imports, seam_of, svg, table, with_table

AGAIN = "`python -m tests.test_docs` draws it again"


def package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "app"


SMALL = {
    "solve/place.py": "from app.engines.interface.demand import Demand\n",
    "pipeline.py": "from app.engines.interface import launch\nfrom app.engines.registry import ENGINES\n",
    "engines/interface/demand.py": "",
    "engines/interface/launch.py": "",
    "engines/registry.py": "def first():\n    from app.engines.one.engine import ENGINE\n    return ENGINE\n",
    "engines/one/engine.py": "import app.units\nfrom app.engines.interface.demand import Demand\nimport app.lock\n",
    "units.py": "",
    "lock/__init__.py": "x = 1\n",
}


def test_the_picture_and_the_table_are_what_the_code_says() -> None:
    known = imports(ROOT / "compiler")
    assert PICTURE.read_text() == svg(seam_of(known)), AGAIN
    assert with_table(PAGE.read_text(), known) == PAGE.read_text(), AGAIN
    assert f"```text\n{table(known)}```" in PAGE.read_text()
    assert max(map(len, table(known).splitlines())) <= 80


def test_imports_of_functions_packages_and_modules_count(tmp_path: Path) -> None:
    seam = seam_of(imports(package(tmp_path, SMALL)))
    assert seam.askers == ("pipeline", "solve")
    assert seam.choosers == ("pipeline",)
    assert seam.questions == ("demand", "launch")
    assert seam.engines == ("engines.one",)
    assert seam.read == ("lock", "units")


def test_what_goes_around_the_seam_is_told(tmp_path: Path) -> None:
    around = SMALL | {"plan.py": "import app.engines.one.engine\n"}
    assert "plan              one\n" in table(imports(package(tmp_path, around)))


def test_each_part_has_its_box(tmp_path: Path) -> None:
    drawn = svg(seam_of(imports(package(tmp_path, SMALL))))
    for name in ("pipeline", "solve", "registry", "interface", "one"):
        assert drawn.count(f">{name}</text>") == 1, name
