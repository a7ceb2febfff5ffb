"""The documentation builds strictly, and what it shows needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tools.build_docs import faults


@pytest.mark.emitted
def test_the_site_is_built_and_read_without_a_network_or_a_server(tmp_path: Path) -> None:
    """One test, because building takes seconds."""
    words = [sys.executable, "-m", "tools.build_docs", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        assert_asks_for_nothing(page, text)
        if page.name != "404.html":  # served for any address, so that its links begin at the root
            assert_links_to_files(page, text)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", sheet.read_text()), sheet
    assert "E0401" in (site / "search.js").read_text()


def assert_asks_for_nothing(page: Path, text: str) -> None:
    tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text)
    assert [tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)] == [], page


def assert_links_to_files(page: Path, text: str) -> None:
    for link in re.findall(r"<a [^>]*href=[\"']?([^\"'# >]+)", text):
        assert "://" in link or (page.parent / link).exists(), (page, link)


@pytest.mark.parametrize(
    ("files", "nav", "says"),
    [
        ({"index.md": ""}, ["index.md"], []),
        ({"index.md": "", "lost.md": ""}, ["index.md"], ["lost.md is not in the navigation"]),
        ({"index.md": ""}, ["index.md", {"Guides": [{"Gone": "gone.md"}]}], ["gone.md is in the navigation"]),
        ({"index.md": "![x](x.svg)"}, ["index.md"], ["index.md links to x.svg, which is not there"]),
        ({"index.md": "`[a](b)`\n```text\n[c](d)\n```\n[e](https://e)"}, ["index.md"], []),
    ],
)
def test_what_the_builder_does_not_look_for_is_told(
    tmp_path: Path, files: dict[str, str], nav: list[Any], says: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = list(faults(tmp_path, {"nav": nav}))
    assert len(found) == len(says)
    assert all(told.startswith(wanted) for told, wanted in zip(found, says, strict=True))


def test_every_page_has_one_title() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
        assert len(re.findall(r"^# \S", text, re.M)) == 1, page
        assert text.startswith("# ")
