"""The wheel carries everything: installed in a fresh environment, it compiles from an empty folder."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.wheel import installed


def test_the_installed_wheel_compiles_from_an_empty_folder(tmp_path: Path) -> None:
    python, environment = installed(tmp_path)
    site = Path(environment["PYTHONPATH"].split(":")[0])
    work = tmp_path / "empty"
    work.mkdir()
    shutil.copy(ROOT / "stacks" / "coder-96gb.yaml", work)
    shutil.copy(ROOT / "stacks" / "coder-96gb.lock.yaml", work)
    for words in (("compile", "coder-96gb.yaml"), ("report", "coder-96gb.yaml", "--out", "report.html")):
        subprocess.run([python, "-m", "stackc", *words], cwd=work, env=environment, check=True, capture_output=True)
    imported = subprocess.run(
        [python, "-c", "import compiler; print(compiler.__file__)"],
        cwd=work,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(site) in imported
    compared = filecmp.dircmp(work / "generated" / "coder-96gb", ROOT / "generated" / "coder-96gb")
    assert compared.left_only == compared.right_only == compared.diff_files == []
    assert "<svg" in (work / "report.html").read_text()
    assert (site / "compiler" / "diagnostics" / "pages" / "E0401.md").is_file()
    starts = {"chat-rtx-4090": ("--gpu", "rtx-4090", "--task", "chat"), "tiny-cpu": ("--from", "tiny-cpu")}
    for tree, words in starts.items():
        start = tmp_path / tree
        start.mkdir()
        subprocess.run(
            [python, "-m", "stackc", "init", "--yes", *words],
            cwd=start,
            env=environment | {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
            check=True,
            capture_output=True,
        )
        assert (start / "generated" / tree / "plan.json").is_file()
    assert sorted(path.name for path in (site / "compiler" / "stacks").iterdir()) == sorted(
        path.name for path in (ROOT / "stacks").iterdir()
    )
