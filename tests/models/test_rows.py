"""What the registry says of models: every row is whole, has a source, and names only what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from compiler.engines.vllm.answers.parser_table import Role
from compiler.engines.vllm.options.catalog import load_flags
from compiler.registry.data import rows, table
from compiler.registry.entry import ModelEntry, Source
from compiler.registry.read import licenses, registry
from tests.conftest import ROOT

MODELS = registry().models
SETS = registry().sets
SOURCES = registry().sources
RELEASE = "0.33.0"
# Fields of an entry that say what it is, and not what somebody found out.
_ITSELF = {"id", "kind", "tasks", "reasoning", "modalities", "downloads", "sources"}
_BESIDE = {"quantized", "recipe", "base_model", "context_note", "good_for", "not_good_for", "trap"}


def test_no_model_is_told_twice() -> None:
    names = [row["id"].lower() for row in rows("models")]
    assert len(names) == len(set(names)) >= 302


def test_files_are_sorted_and_of_one_publisher() -> None:
    """Who amends a row finds it where it is looked for."""
    for file in sorted((ROOT / "compiler/registry/data/models").glob("*.json")):
        names = [row["id"] for row in json.loads(file.read_bytes())]
        assert names == sorted(names, key=str.lower), file.name
        publishers = {name.partition("/")[0].lower() for name in names}
        assert file.stem == "others" or publishers == {file.stem}, file.name


def test_what_people_were_recommended_elsewhere_is_there() -> None:
    """Also what is only to be warned about: who asks for it learns why."""
    named = (Path(__file__).parent / "seeds.txt").read_text().split()
    assert len(named) == 130
    assert set(named) <= set(MODELS)


def test_every_licence_is_of_the_list_and_can_be_read() -> None:
    assert {row["license"] for row in rows("models")} <= set(licenses())
    for entry in MODELS.values():
        assert registry().license_link(entry), entry.id
        # A condition is what makes it conditional; without one nobody knows what to heed.
        assert entry.license.condition or entry.license.commercial != "conditional", entry.id


def test_what_is_said_has_a_source() -> None:
    bare = {entry.id: lacking for entry in MODELS.values() if (lacking := _said(entry) - set(entry.sources))}
    assert bare == {}
    assert {name for entry in MODELS.values() for name in entry.sources} <= set(ModelEntry.model_fields)


def _said(entry: ModelEntry) -> set[str]:
    """Fields that somebody found out, and not what a model is, or what another field brings with it."""
    said = {name for name in entry.model_fields_set if getattr(entry, name) not in (None, (), "unknown")}
    return said - _ITSELF - _BESIDE


def test_sources_are_known_and_used() -> None:
    """A key that is spelled wrongly would be taken for a title."""
    named = [text for entry in MODELS.values() for text in entry.sources.values()] + [each.source for each in SETS]
    keys = {text.partition(": ")[0] for text in named}
    assert {key for key in keys if re.fullmatch(r"[a-z0-9.-]+", key)} == set(SOURCES)


def test_sources_are_dated_or_say_what_they_are() -> None:
    read = {key: Source.model_validate(row) for key, row in table("sources").items()}
    assert [key for key, source in read.items() if source.date is None] == ["dense", "kind"]


@pytest.mark.parametrize(("field", "role"), [("tool_call_parser", Role.TOOLS), ("reasoning_parser", Role.REASONING)])
def test_parsers_are_those_of_the_release(field: str, role: Role) -> None:
    """A server that is told a name which vLLM does not have ends at its start."""
    flag = load_flags(RELEASE).find(role)
    assert flag is not None
    named = {entry.id: getattr(entry, field) for entry in MODELS.values() if getattr(entry, field) is not None}
    assert named
    assert {name: parser for name, parser in named.items() if parser not in flag.registered} == {}


def test_a_model_with_a_parser_is_said_to_use_it() -> None:
    for entry in MODELS.values():
        assert entry.tool_call_parser is None or entry.tools == "yes", entry.id
        assert entry.reasoning_parser is None or entry.reasoning == "yes", entry.id


def test_quantized_repositories_are_of_one_model() -> None:
    """Of two, a plan would have the facts of the one or of the other."""
    named = [each.repository.lower() for entry in MODELS.values() for each in entry.quantized]
    assert len(named) == len(set(named))


def test_scores_are_of_known_models_and_have_a_source() -> None:
    for each in SETS:
        assert set(each.values) <= set(MODELS), each.title
        assert registry().source_of(each.source).title, each.title


def test_scores_are_dated_but_of_leaderboards_that_are_not() -> None:
    """What nothing dates grades nothing: the catalogue that has these names no day, and whoever adds a set has to."""
    undated = {each.source.partition("/")[0] for each in SETS if each.date is None}
    assert undated == {
        "models.dev: aider.chat",
        "models.dev: artificialanalysis.ai",
        "models.dev: labs.scale.com",
        "models.dev: openrouter.ai",
        "models.dev: www.swebench.com",
    }
