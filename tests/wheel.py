"""The wheel, installed in a fresh environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from tests.conftest import ROOT


def installed(folder: Path) -> tuple[Path, dict[str, str]]:
    """The Python of an environment that has the wheel, and the variables that it needs."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").glob("stackc-*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    # The dependencies are those of this environment; stackc itself comes from the wheel alone.
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    return environment / "bin" / "python", {"PYTHONPATH": f"{site}:{dependencies}", "PATH": "/usr/bin:/bin"}
