"""The built site in a real browser, opened from a folder: it asks nobody, it fits a telephone, and its search finds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.report.browser import Browser, browser

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The search stands in a document of its own, inside the page's.
INNER = """
const inner = selector => {
  const found = [];
  const walk = root => root.querySelectorAll("*").forEach(each => {
    if (each.getRootNode() !== document && each.matches(selector)) found.push(each);
    if (each.shadowRoot) walk(each.shadowRoot);
  });
  walk(document);
  return found;
};
"""
SEARCH = "document.querySelector('.md-search__button').click()"
TYPE = """(word => {%s
  const [field] = inner("input");
  if (!field) return false;
  field.value = word;
  field.dispatchEvent(new Event("input", {bubbles: true, composed: true}));
  return true;
})"""
FOUND = "(() => {%s return inner('li').map(each => each.textContent).join('|') })()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "tools.build_docs", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "tutorial/first-stack", "reference/spec", "reference/gpus"])
def test_a_page_fits_and_asks_nobody(site: Path, page: Browser, name: str, scheme: str) -> None:
    for width in (400, 1280):
        page.open(site / f"{name}.html", width=width, scheme=scheme)
        assert page.value(OVERFLOW) <= 0, width
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert page.complaints == []
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_search_finds_without_a_server(site: Path, page: Browser) -> None:
    page.open(site / "index.html", width=1280)
    page.value(SEARCH)
    until(page, f"{TYPE % INNER}('calibration')")
    until(page, f"{FOUND % INNER}.includes('E0212')")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def until(page: Browser, expression: str) -> None:
    """Wait for what the page does by itself."""
    end = time.monotonic() + 30
    while not page.value(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.1)
