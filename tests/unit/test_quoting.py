"""A value must reach the program that it is for, character by character."""

from __future__ import annotations

import subprocess
from configparser import RawConfigParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.render import quoting

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
NASTY = ["", "a b", "it's", '"', "$HOME", "`id`", "a;b", "a\nb", "*", "\\", "~", "!!", "#x", "é×漢😀", "-n", "%n", "{}"]


@settings(max_examples=20, deadline=None)
@given(st.lists(TEXT | st.sampled_from(NASTY), min_size=1, max_size=20))
def test_bash_reads_back_the_words_that_were_quoted(words: list[str]) -> None:
    script = "printf '%s\\0' " + " ".join(map(quoting.quote_shell, words))
    output = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert output.decode().split("\0")[:-1] == words


def test_a_variable_of_the_script_is_expanded_as_one_word() -> None:
    assert quoting.quote_shell(quoting.ShellVariable("listen_host")) == '"$listen_host"'


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A;B", "É", "A\n"])
def test_what_is_no_variable_name_is_refused(name: str) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_shell_name(name)


@pytest.mark.parametrize(
    "quote", [quoting.quote_shell, quoting.quote_systemd_word, quoting.quote_yaml, quoting.quote_compose]
)
def test_nul_cannot_be_written_and_is_refused(quote: object) -> None:
    with pytest.raises(quoting.QuotingError):
        quote("a\0b")  # type: ignore[operator]


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
@given(text=TEXT | st.sampled_from(NASTY))
def test_yaml_reads_back_the_text(version: tuple[int, int], text: str) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    assert yaml.load(f"key: {quoting.quote_yaml(text)}\n") == {"key": text}


@given(TEXT)
def test_compose_finds_no_variable(text: str) -> None:
    assert "$" not in quoting.quote_compose(text).replace("$$", "")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_yaml("\ud83d")


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/opt/x", "/opt/x"),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("two\nlines", '"two\\nlines"'),
        ("it's", '"it\'s"'),
        ("bell\a", '"bell\\x07"'),
        (";", '";"'),
    ],
)
def test_systemd_takes_a_word_literally(word: str, quoted: str) -> None:
    assert quoting.quote_systemd_word(word) == quoted


def test_systemd_keeps_dollars_of_a_variable() -> None:
    assert quoting.quote_systemd_variable(("A", "$x 5%")) == '"A=$x 5%%"'


@pytest.mark.parametrize("text", ["two\nlines", " padded", "continued\\"])
def test_a_value_that_would_change_the_unit_is_refused(text: str) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_systemd_value(text)


@given(TEXT)
def test_a_table_cell_stays_one_cell(text: str) -> None:
    for value in (text, quoting.MarkdownCode(text)):
        cell = quoting.quote_markdown(value)
        assert "\n" not in cell
        assert "|" not in cell.replace("\\|", "")


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("a|b", "`a\\|b`"), ("*x*", "`*x*`")])
def test_code_is_shown_as_it_is(text: str, shown: str) -> None:
    assert quoting.quote_markdown(quoting.MarkdownCode(text)) == shown


@given(TEXT | st.sampled_from(NASTY))
def test_a_value_in_systemds_own_syntax_stays_on_its_line(text: str) -> None:
    """What is taken is written as it is, and the unit has the same lines as before around it."""
    try:
        written = quoting.quote_systemd_raw(text)
    except quoting.QuotingError:
        assert not text.isprintable() or text != text.strip() or text.endswith("\\")
        return
    parser = RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(f"[Service]\nNice={written}\nUMask=0027\n")
    assert dict(parser["Service"]) == {"Nice": text, "UMask": "0027"}


@pytest.mark.parametrize(("value", "written"), [(True, "yes"), (False, "no"), (-5, "-5"), ("%h $x", "%h $x")])
def test_systemd_has_words_for_true_and_false(value: str | int, written: str) -> None:
    assert quoting.quote_systemd_raw(value) == written


@pytest.mark.parametrize("name", ["", "A=B", "A B", "[Unit]", "A\nB", "É"])
def test_what_is_no_directive_is_refused(name: str) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_systemd_key(name)
