"""Every row of the table is well-formed, and what it names is there. Whether the rows cover a release is asked where
its sources are: tests/engine/test_refusals.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.refusals.answers import faults, why_reachable
from tests.refusals.reached import registered
from tests.refusals.sites import FOLDERS, Site, sites_in
from tests.refusals.table import MalformedRowError, Row, cover, load_rows, read_row

SOURCE = """
class Limits:
    def check(self, asked):
        assert asked > 0
        if asked > 9:
            raise ValueError(f"{asked} is too many")
        try:
            self.count(asked)
        except KeyError as error:
            raise
        def inner():
            raise NotImplementedError
        raise error
"""


@pytest.mark.parametrize("part", FOLDERS)
def test_what_the_rows_name_is_there(part: str) -> None:
    assert [fault for row in load_rows(part) for fault in faults(row)] == []


def test_sites_are_found_with_their_function() -> None:
    found = [(site.function, site.kind) for site in sites_in(SOURCE, "limits.py")]
    assert found == [
        ("Limits.check", "assert"),
        ("Limits.check", "ValueError"),
        ("Limits.check.inner", "NotImplementedError"),
    ]


def test_a_digest_follows_the_statement_and_not_its_place() -> None:
    before, moved = ([site.digest for site in sites_in(text, "x.py")] for text in (SOURCE, f"import os\n\n{SOURCE}"))
    assert before == moved
    changed = [site.digest for site in sites_in(SOURCE.replace("> 0", "> 1"), "x.py")]
    assert changed[0] != before[0]
    assert changed[1:] == before[1:]


def entry(**more: Any) -> dict[str, Any]:
    return {"file": "limits.py", "sites": 1, "says": "a limit", "internal": "nobody gets here"} | more


def row(**more: Any) -> Row:
    return read_row(entry(**more), f"row {more}")


def site(digest: str = "00000001", function: str = "Limits.check") -> Site:
    return Site("limits.py", function, "assert", 1, digest)


def test_the_most_specific_row_has_a_site() -> None:
    rows = [row(file="*.py"), row(), row(function="Limits.*"), row(function="Limits.check"), row(digests=["00000001"])]
    sites = [
        site(),
        site("00000002"),
        site("00000003", "Limits.other"),
        site("00000004", "<module>"),
        Site("other.py", "<module>", "assert", 1, "00000005"),
    ]
    assert cover(rows, sites).problems == ()
    assert cover(rows[1:], sites).uncovered == (sites[-1],)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(sites=2)], "says 2 and covers 1"),
        ([row(), row(digests=["00000009"])], "says 1 and covers 0"),
        ([row(says="one"), row(says="other")], "has several rows"),
    ],
    ids=["another number", "no site", "two rows"],
)
def test_rows_that_do_not_fit_their_release(rows: list[Row], words: str) -> None:
    assert any(words in problem for problem in cover(rows, [site()]).problems)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("limits.py", "no mapping"),
        ({"file": "x.py", "sites": 1, "says": "a limit"}, "needs one"),
        (entry(never="nobody asks"), "has 2 of"),
        (entry(sites=0), "no count"),
        (entry(says=" "), "a text is empty"),
        (entry(digests=[]), "a list is empty"),
        (entry(digests=[45]), "looks like a number"),
        (entry(digests=["0123"]), "looks like a number"),
        (entry(test="tests/x.py::test_x"), "does not go with test"),
        ({"file": "x.py", "sites": 1, "says": "a limit", "rule": "E0401"}, "needs `kept_by` and `test`"),
        ({"file": "x.py", "sites": 1, "says": "a limit", "never": "nobody"}, "needs `kept_by` or `options`"),
    ],
)
def test_malformed_rows(wrong: Any, words: str) -> None:
    with pytest.raises(MalformedRowError, match=words):
        read_row(wrong, "row 1")


RULE = {
    "file": "x.py",
    "sites": 1,
    "says": "a limit",
    "rule": "E0403",
    "kept_by": "compiler.engines.common.refusals:length_refusal",
    "test": "tests/cases/errors/too-long",
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rule": "E0999"}, "is no code of ours"),
        ({"rule": "preflight:99"}, "is no code of ours"),
        ({"kept_by": "compiler.engines.vllm.judge.refusals:no_such_refusal"}, "there is no"),
        ({"kept_by": "compiler.engines.vllm.judge.refusals"}, "there is no"),
        ({"kept_by": "compiler.no_such_module:x"}, "there is no"),
        ({"test": "tests/cases/errors/tokenizer-mode"}, "there is no test"),
        ({"test": "tests/refusals/test_rows.py::test_of_nothing"}, "there is no test"),
    ],
)
def test_what_is_not_there_is_found(changed: dict[str, str], words: str) -> None:
    assert list(faults(read_row(RULE, "row"))) == []
    assert any(words in fault for fault in faults(read_row(RULE | changed, "row")))


def test_rules_by_the_choice_of_values_and_by_preflight() -> None:
    for rule in ("default", "preflight:10"):
        shown = {"rule": rule, "test": "tests/refusals/test_rows.py::test_malformed_rows"}
        assert list(faults(read_row(RULE | shown, "row"))) == []


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--kv-transfer-config", None),
        ("--tensor-parallel-size", "is emitted"),
        ("--enforce-eager", "is the user's to give"),
        ("--load-format=dummy", None),
        ("--load-format=safetensors", "takes this value"),
        ("--no-such-option", "is no option of the release"),
    ],
)
def test_options_that_nobody_gets(option: str, why: str | None) -> None:
    assert why_reachable(option) == why


def test_entries_of_a_registry(tmp_path: Path) -> None:
    (tmp_path / "registry.py").write_text('A = {"XForCausalLM": ("x", "XClass"), "other": "x", **{}}\n')
    assert list(registered(tmp_path / "registry.py")) == [("XForCausalLM", "x")]
