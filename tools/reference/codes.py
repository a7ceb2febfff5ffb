"""The pages of the error and warning codes: what `stackc explain CODE` prints, a page for each hundred."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from compiler.cli.commands.explain import page_of
from compiler.diagnostics import CODES
from tools.reference.markdown import table

GROUPS = {
    "E01": "Errors of reading a file",
    "E02": "Errors of a spec",
    "E03": "Errors of models, locks and images",
    "E04": "Errors of memory and speed",
    "E05": "Errors of engine options",
    "E06": "Errors of the output",
    "E07": "Errors of prices and hardware",
    "W02": "Warnings of a spec",
    "W03": "Warnings of models, locks and images",
    "W04": "Warnings of speed",
    "W05": "Warnings of engine options",
    "W07": "Warnings of prices and hardware",
}
"""By the first three characters. A code of another hundred stops the build until it has a title."""


def pages() -> dict[str, str]:
    """One for each group, and the list of all codes."""
    grouped = {name: list(codes) for name, codes in groupby(sorted(CODES), key=lambda code: code[:3])}
    made = {page_name(codes[0]): _group(name, codes) for name, codes in grouped.items()}
    return {"reference/codes.md": _index(), **made}


def page_name(code: str) -> str:
    """Where a code's page stands."""
    return f"reference/codes-{code[:3].lower()}.md"


def _index() -> str:
    rows = [(_link(code), each.title) for code, each in sorted(CODES.items())]
    head = "# Error and warning codes\n\n`stackc explain CODE` prints the same page, and `stackc explain` this list.\n"
    return f"{head}\n{table(('code', 'what it says'), rows)}"


def _link(code: str) -> str:
    return f"[{code}]({page_name(code).removeprefix('reference/')}#{code})"


def _group(name: str, codes: Iterable[str]) -> str:
    return "\n".join((f"# {GROUPS[name]}\n", *(_lowered(code, page_of(code)) for code in codes)))


def _lowered(code: str, page: str) -> str:
    """The page one level down, to be found by its code; what stands in its blocks is no heading."""
    first, _, rest = page.partition("\n")
    parts = re.split(r"(^```.*?^```$)", rest, flags=re.MULTILINE | re.DOTALL)
    below = "".join(part if part.startswith("```") else re.sub(r"^#", "##", part, flags=re.MULTILINE) for part in parts)
    return f"#{first} {{ #{code} }}\n{below}"
