"""The rows of the table: which sites each covers, and what of ours keeps them from being reached."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from compiler.engines.vllm.releases import RELEASES
from tests.plain_yaml import read_yaml
from tests.refusals.sites import FOLDERS, Site

RELEASE = next(release.version for release in RELEASES.values() if release.build == "gpu")
HERE = Path(__file__).parent

ANSWERS = ("rule", "never", "internal")
_NEEDED = {"file", "sites", "says"}
_ALLOWED = {
    "rule": {"kept_by", "test"},
    "never": {"kept_by", "options"},
    "internal": set[str](),
}
_WILD = "*?["
_DIGEST = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        where: its file and place in it, for messages.
        file, function: exact or globs; an empty function is any.
        digests: of the sites that it covers; none for all.
        sites: how many it covers, exactly.
        says: what the engine refuses there.
        answer: `rule`, `never` or `internal`.
        reason: the code of a rule, or why it is never reached, or why it is the engine's own affair.
        kept_by: `module:symbol` that keeps it from being reached.
        test: `file::name` that shows it.
        options: of `vllm serve` that none of our servers gets.
    """

    where: str
    file: str
    function: str
    digests: frozenset[str]
    sites: int
    says: str
    answer: str
    reason: str
    kept_by: str | None = None
    test: str | None = None
    options: tuple[str, ...] = ()
    weight: tuple[bool, int, int] = field(default=(False, 0, 0))

    def covers(self, site: Site) -> bool:
        """Whether a site is one of its own, if no other row is more specific."""
        return (
            fnmatchcase(site.file, self.file)
            and (not self.function or fnmatchcase(site.function, self.function))
            and (not self.digests or site.digest in self.digests)
        )


class MalformedRowError(ValueError):
    """A row that is not of the form that the table has."""


def load_rows(part: str, release: str = RELEASE) -> tuple[Row, ...]:
    """The rows of one part, in their order; none where it is not written yet.

    Raises:
        MalformedRowError: naming the row and what is wrong with it.
    """
    path = HERE / f"vllm-{release}" / f"{part}.yaml"
    entries = read_yaml(path.read_text()) if path.is_file() else None
    return tuple(read_row(entry, f"{path.name}, row {index}") for index, entry in enumerate(entries or (), 1))


def all_rows(release: str = RELEASE) -> tuple[Row, ...]:
    """Every row of the table."""
    return tuple(row for part in FOLDERS for row in load_rows(part, release))


def read_row(entry: Any, where: str) -> Row:
    """One entry of a file.

    Raises:
        MalformedRowError: it is not of the form that the table has.
    """
    where = f"{where} ({entry.get('file')} {entry.get('function', '')})" if isinstance(entry, dict) else where
    if problem := _problem(entry):
        raise MalformedRowError(f"{where}: {problem}")
    answer = next(key for key in ANSWERS if key in entry)
    file, function = entry["file"], entry.get("function", "")
    digests = frozenset(map(str, entry.get("digests", ())))
    return Row(
        where=where,
        file=file,
        function=function,
        digests=digests,
        sites=entry["sites"],
        says=entry["says"],
        answer=answer,
        reason=str(entry[answer]),
        kept_by=entry.get("kept_by"),
        test=entry.get("test"),
        options=tuple(entry.get("options", ())),
        weight=(bool(digests), _exactness(function) if function else 0, _exactness(file)),
    )


def _exactness(pattern: str) -> int:
    return 1 if any(char in pattern for char in _WILD) else 2


def _problem(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return "it is no mapping"
    answers = [key for key in ANSWERS if key in entry]
    if len(answers) != 1:
        return f"it has {len(answers)} of {', '.join(ANSWERS)}, and needs one"
    missing = _NEEDED - entry.keys()
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    strange = entry.keys() - _NEEDED - {answers[0], "function", "digests"} - _ALLOWED[answers[0]]
    if strange:
        return f"`{answers[0]}` does not go with {', '.join(sorted(strange))}"
    return _weak(entry, answers[0]) or _strange_values(entry)


def _weak(entry: Mapping[str, Any], answer: str) -> str | None:
    """Whatever is said must be checkable."""
    if answer == "rule" and not {"kept_by", "test"} <= entry.keys():
        return "a rule needs `kept_by` and `test`"
    if answer == "never" and not {"kept_by", "options"} & entry.keys():
        return "`never` needs `kept_by` or `options`"
    return None


def _strange_values(entry: Mapping[str, Any]) -> str | None:
    if not isinstance(entry["sites"], int) or entry["sites"] < 1:
        return "`sites` is no count"
    texts = [entry[key] for key in ("file", "function", "says", "kept_by", "test", *ANSWERS) if key in entry]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return "a text is empty, or no text"
    # Without quotes, 09486e86 and 01234567 are other numbers.
    digests = entry.get("digests", ())
    if not all(isinstance(digest, str | int) and _DIGEST.fullmatch(str(digest)) for digest in digests):
        return "a digest is none, or has no quotes and looks like a number"
    lists = [entry[key] for key in ("digests", "options") if key in entry]
    return None if all(isinstance(items, list) and items for items in lists) else "a list is empty, or no list"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What rows make of sites.

    Attributes:
        uncovered: sites without a row.
        problems: sites with several rows of one weight, and rows that cover another number than they say.
    """

    uncovered: tuple[Site, ...]
    problems: tuple[str, ...]


def cover(rows: Iterable[Row], sites: Iterable[Site]) -> Coverage:
    """Give each site to its most specific row: digests before functions before files, exact ones before globs."""
    rows = tuple(rows)
    taken: dict[str, int] = defaultdict(int)
    uncovered, problems = [], []
    for site in sites:
        fitting = [row for row in rows if row.covers(site)]
        if not fitting:
            uncovered.append(site)
            continue
        best = max(row.weight for row in fitting)
        own = [row for row in fitting if row.weight == best]
        if len(own) > 1:
            problems.append(f"{site} has several rows: {'; '.join(row.where for row in own)}")
        for row in own:
            taken[row.where] += 1
    problems += [f"{row.where} says {row.sites} and covers {n}" for row in rows if (n := taken[row.where]) != row.sites]
    return Coverage(tuple(uncovered), tuple(problems))
