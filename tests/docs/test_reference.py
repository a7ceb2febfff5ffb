"""The reference has every key, command, option, code and program, each with a word on it."""

from __future__ import annotations

import json
import re

import click
import pytest
from click.testing import CliRunner

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import COMMANDS, cli
from compiler.diagnostics import CODES
from compiler.engines.interface.engine import Engine
from compiler.engines.registry import ENGINES
from compiler.schemas.documents import SCHEMAS
from tests.conftest import ROOT
from tools.build_docs import reference
from tools.reference.codes import page_name
from tools.reference.markdown import cell
from tools.reference.programs import STACK, programs
from tools.reference.schemas import anchor
from tools.reference.values import kind_of


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return reference()


def rows(text: str) -> dict[str, list[str]]:
    """Cells of each row by the first, whose word is in backticks."""
    lines = re.findall(r"^\| `(.+?)` \| (.*) \|$", text, re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split(" | ")] for first, rest in lines}


@pytest.mark.parametrize("document", SCHEMAS)
def test_every_key_of_a_document_is_described(made: dict[str, str], document: str) -> None:
    text = made[f"reference/{document}.md"]
    schema = json.loads((ROOT / "docs" / "schema" / f"{document}.json").read_text())
    maps = [schema, *(each for each in schema.get("$defs", {}).values() if "properties" in each)]
    assert text.count("\n## ") == len(maps)
    for each in maps:
        for key, value in each["properties"].items():
            found = re.findall(rf"^\| `{key}` \| (.*?) \| ", text, re.MULTILINE)
            described = value.get("description", "")
            assert described, f"{document}: `{key}` has no line below `Attributes:`"
            assert cell(described) in found


def test_links_of_a_document_lead_to_its_sections(made: dict[str, str]) -> None:
    for document in SCHEMAS:
        text = made[f"reference/{document}.md"]
        sections = re.findall(r"^## (.*) \{ #(.*) \}$", text, re.MULTILINE)
        assert len({place for _, place in sections}) == len(sections)
        assert all(anchor(title) == place for title, place in sections)
        assert set(re.findall(r"\]\(#(.*?)\)", text)) <= {place for _, place in sections}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"enum": ["a", "b", "c"]}, "`a`, `b` or `c`"),
        ({"enum": ["a"]}, "`a`"),
        ({"const": 1}, "`1`"),
        ({"type": "integer", "minimum": 1, "maximum": 64}, "a whole number, 1 to 64"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 3600}, "a number, more than 0 to 3600"),
        ({"type": "integer", "minimum": 1, "maximum": 2147483647}, "a whole number from 1"),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, "`true` or `false`"),
        ({"type": "array", "items": {"$ref": "#/$defs/Row"}}, "a list of [Row]"),
        ({"type": "object", "patternProperties": {"x": {"$ref": "#/$defs/Node"}}}, "a map of [Node]"),
        ({"type": "object", "additionalProperties": True}, "a map"),
        ({}, "anything"),
    ],
)
def test_a_value_is_told_in_words(schema: dict[str, object], says: str) -> None:
    assert kind_of(schema, lambda name: f"[{name}]") == says


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(made: dict[str, str], name: str) -> None:
    section = re.search(rf"^## stackc {name}\n(.*?)(?=^## |\Z)", made["reference/commands.md"], re.M | re.S)
    assert section is not None
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    assert (command.help or "").split("\n")[0].split(".")[0].replace("*", "\\*") in section[1]
    told = rows(section[1])
    for option in command.params:
        if isinstance(option, click.Option):
            (found,) = [text for written, text in told.items() if option.opts[-1] in re.split(r"[ ,]+", written)]
            assert found[0].partition("\\[default")[0], f"stackc {name} {option.opts[0]} has no help"


def test_examples_of_a_command_keep_their_lines(made: dict[str, str]) -> None:
    """Of `stackc init --help` too: a character that click reads was printed, and the lines were one."""
    assert "\nstackc init --from coder-96gb my-coder\n" in made["reference/commands.md"]
    assert "\\b" not in made["reference/commands.md"]
    for name in COMMANDS:
        assert "\\b" not in CliRunner().invoke(cli, [name, "--help"]).stdout


def test_every_code_has_its_page_and_its_place(made: dict[str, str]) -> None:
    for code, each in CODES.items():
        assert f"## {code}: {each.title} {{ #{code} }}" in made[page_name(code)]
        assert f"[{code}]({page_name(code).removeprefix('reference/')}#{code})" in made["reference/codes.md"]


def test_a_code_s_block_is_not_taken_for_headings(made: dict[str, str]) -> None:
    for place, text in made.items():
        if "codes-" in place:
            outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
            assert len(re.findall(r"^# ", outside, re.M)) == 1, place
            inside = [line for block in re.findall(r"^```.*?^```$", text, re.M | re.S) for line in block.splitlines()]
            assert not [line for line in inside if line.startswith("## ")], place


def test_every_gpu_has_a_row_and_its_sources(made: dict[str, str]) -> None:
    text = made["reference/gpus.md"]
    assert all(text.count(f"\n| `{name}` |") == 2 for name in GPUS)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: str(engine.name))
def test_what_an_engine_has_is_there(made: dict[str, str], engine: Engine) -> None:
    text = made["reference/engines.md"]
    (section,) = re.findall(rf"^## {re.escape(engine.title)} \{{.*?(?=^## )", text, re.M | re.S)
    told = set(re.findall(r"`([^`]+)`", section))
    assert told >= {*engine.releases, *engine.keys, *(word for words in engine.words.values() for word in words.known)}
    for version, release in engine.releases.items():
        host = engine.pin(version, None, assumes_full=False).host(on_gpu=release.build != "cpu")
        assert told >= {host.container.image, *host.metrics.metrics, *(name for name, _ in engine.options(version))}
        assert all(f"`{series}`" in text for series in host.signals.values())


def test_every_emitted_program_is_there(made: dict[str, str]) -> None:
    text = made["reference/programs.md"]
    names = programs(ROOT / "generated" / STACK)
    assert {"bench", "gateway", "install", "launch-SERVICE", "rollout", "smoke-test", "wait-ready"} <= names.keys()
    for name in names:
        assert re.search(rf"^## {name}\n\n```text\nusage: {name}\b", text, re.M), name
    # Of all shipped stacks: no program is left out because that stack has none of its kind.
    others = {each for tree in (ROOT / "generated").iterdir() if (tree / "bin").is_dir() for each in programs(tree)}
    assert others <= names.keys()
    assert "| 12 | preflight |" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n  b", "a b"), ("a | b", "a \\| b"), ("`x|y` | `z|`", "`x|y` \\| `z|`")],
)
def test_a_cell_is_one_cell(text: str, shown: str) -> None:
    assert cell(text) == shown
