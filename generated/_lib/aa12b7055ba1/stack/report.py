"""Reports of checks: for people, and for programs that read TAP, JUnit's XML or JSON.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from stack import (
    FAIL,
    SKIP,
    WARN,
    JsonObject,
    Result,
    format_json,
    format_result,
    format_summary,
    printable,
)

FORMATS = ("text", "tap", "junit", "json")

# What XML 1.0 cannot carry, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def format_report(form: str, plan: JsonObject, results: Sequence[Result], code: int) -> str:
    """The results in one of FORMATS."""
    if form == "json":
        return format_json(plan["stack"], results, code)
    if form == "junit":
        return format_junit(plan["stack"], results)
    return format_tap(results) if form == "tap" else format_text(results)


def format_text(results: Sequence[Result]) -> str:
    """For people."""
    return "\n".join([*map(format_result, results), format_summary(results)])


def format_tap(results: Sequence[Result]) -> str:
    """Test Anything Protocol, version 13."""
    lines = ["TAP version 13", f"1..{len(results)}"]
    for number, result in enumerate(results, 1):
        title = f"{number} - {_hashless(result.subject)}: {_hashless(result.name)}"
        detail = printable(result.detail)
        if result.status == SKIP:
            lines.append(f"ok {title} # SKIP {_hashless(detail)}")
            continue
        lines.append(f"{'not ok' if result.status == FAIL else 'ok'} {title}")
        lines.append(f"# warning: {detail}" if result.status == WARN else f"# {detail}")
    return "\n".join(lines)


def _hashless(text: str) -> str:
    """A hash would begin a directive: `# TODO` in a server's answer must not turn a failure into a pass."""
    return printable(text).replace("\\", "\\\\").replace("#", "\\#")


def format_junit(stack: str, results: Sequence[Result]) -> str:
    """JUnit's XML, as CI systems read it: a suite for each server, a case for each check."""
    root = ET.Element("testsuites", _counts(stack, results))
    for subject in dict.fromkeys(result.subject for result in results):
        own = [result for result in results if result.subject == subject]
        suite = ET.SubElement(root, "testsuite", _counts(subject, own))
        for result in own:
            _add_case(suite, f"{stack}.{subject}", result)
    ET.indent(root)
    # Without other characters than ASCII's, it reads alike whatever the terminal's encoding is.
    return ET.tostring(root, encoding="us-ascii", xml_declaration=True).decode("ascii")


def _counts(name: str, results: Sequence[Result]) -> dict[str, str]:
    statuses = [result.status for result in results]
    return {
        "name": _xml(name),
        "tests": str(len(results)),
        "failures": str(statuses.count(FAIL)),
        "errors": "0",
        "skipped": str(statuses.count(SKIP)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _add_case(suite: ET.Element, classname: str, result: Result) -> None:
    attributes = {"classname": _xml(classname), "name": _xml(result.name), "time": f"{result.seconds:.3f}"}
    case = ET.SubElement(suite, "testcase", attributes)
    detail = _xml(printable(result.detail))
    if result.status == FAIL:
        ET.SubElement(case, "failure", {"message": detail, "type": f"exit {result.code}"}).text = detail
    elif result.status == SKIP:
        ET.SubElement(case, "skipped", {"message": detail})
    else:
        ET.SubElement(case, "system-out").text = f"warning: {detail}" if result.status == WARN else detail


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
