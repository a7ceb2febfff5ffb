"""preflight's question about the engines: whether the program that will run is the planned release.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from stack import JsonObject, Sides, StackError, Warned
from stack.packages import environment_of, installing

EXIT_VERSION = 16
VERSION_SECONDS = 150


def check_version(name: str, engine: JsonObject) -> Sides:
    """The engine that will run is the one that the plan's figures belong to."""
    return _check_vllm(engine["version"]) if name == "vllm" else _check_llama_cpp(engine)


def check_configuration(engine: JsonObject) -> Sides:
    """No file of the machine gives its servers options that the plan does not: units hide them."""
    sides = Sides(f"no options from {', '.join(engine['configuration'])}", "none")
    for folder in engine["configuration"]:
        found = [str(path) for path in sorted(Path(folder).glob("*")) if os.access(path, os.R_OK)]
        if found:
            note = "move it away: what it sets no plan has counted"
            raise StackError(EXIT_VERSION, sides._replace(found=found[0], note=note))
    return sides


def _check_vllm(expected: str) -> Sides:
    wanted, name = f"vLLM {expected}", os.environ.get("STACKC_VLLM") or "vllm"
    executable = shutil.which(name)
    if executable is None:
        note = f"{_installing(expected, name)}; or set STACKC_VLLM to where it is"
        raise StackError(EXIT_VERSION, Sides(wanted, f"no `{name}`", note))
    found = installed_version(executable) or _stated_version(wanted, executable)
    # `0.33.0+cpu` is the same release, built for another device.
    if found.partition("+")[0] != expected:
        note = f"the plan's memory figures hold for no other release: {_installing(expected, name)}"
        raise StackError(EXIT_VERSION, Sides(wanted, f"{executable} is vLLM {found}", note))
    return Sides(wanted, f"{executable} is vLLM {found}")


def _installing(version: str, program: str) -> str:
    return installing("vllm", version, environment_of(program))


def installed_version(executable: str) -> str | None:
    """What the executable's own environment has installed. Asking vLLM itself means to import all of it.

    None if the file is no script that pip wrote, or its interpreter knows no vLLM. Nothing of the environment
    is run as long as its files say the version: an interpreter runs what packages leave in `.pth` files.
    """
    listed = _listed_version(Path(executable))
    if listed is not None:
        return listed
    with Path(executable).open("rb") as script:
        lines = script.read(4096).decode("utf-8", "replace").splitlines()
    # A path that is too long for the first line stands in the second one.
    match = re.match(r"#!(/\S*python[\d.]*)$", lines[0] if lines else "")
    match = match or re.match(r"'''exec' \"?(/[^\"]*python[\d.]*)\"? ", lines[1] if len(lines) > 1 else "")
    if match is None:
        return None
    question = "from importlib.metadata import version; print(version('vllm'))"
    try:
        answer = subprocess.run([match[1], "-c", question], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _listed_version(executable: Path) -> str | None:
    """What the metadata in the virtual environment say; None if they are not there, or several differ."""
    folders = [str(path) for path in executable.parent.parent.glob("lib/python3.*/site-packages")]
    if not (executable.parent.parent / "pyvenv.cfg").is_file():
        return None
    found = {each.version for each in distributions(name="vllm", path=folders)}
    return found.pop() if len(found) == 1 else None


def _stated_version(wanted: str, executable: str) -> str:
    """What `vllm --version` prints."""
    words = _ask(wanted, executable).stdout.split()
    return words[-1] if words else "no version"


def _ask(wanted: str, executable: str) -> subprocess.CompletedProcess[str]:
    """What the program prints about itself."""
    try:
        answer = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_VERSION, Sides(wanted, f"`{executable} --version` does not answer: {error}")) from error
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["nothing"])[-1]
        failed = f"`{executable} --version` failed with {answer.returncode} and said: {said}"
        raise StackError(EXIT_VERSION, Sides(wanted, failed))
    return answer


def _check_llama_cpp(engine: JsonObject) -> Sides:
    """By the number of the build or by its commit: who compiles a copy without git's history has no number."""
    program, wanted = engine["program"], f"{engine['title']} {engine['version']}"
    if engine["commit"]:
        wanted += f" (commit {engine['commit']})"
    name = os.environ.get(program["variable"]) or program["name"]
    executable = shutil.which(name)
    remedy = f"install {engine['title']} {engine['version']}; README.md of this tree, under Install, has the commands"
    if executable is None:
        raise StackError(EXIT_VERSION, Sides(wanted, f"no `{name}`", f"{remedy}; or set {program['variable']}"))
    answer = _ask(wanted, executable)
    lines = (answer.stdout + answer.stderr).splitlines()
    said = next((line for line in lines if line.startswith("version:")), "no version")
    sides = Sides(wanted, f"{executable} says {said}")
    number, commit = _build_in(said)
    if f"b{number}" == engine["version"] or _is_same(commit, engine["commit"] or ""):
        return sides
    # A count of commits: a copy of the source without their history has one, or none (cmake/build-info.cmake).
    if number in ("0", "1") and not (commit and engine["commit"]):
        note = "it was compiled without git's history, so that nobody can tell which build it is"
        raise Warned(str(sides._replace(note=note)))
    raise StackError(EXIT_VERSION, sides._replace(note=f"the plan's memory figures hold for no other build: {remedy}"))


def _is_same(commit: str, planned: str) -> bool:
    """Either may be cut short."""
    return bool(commit and planned) and (commit.startswith(planned) or planned.startswith(commit))


def _build_in(line: str) -> tuple[str, str]:
    """Number and commit of `version: 0.1.0 (build 10434, commit 7e4c0a9)`, older: `version: 10434 (7e4c0a9)`."""
    found = re.search(r"\(build (\d+), commit ([0-9a-f]{7,40})\)", line)
    found = found or re.search(r"version: (\d+) \(([0-9a-f]{7,40})\)", line)
    return (found[1], found[2]) if found is not None else ("", "")
