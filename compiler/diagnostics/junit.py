"""Diagnostics as a JUnit report, which GitLab, Jenkins and others show as tests that failed.

The form has no standard; this is the part that testmoapp/junitxml lists as read by all: suites, suite, case, failure
and system-out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from compiler.diagnostics.catalogue import CODES, Severity
from compiler.diagnostics.github import body
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.render import visible


def render_junit(diagnostics: Sequence[Diagnostic], passed: Iterable[str] = ()) -> str:
    """A case that failed for each error, one that passed and says something for each warning.

    Args:
        passed: names of cases of which nothing was found, such as stacks that compiled.
    """
    failed = sum(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    names = tuple(passed)
    count = {"tests": str(len(diagnostics) + len(names)), "failures": str(failed), "errors": "0"}
    suites = ET.Element("testsuites", {"name": "stackc", **count})
    suite = ET.SubElement(suites, "testsuite", {"name": "stackc", **count})
    for name in names:
        ET.SubElement(suite, "testcase", {"name": visible(name), "classname": "stackc"})
    for diagnostic in diagnostics:
        _case(suite, diagnostic)
    ET.indent(suites)
    text = ET.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(suite: ET.Element, diagnostic: Diagnostic) -> None:
    where = visible(str(diagnostic.label.span)) if diagnostic.label is not None else ""
    name = f"{diagnostic.code} {CODES[diagnostic.code].title}" + (f" ({where})" if where else "")
    case = ET.SubElement(suite, "testcase", {"name": name, "classname": f"stackc.{diagnostic.code}"})
    if diagnostic.label is not None:
        case.set("file", visible(diagnostic.label.span.source.name))
        case.set("line", str(diagnostic.label.span.start.line))
    if diagnostic.severity is Severity.ERROR:
        attributes = {"type": diagnostic.code, "message": visible(diagnostic.message)}
        ET.SubElement(case, "failure", attributes).text = body(diagnostic)
    else:
        ET.SubElement(case, "system-out").text = body(diagnostic)
