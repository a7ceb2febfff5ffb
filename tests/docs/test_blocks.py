"""Scripts and YAML of the pages that no test can run are read: by a shell, by the reader of specs, by their schemas."""

from __future__ import annotations

import datetime as dt
import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from compiler.checks.stack import check_spec
from compiler.cli.settings import levels_for
from compiler.diagnostics import Severity, SourceText
from compiler.engines.registry import ENGINES
from compiler.prices.user import read_user_prices
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import load_spec
from tests.conftest import ROOT, tool
from tests.docs.blocks import Block, blocks

# What a fragment of a spec stands in.
AROUND: dict[str, Any] = {
    "stack": "fragment",
    "engine": {"vllm": "0.33.0"},
    "nodes": {"server": {"gpus": {"model": "rtx-5090"}}},
    "services": {
        "chat": {"model": "Qwen/Qwen3-8B", "context": "16K", "port": 8000},
        "coder": {"model": "Qwen/Qwen3-4B", "context": "16K", "port": 8001},
    },
}
WHOLE = {"stack", "engine", "nodes", "services"}
SCRIPTS = blocks("bash")
DOCUMENTS = blocks("yaml")
"""Specs and fragments of specs, unless the first line names another file."""


def test_a_shell_can_read_every_script(tmp_path: Path) -> None:
    """shellcheck parses as bash does, and knows more traps; a folder's names are ours."""
    names = {}
    for number, block in enumerate(SCRIPTS):
        path = tmp_path / f"{number}.sh"
        path.write_text(f"# {block.place}\n{block.text}")
        names[str(path)] = block.place
    assert names
    # SC2164: a reader sees whether `cd` failed.
    words = [tool("shellcheck"), "--shell=bash", "--severity=warning", "--exclude=SC2164", "--format=gcc", *names]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = done.stdout
    for path, place in names.items():
        told = told.replace(f"{path}:", f"{place}: ")
    assert done.returncode == 0, told


def other_file(block: Block) -> str:
    """The file that a block's first line names; empty for a spec."""
    first = block.text.partition("\n")[0]
    name = first.removeprefix("# ") if first.startswith("# ") else ""
    return "" if name.startswith(("stacks/", "yaml-language-server")) else name


@pytest.mark.parametrize("block", [each for each in DOCUMENTS if not other_file(each)], ids=lambda block: block.place)
def test_a_spec_or_a_part_of_one_is_taken(block: Block) -> None:
    document, problems = load_document(SourceText(block.place, block.text))
    assert not problems
    given = (document.data if document is not None else None) or {}
    assert given.keys() <= Spec.model_fields.keys(), "name the file in the first line, if it is no spec"
    text = block.text if given.keys() >= WHOLE else as_yaml(AROUND | dict(given))
    file, problems = load_spec(SourceText(f"{given.get('stack', 'fragment')}.yaml", text), ENGINES)
    assert file is not None, problems
    assert [each for each in check_spec(file, ENGINES) if each.severity is Severity.ERROR] == []


def as_yaml(data: Mapping[str, Any]) -> str:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(dict(data), stream)
    return stream.getvalue()


def of_stackc_yaml(data: Any, folder: Path) -> None:
    (folder / "stackc.yaml").write_text(as_yaml(data))
    assert levels_for(folder / "x.yaml").of


def of_pre_commit(data: Any, folder: Path) -> None:
    known = {hook["id"] for hook in YAML(typ="safe", pure=True).load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    (repository,) = data["repos"]
    assert {hook["id"] for hook in repository["hooks"]} <= known


def of_models_yaml(data: Any, _: Path) -> None:
    prices, problems = read_user_prices(SourceText("models.yaml", as_yaml(data)), dt.date(2026, 11, 30))
    assert problems == ()
    assert len(prices.rentals) == len(data.get("prices", ()))
    assert len(prices.owned) == len(data.get("hardware", ()))


OTHERS = {"stackc.yaml": of_stackc_yaml, "models.yaml": of_models_yaml, ".pre-commit-config.yaml": of_pre_commit}


@pytest.mark.parametrize("block", [each for each in DOCUMENTS if other_file(each)], ids=lambda block: block.place)
def test_another_file_is_what_its_reader_takes(block: Block, tmp_path: Path) -> None:
    OTHERS[other_file(block)](YAML(typ="safe", pure=True).load(block.text), tmp_path)
