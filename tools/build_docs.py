#!/usr/bin/env python3
"""Build the documentation into build/site: the pages of docs/, the project's own, and the reference.

The reference is made here, of the sources that it describes, so that nothing is written twice. A page that the
navigation does not list, a link to nothing and an anchor that is not there stop the build.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tools.reference import codes, commands, engines, gpus, programs, schemas

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "mkdocs.yml"
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
"""Files of the root that are pages too."""

_BLOCK = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
# A page of docs/ finds them in the root, where a repository is read, and here beside its own folder.
_TO_ROOT = re.compile(r"\]\(\.\./\.\./(?=(?:" + "|".join(map(re.escape, PROJECT)) + r")[)#])")
_LINK = re.compile(r"\]\(([^)\s#]+)")


def reference() -> dict[str, str]:
    """The pages that are made, by their place below docs/."""
    made = (each.pages() for each in (commands, schemas, codes, gpus, engines))
    return {place: text for pages in (*made, programs.pages(ROOT)) for place, text in pages.items()}


def assemble(folder: Path) -> None:
    """Put all pages into a folder of the build's own, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    (folder / "project").mkdir()
    for name in PROJECT:
        shutil.copy(ROOT / name, folder / "project")
    for page in folder.rglob("*.md"):
        page.write_text(_TO_ROOT.sub("](../project/", page.read_text(encoding="utf-8")), encoding="utf-8")
    for place, text in reference().items():
        (folder / place).write_text(text, encoding="utf-8")


def faults(folder: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    """What the site's builder does not look for: pages and the navigation, and links to what is no page."""
    listed = set(_listed(settings["nav"]))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    yield from (f"{page} is not in the navigation of {SETTINGS.name}" for page in sorted(found - listed))
    yield from (f"{page} is in the navigation of {SETTINGS.name}, and not there" for page in sorted(listed - found))
    for page in sorted(found):
        for link in _LINK.findall(_BLOCK.sub("", (folder / page).read_text(encoding="utf-8"))):
            if "://" not in link and not (folder / page).parent.joinpath(link).exists():
                yield f"{page} links to {link}, which is not there"


def _listed(nav: Any) -> Iterator[str]:
    """Pages of a navigation, however deep."""
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _listed(each)


def build(folder: Path) -> int:
    """Put the site into `folder/site`, and give the exit code."""
    settings = YAML(typ="safe", pure=True).load(SETTINGS.read_text(encoding="utf-8"))
    assemble(folder / "docs")
    shutil.copy(SETTINGS, folder)
    wrong = list(faults(folder / "docs", settings))
    for each in wrong:
        print(f"error: {each}", file=sys.stderr)
    if wrong:
        return 1
    builder = Path(sys.executable).with_name("zensical")
    done = subprocess.run([builder, "build", "--strict", "--clean"], cwd=folder, check=False)
    return min(abs(done.returncode), 1)


def main() -> int:
    """Build, and say where."""
    parser = argparse.ArgumentParser(description="Build the documentation, strictly.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build", help="default: build/")
    folder: Path = parser.parse_args().folder
    code = build(folder)
    if code == 0:
        print(folder / "site" / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
