"""Nothing is removed or replaced without a reason in the table, and no reason stands for a call that is gone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.deletions.scan import Place, scan, scan_python, scan_shell
from tests.plain_yaml import read_yaml

TABLE = Path(__file__).with_name("table.yaml")


def rows() -> dict[Place, dict[str, object]]:
    data = read_yaml(TABLE.read_text())
    return {
        Place(file, function, call): row
        for file, functions in data.items()
        for function, calls in functions.items()
        for call, row in calls.items()
    }


def test_every_call_that_removes_something_says_why_it_may(root: Path) -> None:
    found, table = scan(root), rows()
    assert sorted(found.keys() - table.keys()) == [], "add a row: what does it remove, and why is that only our own?"
    assert sorted(table.keys() - found.keys()) == [], "the call is gone, its row is not"
    times = Counter({place: row.get("times", 1) for place, row in table.items()})
    assert {place: count for place, count in found.items() if times[place] != count} == {}, "count them again"


def test_every_row_has_a_reason() -> None:
    for place, row in rows().items():
        assert row.keys() - {"times"} == {"removes", "why"}, place
        assert len(str(row["why"])) > 15, place


@pytest.mark.parametrize(
    "text",
    [
        "shutil.rmtree(path)",
        "partial(shutil.rmtree, path)",
        "path.unlink()",
        "run(path.unlink)",
        "os.remove(path)",
        "os.replace(a, b)",
        "os.rename(a, b)",
        "os.truncate(a, 0)",
        "fresh.replace(path)",
        "partial(path.replace, other)",
        "shutil.move(a, b)",
        "shutil.copyfile(a, b)",
        "open(path, 'w')",
        "path.open(mode='wb')",
        "os.fdopen(handle, 'w')",
        "os.open(path, os.O_WRONLY | os.O_TRUNC)",
        "path.write_text('')",
        "host.command('rm', '-rf', path)",
        "path.rmdir()",
    ],
)
def test_a_new_removal_in_python_is_seen(text: str) -> None:
    assert [function for function, _ in scan_python(f"def f():\n    {text}\n")] == ["f"]


@pytest.mark.parametrize(
    "text",
    ["'a'.replace('a', 'b')", "names.remove(1)", "path.open()", "path.open('rb')", "dataclasses.replace(a, b=1)"],
)
def test_what_removes_nothing_needs_no_row(text: str) -> None:
    assert list(scan_python(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        'rm -rf -- "$folder"',
        "[[ -e $a ]] || rm -f $a",
        "sudo rm -r /opt/x",
        'mv -f -- "$a" "$b"',
        'ln -sfn -- "$a" "$b"',
        "find /x -name y -delete",
        'printf x >"$file"',
        "printf x >| $file",
        "print_x > /srv/file",
        "sed -i s/a/b/ file",
        'cp -- "$a" "$b"',
        "truncate -s 0 /x",
        "trap \"rm -rf -- '$folder'\" EXIT",
    ],
)
def test_a_new_removal_in_a_script_is_seen(text: str) -> None:
    assert [function for function, _ in scan_shell(f"f() {{\n  {text}\n}}\n")] == ["f"]


@pytest.mark.parametrize(
    "text",
    [
        "# rm -rf /",
        "x >&2",
        "x >/dev/null 2>&1",
        'x >>"$file"',
        "[[ $a > $b ]]",
        "((a > b))",
        "printf 'form'",
        "a=${b#rm }",
    ],
)
def test_what_removes_nothing_in_a_script_needs_no_row(text: str) -> None:
    assert list(scan_shell(text)) == []
