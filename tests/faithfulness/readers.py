"""Look a value up in an emitted tree, with a reader of each syntax. A new target adds an entry to READERS.

A locator is the name of a file or service and a path in it; what it finds is a value, or all values of a list.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.render.syntax import Expansion, read_bash_assignments, read_systemd_words, read_unit
from tests.plain_yaml import read_yaml

Texts = Mapping[str, str]


def rendered(plan: Plan) -> Texts:
    """Everything that is emitted for a plan, by path."""
    return {str(artifact.path): artifact.text for artifact in render_plan(plan)}


def emitted(plan: Plan, folder: Path, kinds: Iterable[str] | None = None) -> Texts:
    """The same, also as files in the folder: all of them, or those that the readers of some kinds read or run."""
    artifacts = render_plan(plan)
    begins = ("",) if kinds is None else tuple(READERS[kind][0] for kind in kinds)
    if any(each.startswith("bin/") for each in begins):
        begins += ("lib/",)  # what a script runs
    for artifact in artifacts:
        if not str(artifact.path).startswith(begins):
            continue
        path = folder / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(artifact.text)
        path.chmod(artifact.mode)
    return {str(artifact.path): artifact.text for artifact in artifacts}


def in_json(folder: Path, locator: str) -> Any:
    """`plan.json`: keys and indices with dots between."""
    return _descend(json.loads((folder / "plan.json").read_text()), locator)


def in_compose(folder: Path, locator: str) -> Any:
    """The compose file, likewise."""
    return _descend(_yaml((folder / "compose/compose.yaml").read_text()), locator)


@lru_cache(maxsize=2)
def _yaml(text: str) -> Any:
    """Read once for all locators of a knob."""
    return read_yaml(text)


def in_units(folder: Path, locator: str) -> list[str]:
    """`UNIT SECTION KEY`: every value, and every word of each."""
    name, section, key = locator.split()
    values = read_unit((folder / "systemd" / name).read_text()).values(section, key)
    words = [word for value in values for word in read_systemd_words(value.lstrip("@-:+!"), is_command=False)]
    return [*values, *words]


def in_launch(folder: Path, locator: str) -> list[str]:
    """`SERVICE argv`: the words that the script would run; `SERVICE $NAME`: what it gives to a variable."""
    service, what = locator.split()
    script = folder / "bin" / f"launch-{service}"
    if what == "argv":
        return printed_words([str(script)], {})
    values = read_bash_assignments(script.read_text())[what.removeprefix("$")]
    return [value.text if isinstance(value, Expansion) else str(value) for value in values]


def printed_words(command: list[str], environment: Mapping[str, str]) -> list[str]:
    """The words that a launch script would run in an environment, read back by bash as it printed them."""
    home = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [*command, "--print-command"], env={**home, **environment}, capture_output=True, text=True, check=True
    )
    reader = ["bash", "-c", 'eval "words=($1)"; printf "%s\\0" "${words[@]}"', "bash", done.stdout]
    return subprocess.run(reader, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def in_text(folder: Path, locator: str) -> list[str]:
    """A file by its path: every word of it, whatever its syntax, but for comments."""
    lines = (folder / locator).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith(("# ", "//")))
    return [word.rstrip(".:") for word in re.findall(r"[\w./:%-]+", text)]


def _descend(data: Any, locator: str) -> Any:
    for key in locator.split("."):
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def in_job(folder: Path, locator: str) -> list[str]:
    """An option of `sbatch`, by its name."""
    (job,) = (folder / "slurm").iterdir()
    lines = (line.removeprefix("#SBATCH --") for line in job.read_text().splitlines() if line.startswith("#SBATCH --"))
    return [value for name, _, value in (line.partition("=") for line in lines) if name == locator]


READERS: dict[str, tuple[str, Callable[[Path, str], Any]]] = {
    "plan.json": ("plan.json", in_json),
    "launch": ("bin/launch-", in_launch),
    "systemd": ("systemd/", in_units),
    "compose": ("compose/", in_compose),
    "quadlet": ("quadlet/", in_text),
    "gateway": ("gateway/", in_text),
    "bin/gateway": ("bin/gateway", in_text),
    "monitoring": ("monitoring/", in_text),
    "kubernetes": ("kubernetes/", in_text),
    "slurm": ("slurm/", in_job),
}
"""Of each kind of artifact: how the paths of its files begin, and its reader."""


def texts_of(kind: str, texts: Texts) -> Texts:
    """The files of one kind."""
    return {path: text for path, text in texts.items() if path.startswith(READERS[kind][0])}
