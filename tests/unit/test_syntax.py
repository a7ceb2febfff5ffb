"""The readers find again what the quoting functions wrote, and refuse to guess."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.render import quoting
from compiler.render.quoting import ShellVariable
from compiler.render.syntax import (
    Expansion,
    ReadError,
    read_bash_array,
    read_bash_assignments,
    read_systemd_value,
    read_systemd_words,
    read_unit,
)
from tests.unit.test_quoting import NASTY, TEXT

WORDS = st.lists(TEXT | st.sampled_from(NASTY), min_size=1, max_size=8)
NAMES = st.sampled_from(["model", "listen_host"]).map(ShellVariable)


@given(WORDS)
def test_words_of_a_unit_come_back(words: list[str]) -> None:
    line = " ".join(map(quoting.quote_systemd_word, words))
    assert read_systemd_words(line, is_command=True) == tuple(words)


@given(TEXT)
def test_a_variable_of_a_unit_comes_back(value: str) -> None:
    line = quoting.quote_systemd_variable(("NAME", value))
    assert read_systemd_words(line, is_command=False) == (f"NAME={value}",)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)).filter(lambda text: text == text.strip()))
def test_a_value_of_a_unit_comes_back(value: str) -> None:
    if not value.endswith("\\"):
        assert read_systemd_value(quoting.quote_systemd_value(value)) == value


@given(st.lists(TEXT | st.sampled_from(NASTY) | NAMES, min_size=1, max_size=8))
def test_words_of_an_array_come_back(words: list[str | ShellVariable]) -> None:
    script = "before=1\ncommand=(\n  " + "\n  ".join(map(quoting.quote_shell, words)) + "\n)\n"
    assert read_bash_array(script, "command") == tuple(words)


@given(TEXT | st.sampled_from(NASTY))
def test_an_assignment_comes_back(value: str) -> None:
    script = f"[[ -v A ]] || A={quoting.quote_shell(value)}\nexport A\n"
    assert read_bash_assignments(script) == {"A": (value,)}


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ('"a b"', "a b"),
        ("a\\ b", "a b"),
        ('"$x"', ShellVariable("x")),
        ("$x", Expansion("$x")),
        ('"$x/y"', Expansion('"$x/y"')),
        ('"${x:-y}"', Expansion('"${x:-y}"')),
        ("'$x'", "$x"),
        ('"\\$x"', "$x"),
        ("a#b", "a#b"),
    ],
)
def test_a_word_that_bash_would_expand_is_no_text(word: str, read: object) -> None:
    assert read_bash_array(f"command=(a {word} # a comment\n b)\n", "command") == ("a", read, "b")


@pytest.mark.parametrize("word", ["`id`", "a;b", "a&b", "*.txt", "$(id)", "{a,b}", "'open", "<(x)", "!x"])
def test_what_is_more_than_a_word_is_refused(word: str) -> None:
    with pytest.raises(ReadError):
        read_bash_array(f"command=(a {word})\n", "command")


@pytest.mark.parametrize("script", ["", "command=(a)\ncommand=(b)\n", "commands=(a)\n"])
def test_there_must_be_one_array(script: str) -> None:
    with pytest.raises(ReadError):
        read_bash_array(script, "command")


def test_a_comment_assigns_nothing() -> None:
    assert read_bash_assignments("# A=1\nB=2 # C=\n  # D=3\n")["B"] == ("2",)
    assert "A" not in read_bash_assignments("# A=1\n")


@pytest.mark.parametrize("value", ["%h/x", "%", "100%"])
def test_a_specifier_is_not_guessed(value: str) -> None:
    with pytest.raises(ReadError):
        read_systemd_value(value)


@pytest.mark.parametrize("value", ["$HOME", "${HOME}", 'a "open', "a\\q"])
def test_a_command_with_a_variable_or_an_open_quote_is_refused(value: str) -> None:
    with pytest.raises(ReadError):
        read_systemd_words(value, is_command=True)


def test_a_unit_is_read_as_systemd_does() -> None:
    text = "# x\n[Service]\nA=1\nA=\nA=2\n; y\nB=one \\\n# between\n  two\n\n[Install]\nA = 3\n"
    unit = read_unit(text)
    assert unit.values("Service", "A") == ("2",)
    assert unit.values("Service", "B") == ("one    two",)
    assert unit.values("Install", "A") == ("3",)


@pytest.mark.parametrize("text", ["A=1\n", "[Unit]\nnonsense\n"])
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(ReadError):
        read_unit(text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("words", [NASTY, ['a"b', "\\n", "\\\\", "$$"]])
def test_bash_agrees(words: list[str]) -> None:
    array = "command=(" + " ".join(map(quoting.quote_shell, words)) + ")\n"
    printed = subprocess.run(
        ["bash", "-c", array + 'printf "%s\\0" "${command[@]}"'], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split("\0")[:-1] == list(read_bash_array(array, "command"))
