"""The wheel carries everything: installed in a fresh environment, it compiles from an empty folder."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.conftest import ROOT


def test_the_installed_wheel_compiles_from_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("stackc-*.whl")
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    # The dependencies are those of this environment; stackc itself comes from the wheel alone.
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    work = tmp_path / "empty"
    work.mkdir()
    shutil.copy(ROOT / "stacks" / "coder-96gb.yaml", work)
    shutil.copy(ROOT / "stacks" / "coder-96gb.lock.yaml", work)
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    subprocess.run(
        [
            environment / "bin" / "python",
            "-m",
            "stackc",
            "compile",
            "coder-96gb.yaml",
        ],
        cwd=work,
        env={"PYTHONPATH": f"{site}:{dependencies}", "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    imported = subprocess.run(
        [environment / "bin" / "python", "-c", "import compiler; print(compiler.__file__)"],
        cwd=work,
        env={"PYTHONPATH": f"{site}:{dependencies}", "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(site) in imported
    compared = filecmp.dircmp(work / "generated" / "coder-96gb", ROOT / "generated" / "coder-96gb")
    assert compared.left_only == compared.right_only == compared.diff_files == []
    assert (site / "compiler" / "diagnostics" / "pages" / "E0401.md").is_file()
