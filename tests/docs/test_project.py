"""CONTRIBUTING, the changelog and the forms of issues: what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler import __version__
from tests.conftest import ROOT
from tests.schema_checker import checked

FOLDER = ROOT / ".github" / "ISSUE_TEMPLATE"
CONFIG = FOLDER / "config.yml"
FORMS = sorted(FOLDER.glob("*.yml"))
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
# Folders of the repository; a build makes the others.
TOPS = r"\.ci|\.github|benchmarks|compiler|docs|generated|stacks|templates|tests|tools"


def test_every_path_that_contributing_names_is_there() -> None:
    text = CONTRIBUTING.read_text()
    named = re.findall(rf"`((?:{TOPS})/[^`\s]*)`", text)
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []
    names = set(re.findall(r"`((?:pyproject|mkdocs|CHANGELOG)\.[a-z]+)`", text))
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_package_of_the_compiler_is_on_the_map() -> None:
    text = CONTRIBUTING.read_text()
    packages = [path.name for path in (ROOT / "compiler").iterdir() if (path / "__init__.py").exists()]
    assert [name for name in packages if f"`compiler/{name}/`" not in text] == []


def test_every_suite_that_contributing_names_is_a_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (CONTRIBUTING, ROOT / "README.md"):
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_every_module_that_contributing_runs_is_there() -> None:
    modules = re.findall(r"`python -m ([a-z_.]+)", CONTRIBUTING.read_text())
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize(
    ("schema", "files"),
    [("issue-forms", [path for path in FORMS if path != CONFIG]), ("issue-config", [CONFIG])],
)
def test_the_forms_are_what_github_takes(schema: str, files: list[Path]) -> None:
    result = checked("--builtin-schema", f"vendor.github-{schema}", *files)
    assert result.exit_code == 0, result.output


def test_a_bug_s_form_asks_for_what_reproduces_it() -> None:
    text = (FOLDER / "bug.yml").read_text()
    assert all(f"id: {name}\n" in text for name in ("version", "spec", "lock", "output"))


def test_the_changelog_has_the_kinds_of_changes_in_order() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert __version__ in text
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (\w+)$", part, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]
