"""The page in a real browser: it asks for nothing, complains of nothing, and fits narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.report.document import html_of
from compiler.report.page import report_page
from tests.conftest import ROOT
from tests.report.browser import Browser, browser
from tests.unit.test_report import many

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PAPER = "getComputedStyle(document.body).backgroundColor"
# What is drawn beside the page, unless it lies in a part that scrolls by itself.
OUTSIDE = """[...document.querySelectorAll('body *')]
  .filter(each => !each.closest('.scroll') && each.getBoundingClientRect().right > innerWidth + 1)
  .map(each => each.outerHTML).slice(0, 3)"""
TIP = "getComputedStyle(document.activeElement.querySelector('.tip') ?? document.body).display"


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    found = {name: folder / name for name in ("all.html", "nodes.html", "ledger.svg", "many.html")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for name, arguments in {
            "all.html": (),
            "nodes.html": ("tests/cases/nodes/two-nodes/two-nodes.yaml",),
            "ledger.svg": ("stacks/team-96gb.yaml", "--format", "svg"),
        }.items():
            assert CliRunner().invoke(cli, ["report", *arguments, "--out", str(found[name])]).exit_code == 0
    found["many.html"].write_text(html_of(report_page({"duo": many(1000)})), encoding="utf-8")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 1600])
@pytest.mark.parametrize("name", ["all.html", "nodes.html", "many.html"])
def test_the_page_fits_and_asks_for_nothing(
    page: Browser, files: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    page.open(files[name], width=width, scheme=scheme)
    assert page.requests == [files[name].as_uri()]
    assert page.complaints == []
    assert page.value(OVERFLOW) == 0
    assert page.value(OUTSIDE) == []
    assert page.value(PAPER) == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 27)"}[scheme]


def test_no_script_would_run(page: Browser, tmp_path: Path, files: dict[str, Path]) -> None:
    path = tmp_path / "evil.html"
    path.write_text(files["nodes.html"].read_text().replace("<main>", "<main><script>document.title = 'ran'</script>"))
    page.open(path, width=400)
    assert page.value("document.title") == "two-nodes"


def test_bars_are_filled(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["all.html"], width=1000)
    widths = page.value(
        "[...document.querySelectorAll('svg.bar')].map(bar => [bar.getBoundingClientRect().width,"
        " [...bar.querySelectorAll('rect')].reduce((sum, rect) => sum + rect.getBoundingClientRect().width, 0)])"
    )
    assert widths
    assert all(parts == pytest.approx(whole, abs=2) for whole, parts in widths)
    fill = "getComputedStyle(document.querySelector('svg.bar .weights')).fill"
    assert page.value(fill) == "rgb(47, 111, 222)"


def test_a_source_is_shown_when_its_figure_is_focused(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["all.html"], width=400)
    assert page.value("getComputedStyle(document.querySelector('.tip')).display") == "none"
    for _ in range(60):
        page.press("Tab")
        if page.value("document.activeElement.className") == "n":
            break
    assert page.value(TIP) == "block"
    inside = "(({left, right, bottom}) => left >= 0 && right <= innerWidth && bottom <= innerHeight)"
    assert page.value(f"{inside}(document.activeElement.querySelector('.tip').getBoundingClientRect())")
    assert page.value(OVERFLOW) == 0


def test_printed_on_paper_it_is_light_and_figures_have_the_numbers_of_their_sources(
    page: Browser, files: dict[str, Path]
) -> None:
    page.open(files["nodes.html"], width=800, scheme="dark", media="print")
    assert page.value(PAPER) == "rgb(255, 255, 255)"
    assert page.value("getComputedStyle(document.querySelector('.n'), '::after').content") == '" [1]"'
    assert page.value(OVERFLOW) == 0
    assert page.call("Page.printToPDF")["data"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_is_light_or_dark_as_its_reader_is(page: Browser, files: dict[str, Path], scheme: str) -> None:
    page.open(files["ledger.svg"], width=900, scheme=scheme)
    assert (page.requests, page.complaints) == ([files["ledger.svg"].as_uri()], [])
    fill = page.value("getComputedStyle(document.querySelector('.paper')).fill")
    assert fill == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 27)"}[scheme]
    right = "Math.max(...[...document.querySelectorAll('text')].map(each => each.getBoundingClientRect().right))"
    assert page.value(right) <= 840
