"""What the pages name in passing exists: keys, programs, folders, codes that may pass by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from compiler.cli.settings import _KEYS as SETTINGS
from compiler.diagnostics import CODES
from compiler.pipeline import TARGETS
from compiler.schemas.documents import SCHEMAS, schema_of
from compiler.schemas.generator import schemas_in
from tests.conftest import ROOT
from tests.docs.blocks import pages
from tools.reference.programs import programs

TREES = [path.parent for path in (ROOT / "generated").glob("**/plan.json")]
PAGES = [page for page in pages() if page.name != "CONTRIBUTING.md"]


def keys_of(schema: Any) -> set[str]:
    return {
        key for each in schemas_in(schema) if isinstance(each.get("properties"), dict) for key in each["properties"]
    }


@pytest.fixture(scope="module")
def spec_keys() -> set[str]:
    return keys_of(schema_of("spec"))


@pytest.fixture(scope="module")
def all_keys() -> set[str]:
    return {key for document in SCHEMAS for key in keys_of(schema_of(document))}


def words(text: str) -> Iterator[str]:
    """What stands in backticks within a line."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_keys_that_a_page_names_are_keys(page: Any, spec_keys: set[str], all_keys: set[str]) -> None:
    for word in words(page.read_text()):
        given = re.match(r"([a-z_]+): ", word)
        if given is not None:
            assert given[1] in spec_keys | SETTINGS, word
        dotted = re.fullmatch(r"([a-z_]+)\.([a-z_0-9]+)", word)
        if dotted is not None and dotted[1] in spec_keys and dotted[2] not in ("json", "yaml", "md", "toml"):
            assert dotted[2] in all_keys, word


def test_programs_that_the_pages_run_are_emitted() -> None:
    known = {path.name for tree in TREES for path in programs(tree).values()}
    for page in PAGES:
        # Not those of an environment that the reader makes.
        named = set(re.findall(r"(?<!\.engine/cpu/)(?<!/stackc/)\bbin/([a-z][a-z-]*[a-z])", page.read_text()))
        assert named - {"launch"} <= known, page


def test_the_table_of_what_is_emitted_is_whole() -> None:
    rows = re.findall(r"^\| (`.*?) \| ", (ROOT / "docs" / "explanation" / "output.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    tops = {path.name + ("/" if path.is_dir() else "") for tree in TREES for path in tree.iterdir()}
    told = {name.split("/")[0] + ("/" if "/" in name else "") for name in named}
    # Quadlets and jobs are of no shipped stack; `bin/` has a row for each program.
    assert {"quadlet", "slurm"} <= TARGETS.keys()
    assert tops <= told
    assert told - tops <= {"quadlet/", "slurm/"}
    emitted = {f"bin/{name}" for tree in TREES for name in programs(tree)}
    assert {name for name in named if name.startswith("bin/")} == emitted


def test_the_variables_that_are_read_are_told_and_no_others() -> None:
    told = set(re.findall(r"`([A-Z][A-Z_]+)(?:=\w+)?`", (ROOT / "docs" / "reference" / "environment.md").read_text()))
    code = "".join(path.read_text() for path in (ROOT / "compiler").rglob("*.py"))
    asked = set(re.findall(r"environ\.get\(\"([A-Z_]+)\"", code)) | set(re.findall(r"known\.get\(\"([A-Z_]+)\"", code))
    assert "HF_ENDPOINT" in asked
    assert asked <= told
    assert {name for name in told if not re.search(rf"\b{name}\b", code)} == set()


def test_the_exit_codes_page_names_what_may_pass_by_itself() -> None:
    (row,) = re.findall(r"^\| 3 \|.*$", (ROOT / "docs" / "reference" / "exit-codes.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(E\d{4})`", row)) == {code for code, each in CODES.items() if each.is_outside}
