"""Diagnostics as SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), which code scanning of GitHub, GitLab and editors read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from compiler import __version__
from compiler.diagnostics.catalogue import CODES, Severity
from compiler.diagnostics.github import body
from compiler.diagnostics.model import Diagnostic, Span
from compiler.diagnostics.render import plain_data

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """One run with a rule for each code that was found."""
    codes = sorted({diagnostic.code for diagnostic in diagnostics})
    driver = {"name": "stackc", "version": __version__, "rules": [_rule(code) for code in codes]}
    results = [_result(diagnostic, codes.index(diagnostic.code)) for diagnostic in diagnostics]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(plain_data(log), indent=2, sort_keys=True) + "\n"


def _rule(code: str) -> dict[str, Any]:
    page = (files("compiler.diagnostics") / "pages" / f"{code}.md").read_text(encoding="utf-8")
    level = "error" if CODES[code].severity is Severity.ERROR else "warning"
    return {
        "id": code,
        "shortDescription": {"text": CODES[code].title},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": level},
    }


def _result(diagnostic: Diagnostic, index: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": index,
        "level": diagnostic.severity.value,
        "message": {"text": body(diagnostic)},
    }
    if diagnostic.label is not None:
        found["locations"] = [{"physicalLocation": _location(diagnostic.label.span)}]
    return found


def _location(span: Span) -> dict[str, Any]:
    """Lines and columns are from 1, and the end is exclusive, there as here."""
    name = span.source.name
    uri = "".join(map(_quoted, name.encode("utf-8", "surrogateescape")))
    region = {"startLine": span.start.line, "startColumn": span.start.column}
    end = {"endLine": span.end.line, "endColumn": span.end.column} if span.end > span.start else {}
    where = {"uri": f"file://{uri}" if PurePosixPath(name).is_absolute() else uri}
    return {"artifactLocation": where, "region": {**region, **end}}


# RFC 3986, section 2.3: these are themselves in a URI; here a name's slashes are too.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def _quoted(byte: int) -> str:
    """A byte of a name, which may be no UTF-8, or what a URI reads otherwise."""
    return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
