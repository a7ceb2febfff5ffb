"""Pages and pictures as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from compiler.plan.ir import Plan
from compiler.render.environment import render_page
from compiler.report.page import Page
from compiler.report.picture import ledger_picture


def html_of(page: Page) -> str:
    """One HTML file that asks for nothing."""
    return _printable(render_page("report/page.html", page=page))


def svg_of(plans: Iterable[Plan]) -> str:
    """The ledger of one stack as an SVG file."""
    return _printable(render_page("report/ledger.svg", picture=ledger_picture(plans)))


def json_of(page: Page) -> str:
    """The page's content for programs."""
    return json.dumps(asdict(page), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _printable(text: str) -> str:
    """Half characters and controls, which XML has no way to write, as U+FFFD."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
