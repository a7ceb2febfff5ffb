"""Each folder of errors/ is a spec that must not compile, with the message that its user reads.

A case is a folder: NAME/NAME.yaml, the lock beside it if it needs one, and expected.txt, which `pytest --force-regen`
rewrites. Every help that is offered as a change is applied, and the spec must then compile.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pytest_regressions.file_regression import FileRegressionFixture

from compiler.cli.looking import ToldLooking
from compiler.cli.lsp.text import rewritten
from compiler.cli.main import cli
from compiler.cli.run.lock import lock_spec
from compiler.diagnostics import CODES, Edit, SourceText, has_errors
from compiler.pipeline import compile_stack, explain_stack
from compiler.resolve.transport.hub import Hub
from compiler.solve.solve import apply_edits
from compiler.source.document import load_document
from tests.hub.server import LoopbackHub, serve

ERRORS = Path(__file__).parent / "errors"
CASES = sorted(path.name for path in ERRORS.iterdir() if path.is_dir())

# Codes that need a Hub, a full disk or a changed tree; the file that provokes each.
ELSEWHERE = {
    "E0104": "tests/unit/test_cli_compile.py",
    "E0213": "tests/unit/test_calibrate.py",
    "E0304": "tests/hub/test_resolve.py",
    "E0310": "tests/hub/test_hub.py",
    "E0311": "tests/hub/test_hub.py",
    "E0312": "tests/hub/test_hub.py",
    "E0313": "tests/hub/test_bounds.py",
    "E0314": "tests/hub/test_deadline.py",
    "E0316": "tests/unit/test_unwritable.py",
    "E0317": "tests/registry/test_images.py",
    "E0319": "tests/registry/test_images.py",
    "E0320": "tests/models/test_user.py",
    "E0321": "tests/models/test_user.py",
    "E0601": "tests/unit/test_cli_compile.py",
    "E0602": "tests/unit/test_cli_compile.py",
    "E0603": "tests/unit/test_cli_compile.py",
    "E0604": "tests/unit/test_templates.py",
    "E0605": "tests/unit/test_templates.py",
    "E0606": "tests/output/test_edited.py",
    "E0701": "tests/unit/test_prices_user.py",
    "E0702": "tests/unit/test_prices_user.py",
    "E0703": "tests/unit/test_prices_user.py",
    "E0704": "tests/unit/test_prices_user.py",
    "W0201": "tests/unit/test_calibrate.py",
    "W0204": "tests/unit/test_mig_on_host.py",
    "W0255": "tests/unit/test_replicas.py",
    "W0302": "tests/unit/test_assumed.py",
    "W0301": "tests/cases/test_stacks.py",
    "W0304": "tests/registry/test_images.py",
    "W0305": "tests/unit/test_levels.py",
    "W0306": "tests/unit/test_remote_code.py",
    "W0307": "tests/models/test_user.py",
    "W0308": "tests/unit/test_licences.py",
    "W0401": "tests/unit/test_objectives.py",
    "W0402": "tests/unit/test_objectives.py",
    "W0503": "tests/unit/test_solve_scores.py",
    "W0701": "tests/unit/test_prices_user.py",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with serve() as server:
        yield server


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a case's folder, and the working directory, so that messages hold no machine's path."""
    folder = tmp_path / request.param
    shutil.copytree(ERRORS / request.param, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_message(case: Path, file_regression: FileRegressionFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine it would say that it is still looking.
    monkeypatch.setattr(ToldLooking, "_LATE", math.inf)
    result = CliRunner().invoke(cli, ["compile", f"{case.name}.yaml", "--output", "out", "--verbose"])
    assert result.exit_code == 1, result.output
    assert not Path("out").exists(), "an error must leave nothing behind"
    file_regression.check(result.output, fullpath=ERRORS / case.name / "expected.txt")


def diagnostics_of(name: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(cli, ["compile", f"{name}.yaml", "--output", "out", "--format", "json"])
    found: list[dict[str, Any]] = json.loads(result.output)["diagnostics"]
    return [diagnostic for diagnostic in found if diagnostic["severity"] == "error"]


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_every_offered_change_compiles(case: Path, hub: LoopbackHub) -> None:
    errors = diagnostics_of(case.name)
    offers = [[help_["edits"] for help_ in error["helps"] if help_["edits"]] for error in errors]
    text = (case / f"{case.name}.yaml").read_text()
    for edits in chain.from_iterable(offers):
        assert rewritten(text, list(map(edit_of, edits))) is not None, f"no editor can offer {edits}"
    if not all(offers):
        needs_words = {error["code"] for error, offered in zip(errors, offers, strict=True) if not offered}
        assert needs_words <= {
            "E0101", "E0102", "E0103", "E0201", "E0202", "E0203", "E0204", "E0206", "E0207", "E0208", "E0209",
            "E0221", "E0222", "E0301", "E0302", "E0303", "E0307", "E0308", "E0309", "E0315",
            "E0260", "E0330", "E0331",
        }  # fmt: skip
        return
    document, _ = load_document(SourceText(case.name, text))
    assert document is not None
    changes = [apply_edits(document.data, list(map(edit_of, edits))) for edits in chosen(offers)]
    for index, data in enumerate(changes):
        # What is planned is rendered alike, and rendering takes most of the time: once is enough.
        if data not in changes[:index]:
            assert_compiles(case, data, hub, is_rendered=index == 0)


def chosen(offers: list[list[list[dict[str, Any]]]]) -> Iterator[list[dict[str, Any]]]:
    """Every offer, with the first of what is offered against each other error."""
    for which, offered in enumerate(offers):
        others = list(chain.from_iterable(other[0] for index, other in enumerate(offers) if index != which))
        yield from ([*others, *edits] for edits in offered)


def edit_of(data: dict[str, Any]) -> Edit:
    value = data["value"]
    return Edit(tuple(data["path"]), tuple(value) if isinstance(value, list) else value)


def assert_compiles(case: Path, data: dict[str, Any], hub: LoopbackHub, *, is_rendered: bool) -> None:
    spec, ask = case / f"{case.name}.yaml", compile_stack if is_rendered else explain_stack
    spec.write_text(json.dumps(data))
    compiled, found = ask(spec, spec.name)
    if {diagnostic.code for diagnostic in found} & {"E0301", "E0302"}:
        locked, _ = lock_spec(spec, spec.name, Hub(hub.url))
        assert not has_errors(locked)
        compiled, found = ask(spec, spec.name)
    assert compiled is not None, [(diagnostic.message, data) for diagnostic in found]
    assert compiled.plans, [(diagnostic.message, data) for diagnostic in found]


def test_every_code_has_a_case() -> None:
    shown = {
        code for name in CASES for code in re.findall(r"\[([EW]\d{4})\]", (ERRORS / name / "expected.txt").read_text())
    }
    assert shown | ELSEWHERE.keys() == CODES.keys()


def test_codes_without_a_folder_are_provoked_where_the_table_says(root: Path) -> None:
    for code, file in ELSEWHERE.items():
        assert code in (root / file).read_text(), f"{code} is not in {file}"


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_page(code: str) -> None:
    result = CliRunner().invoke(cli, ["explain", code])
    assert result.exit_code == 0
    assert result.output.startswith(f"# {code}: {CODES[code].title}\n")
    for heading in ("## Example", "## What to do"):
        assert heading in result.output
