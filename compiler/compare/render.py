"""Differences as lines for people, as Markdown for a review, and as plain data for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from compiler.compare.differ import Change, Kind, TreeDiff
from compiler.compare.facts import Value, is_size
from compiler.compare.restarts import Deed, Manager, Restart
from compiler.units import format_gib

WIDTH = 80
# As many lines of a summary as fit on a screen of 25 with what `compile --check` says besides.
MOST = 14
_FEW = 4
_COMMIT = 12


def lines(diffs: Sequence[TreeDiff], *, is_whole: bool = False) -> list[str]:
    """One line for each difference, of at most 80 columns; a longer one goes on, indented.

    Args:
        is_whole: whether derived figures and every file are told, and nothing is cut off.
    """
    found = [line for diff in diffs for line in _of_tree(diff, is_whole=is_whole)]
    folded = [part for line in found for part in _folded(line)]
    if is_whole or len(folded) <= MOST:
        return folded
    return [*folded[: MOST - 1], f"and {len(folded) - MOST + 1} lines more: `stackc diff -v` shows all"]


def _folded(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False) or [line]


def _of_tree(diff: TreeDiff, *, is_whole: bool) -> Iterator[str]:
    if diff.is_library:
        yield f"the library of programs changes: {_files(diff, is_whole=is_whole)}"
        return
    if diff.kind is not Kind.CHANGED:
        titles = [change.title for change in diff.changes]
        named = f": {', '.join(titles) if is_whole else some(titles)}" if titles else ""
        yield f"{diff.tree}: {diff.kind.value}, {_count(len(diff.files), 'file')}{named}"
        return
    if not diff.is_readable:
        yield f"{diff.tree}: plan.json cannot be read, so only files are compared"
    shown = diff.changes if is_whole else _not_derived(diff)
    # What restarts is never cut off for the sake of what changed.
    most = len(shown) if is_whole else max(_FEW, MOST - len(diff.restarts) - 2)
    for change in shown[:most]:
        yield f"{diff.tree}: {sentence(change)}"
    if rest := len(diff.changes) - len(shown[:most]):
        besides = len(diff.changes) - len(shown)
        kind = "derived figure" if rest == besides else "other change"
        yield f"{diff.tree}: {_count(rest, kind)}"
    for restart in diff.restarts:
        yield f"{diff.tree}: {reason(diff, restart)}"
    if diff.files:
        yield f"{diff.tree}: {_files(diff, is_whole=is_whole)}"


def _not_derived(diff: TreeDiff) -> tuple[Change, ...]:
    return tuple(change for change in diff.changes if not change.is_derived)


def sentence(change: Change) -> str:
    """One change: `chat: KV cache 12.50 -> 10.19 GiB`."""
    subject = f"{change.title}: " if change.title else ""
    if change.path == change.thing and change.before is None and change.after is None:
        return f"{subject}{change.kind.value}"
    before, after = _pair(change)
    return f"{subject}{change.words} {before} -> {after}"


def _pair(change: Change) -> tuple[str, str]:
    before, after = change.before, change.after
    sizes = [value for value in (before, after) if value is not None]
    if not is_size(change.path) or not all(isinstance(value, int) for value in sizes):
        is_commit = change.path[-1] == "commit"
        return _shown(before, is_commit=is_commit), _shown(after, is_commit=is_commit)
    texts = [format_gib(value) for value in sizes if isinstance(value, int)]
    if len(texts) > 1 and texts[0] == texts[1]:
        return f"{before}", f"{after} bytes"
    return (
        "none" if before is None else texts[0] + ("" if after is not None else " GiB"),
        "none" if after is None else f"{texts[-1]} GiB",
    )


def _shown(value: Value | None, *, is_commit: bool) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)[:_COMMIT] if is_commit else str(value)


def reason(diff: TreeDiff, restart: Restart) -> str:
    """What happens to a unit, and because of which change."""
    head = _head(restart)
    if restart.deed in (Deed.STARTS, Deed.STOPS):
        return head
    causes = list(dict.fromkeys(f"{change.words or change.title}" for change in diff.causes(restart)))
    if not restart.files:
        return f"{head}, as on each" if restart.service == "gateway" else head
    if causes:
        return f"{head}: {some(causes)}"
    return f"{head}: {some(restart.files)} changed, the plan did not"


def _head(restart: Restart) -> str:
    if restart.by is Manager.SYSTEMD:
        return f"{restart.service} {restart.deed.value} on upgrade"
    if restart.by is Manager.PODMAN:
        return f"{restart.service} needs `systemctl {restart.deed.value.removesuffix('s')} {restart.unit}`"
    if restart.deed is Deed.RESTARTS:
        return f"{restart.service} needs `docker compose restart {restart.unit}`"
    orphans = " --remove-orphans" if restart.deed is Deed.STOPS else ""
    return f"{restart.service} {restart.deed.value} by `docker compose up{orphans}`"


def _files(diff: TreeDiff, *, is_whole: bool) -> str:
    names = list(diff.files)
    text = ", ".join(names) if is_whole else some(names)
    return f"{_count(len(names), 'file')}: {text}"


def some(names: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    rest = len(names) - _FEW
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:_FEW])} and {rest} more"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def markdown(diffs: Iterable[TreeDiff]) -> str:
    """A section for each tree with a table of changes, as a comment below a proposed change."""
    return "\n".join(_section(diff) for diff in diffs) or "No stack changes.\n"


def _section(diff: TreeDiff) -> str:
    title = "the library of programs" if diff.is_library else f"`{_cell(diff.tree)}`"
    rows = [f"### {title} {diff.kind.value}", ""]
    shown = _not_derived(diff)
    if shown:
        rows += ["| what | before | after |", "| --- | --- | --- |"]
        rows += [_row(change) for change in shown]
        rows.append("")
    rows += [f"- {_cell(reason(diff, restart))}" for restart in diff.restarts]
    rows += [f"- {_cell(_files(diff, is_whole=False))}"] if diff.files else []
    rows.append("")
    return "\n".join(rows)


def _row(change: Change) -> str:
    whole = change.before is None and change.after is None
    before, after = ("", change.kind.value) if whole else _pair(change)
    what = " ".join(part for part in (change.title, change.words) if part)
    return f"| {_cell(what)} | {_cell(before)} | {_cell(after)} |"


def _cell(text: str) -> str:
    """Text of any origin in a cell: it opens no other cell, no markup of HTML, and no mention of a person."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("@", "@&#8203;")
    return " ".join(escaped.replace("`", "'").split())


def data(diffs: Iterable[TreeDiff]) -> list[dict[str, Any]]:
    """All of it, with values as they are in the plans."""
    return [
        {
            "tree": diff.tree,
            "kind": diff.kind.value,
            "readable": diff.is_readable,
            "changes": [_change(change) for change in diff.changes],
            "restarts": [
                {
                    "service": each.service,
                    "unit": each.unit,
                    "by": each.by.value,
                    "deed": each.deed.value,
                    "files": list(each.files),
                    "because": [list(change.path) for change in diff.causes(each)],
                }
                for each in diff.restarts
            ],
            "files": {path: kind.value for path, kind in diff.files.items()},
        }
        for diff in diffs
    ]


def _change(change: Change) -> dict[str, Any]:
    return {
        "path": list(change.path),
        "kind": change.kind.value,
        "before": change.before,
        "after": change.after,
        "derived": change.is_derived,
    }
