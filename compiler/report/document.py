"""Pages and pictures as text. All of it is ASCII: no server and no terminal can get its encoding wrong."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict

from compiler.diagnostics.render import plain_data
from compiler.plan.ir import Plan
from compiler.render.environment import render_page
from compiler.report.page import Page
from compiler.report.picture import ledger_picture


def html_of(page: Page) -> str:
    """One HTML file that asks for nothing."""
    return _as_ascii(render_page("report/page.html", page=page))


def svg_of(plans: Iterable[Plan]) -> str:
    """The ledger of one stack as an SVG file."""
    return _as_ascii(render_page("report/ledger.svg", picture=ledger_picture(plans)))


def json_of(page: Page) -> str:
    """The page's content for programs."""
    return json.dumps(plain_data(asdict(page)), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _as_ascii(markup: str) -> str:
    """References in place of all other characters; what markup may not hold, or turns text around, is U+FFFD."""
    return _ODD.sub(_referred, markup)


def _referred(match: re.Match[str]) -> str:
    char = match[0]
    return f"&#{0xFFFD if unicodedata.category(char) in _UNFIT else ord(char)};"


_ODD = re.compile(r"[^\n\t -~]")
_UNFIT = {"Cc", "Cf", "Cs", "Cn"}
