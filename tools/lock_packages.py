#!/usr/bin/env python3
"""Write the hashed requirements that stacks install from: `python -m tools.lock_packages [--date YYYY-MM-DD]`.

Needs `uv` and PyPI. Only metadata is read; no wheel is downloaded. One resolution holds for every Python and machine
of TARGETS, with markers where they differ: pip would answer the markers of another Python with those of the one that
it runs on. Wheels alone are listed, and of those only what a machine of TARGETS takes, so that `pip install
--only-binary :all: --require-hashes --no-deps` runs nobody's code and takes no file that is not named here.

With the same date the same bytes come out, as long as nothing is withdrawn: files uploaded later are not looked at.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from compiler.catalog.packages import LITELLM_VERSION
from compiler.engines.vllm.releases import RELEASES

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "compiler/catalog"
RELEASES_FOLDER = ROOT / "compiler/engines/vllm/releases"
# The oldest and the newest C library of the distributions that run the units; wheels ask for one that is older.
OLDEST_GLIBC, NEWEST_GLIBC = 34, 44
MACHINES = ("x86_64", "aarch64")
# Of each series its first release too: packages have conditions on patch releases.
PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0")
SUPPORTED = ">=3.11,<3.15"
ENVIRONMENTS = [
    f"sys_platform == 'linux' and platform_python_implementation == 'CPython' and platform_machine == '{machine}'"
    for machine in MACHINES
]


class LockError(Exception):
    """No file was written; the message is for the terminal."""


@dataclass(frozen=True, slots=True)
class PackageSet:
    """What is installed together. `tested` is a file of versions that the tests run, which are then the ones taken."""

    roots: tuple[str, ...]
    output: Path
    tested: Path | None = None


SETS = (
    *(
        PackageSet((f"vllm=={release.version}",), RELEASES_FOLDER / release.version / "requirements.txt")
        for release in RELEASES.values()
        if release.build == "gpu"  # wheels of the CPU build are not on PyPI
    ),
    PackageSet(
        # Without prisma LiteLLM answers 500 to a wrong key.
        (f"litellm[proxy]=={LITELLM_VERSION}", "prisma"),
        CATALOG / f"gateways/litellm-{LITELLM_VERSION}/requirements.txt",
        ROOT / "tests/gateway/requirements.txt",
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine that packages are installed on."""

    python: str
    machine: str

    @property
    def environment(self) -> dict[str, str]:
        """What markers ask of it."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python,
            "python_version": self.python.rpartition(".")[0],
            "sys_platform": "linux",
        }

    def tags(self, glibc: int) -> frozenset[Tag]:
        """Wheels that it takes with a C library of 2.`glibc`."""
        major, minor, _ = map(int, self.python.split("."))
        name = f"cp{major}{minor}"
        platforms = [f"manylinux_2_{each}_{self.machine}" for each in range(glibc, 4, -1)]
        platforms += [f"manylinux{each}_{self.machine}" for each in (2014, 2010, 1)] + [f"linux_{self.machine}"]
        own = cpython_tags((major, minor), abis=[name], platforms=platforms)
        return frozenset((*own, *compatible_tags((major, minor), name, platforms)))


TARGETS = tuple(Target(python, machine) for machine in MACHINES for python in PYTHONS)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version, where `marker` holds."""

    name: str
    version: str
    marker: str | None

    @property
    def targets(self) -> tuple[Target, ...]:
        """Those that take it."""
        if self.marker is None:
            return TARGETS
        marker = Marker(self.marker)
        return tuple(target for target in TARGETS if marker.evaluate(dict(target.environment)))


def main() -> int:
    """Write every set. Exit 0 when all are written."""
    parser = argparse.ArgumentParser(description="Write the hashed requirements of vLLM and LiteLLM.")
    today = dt.datetime.now(dt.UTC).date()
    parser.add_argument("--date", type=dt.date.fromisoformat, default=today, help="take no file uploaded later")
    date = parser.parse_args().date
    try:
        for packages in SETS:
            count = write_set(packages, date)
            print(f"{packages.output.relative_to(ROOT)}: {count} packages")
    except LockError as error:
        print(f"lock_packages: {error}", file=sys.stderr)
        return 1
    return 0


def write_set(packages: PackageSet, date: dt.date) -> int:
    """Resolve one set and write its requirements; how many packages they have."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(_project(packages))
        _uv(folder, "lock", "--exclude-newer", f"{date}T00:00:00Z")
        exported = _uv(folder, "export", "--frozen", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project")
        files = wheels_of(tomllib.loads((Path(folder) / "uv.lock").read_text()))
    pins = [pin for pin in map(_pin, exported.splitlines()) if pin.targets]
    packages.output.parent.mkdir(parents=True, exist_ok=True)
    packages.output.write_text(format_requirements(packages.roots, date, pins, files))
    return len(pins)


def _project(packages: PackageSet) -> str:
    tested = [] if packages.tested is None else _versions(packages.tested)
    return (
        f'[project]\nname = "set"\nversion = "0"\nrequires-python = "{SUPPORTED}"\n'
        f"dependencies = {list(packages.roots)}\n"
        f"[tool.uv]\npackage = false\nenvironments = {ENVIRONMENTS}\nconstraint-dependencies = {tested}\n"
    )


def _versions(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def _uv(folder: str, *words: str) -> str:
    # What this machine's user has configured must not decide what users of stackc install.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_"))}
    command = ["uv", "--no-config", "--quiet", *words]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LockError(f"uv cannot be run: {error.strerror} (`pip install uv`)") from error
    if done.returncode != 0:
        raise LockError(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return done.stdout


def _pin(line: str) -> Pin:
    requirement, _, marker = line.partition(" ; ")
    name, _, version = requirement.strip().partition("==")
    name = name.partition("[")[0]
    if not version:
        raise LockError(f"not a version: {line}")
    return shortened(Pin(name, version, marker or None))


def shortened(pin: Pin) -> Pin:
    """The pin with the shortest condition that the same targets meet: uv's also say what is true of all of them."""
    if pin.marker is None or len(pin.targets) == len(TARGETS):
        return Pin(pin.name, pin.version, None)
    limits = dict.fromkeys(re.findall(r"python(?:_full)?_version [<>=!]+ '([\d.]+)'", pin.marker))
    versions = [f"python_full_version {sign} '{limit}'" for limit in limits for sign in ("<", ">=")]
    machines = [f"platform_machine == '{machine}'" for machine in MACHINES]
    both = [f"{version} and {machine}" for version in versions for machine in machines]
    shorter = (Pin(pin.name, pin.version, marker) for marker in (*versions, *machines, *both))
    return next((each for each in shorter if each.targets == pin.targets), pin)


def wheels_of(lock: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """File names and SHA-256 of the wheels of each package, by name and version."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for package in lock["package"]:
        wheels = {wheel["url"].rpartition("/")[2]: wheel["hash"] for wheel in package.get("wheels", ())}
        found[package["name"], package["version"]] = wheels
    return found


def format_requirements(
    roots: Iterable[str],
    date: dt.date,
    pins: Iterable[Pin],
    files: Mapping[tuple[str, str], Mapping[str, str]],
) -> str:
    """The text of a requirements file, with the hashes of every wheel that a target takes."""
    lines = [
        f"# {' and '.join(roots)} with all that is needed, as PyPI had it on {date}: CPython 3.11 to 3.14 on Linux,",
        f"# {' and '.join(MACHINES)}, wheels only. Resolved by `uv lock --exclude-newer {date}T00:00:00Z`; hashes are",
        "# those of PyPI's index. To install, without running anything of it:",
        "#   pip install --require-hashes --only-binary :all: --no-deps -r THIS_FILE",
    ]
    for pin in pins:
        condition = "" if pin.marker is None else f" ; {pin.marker}"
        hashes = sorted(set(_hashes(pin, files[pin.name, pin.version])))
        lines.append(
            " \\\n    ".join([f"{pin.name}=={pin.version}{condition}", *(f"--hash={each}" for each in hashes)])
        )
    return "\n".join(lines) + "\n"


def _hashes(pin: Pin, wheels: Mapping[str, str]) -> Iterator[str]:
    tagged = {name: parse_wheel_filename(name)[3] for name in wheels}
    for target in pin.targets:
        if not any(tags & target.tags(OLDEST_GLIBC) for tags in tagged.values()):
            raise LockError(f"{pin.name} {pin.version} has no wheel for {target}")
        yield from (wheels[name] for name, tags in tagged.items() if tags & target.tags(NEWEST_GLIBC))


if __name__ == "__main__":
    sys.exit(main())
