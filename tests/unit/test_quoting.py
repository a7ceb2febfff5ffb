"""A value must reach the program that it is for, character by character."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.render import quoting
from tests.conftest import tool
from tests.examples import examples

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
NASTY = ["", "a b", "it's", '"', "$HOME", "`id`", "a;b", "a\nb", "*", "\\", "~", "!!", "#x", "é×漢😀", "-n", "%n", "{}"]


@examples(5)
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
    "quote",
    [quoting.quote_shell, quoting.quote_systemd_word, quoting.quote_yaml, quoting.quote_compose, quoting.quote_promql],
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


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
@given(text=TEXT | st.sampled_from(NASTY) | st.from_regex(r"[ -~\n]+", fullmatch=True), indent=st.integers(1, 12))
def test_yaml_reads_back_a_block(version: tuple[int, int], text: str, indent: int) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    loaded = yaml.load(f"key: {quoting.quote_yaml_block(text, indent)}\nnext: 1\n")
    assert loaded == {"key": text, "next": 1}


def test_a_block_keeps_the_lines_that_people_read() -> None:
    assert quoting.quote_yaml_block('a{b="c"}\n> 1', 4) == '|-\n    a{b="c"}\n    > 1'


@given(TEXT | st.sampled_from(NASTY))
def test_promql_reads_back_the_text(text: str) -> None:
    # Go's escapes that are used are Python's too.
    assert ast.literal_eval(quoting.quote_promql(text)) == text
    assert quoting.quote_promql(text).isascii()


def test_prometheus_takes_quoted_text_for_a_value(tmp_path: Path) -> None:
    texts = [*NASTY, "\x7f", "\x01", "\u2028", "'", "a}b", "{{ $value }}"]
    rules = [{"record": "a", "expr": f"up{{x={quoting.quote_promql(text)}}}"} for text in texts]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    done = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint=none", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@given(TEXT)
def test_compose_finds_no_variable(text: str) -> None:
    assert "$" not in quoting.quote_compose(text).replace("$$", "")


SCALARS = (
    TEXT | st.booleans() | st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
@examples(10)
@given(value=st.dictionaries(TEXT, PLAIN, min_size=1, max_size=3) | st.lists(PLAIN, min_size=1, max_size=3))
def test_compose_reads_back_what_a_patch_adds(version: tuple[int, int], value: object) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    text = f"key:\n{quoting.compose_block(value, 2)}\n"
    assert yaml.load(text) == {"key": with_doubled_dollars(value)}


def with_doubled_dollars(value: object) -> object:
    """Compose takes `$$` for a dollar, in values and not in keys."""
    if isinstance(value, dict):
        return {key: with_doubled_dollars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_doubled_dollars(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def test_a_very_long_key_is_still_a_key() -> None:
    value = {"漢" * 200: "short", "k" * 2000: {"a": [1]}}
    assert YAML(typ="safe", pure=True).load(f"key:\n{quoting.compose_block(value, 2)}") == {"key": value}


@pytest.mark.parametrize("value", [{}, [], "text", {"a": float("nan")}, {"a": float("inf")}, {"a": object()}])
def test_a_block_without_plain_data_is_refused(value: object) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.compose_block(value, 0)


def read_nginx(word: str) -> str:
    """A double-quoted word as nginx reads it (src/core/ngx_conf_file.c: ngx_conf_read_token)."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
    assert (word[0], word[-1]) == ('"', '"')
    text, characters = "", iter(word[1:-1])
    for character in characters:
        assert character not in '"$'
        following = next(characters) if character == "\\" else character
        text += escapes[following] if character == "\\" else character
    return text


@given(TEXT.filter(lambda text: "$" not in text) | st.sampled_from([text for text in NASTY if "$" not in text]))
def test_nginx_reads_back_the_text(text: str) -> None:
    assert read_nginx(quoting.quote_nginx(text)) == text


@pytest.mark.parametrize("text", ["$request_body", "a$", "${x}", "a\0b"])
def test_what_nginx_would_replace_is_refused(text: str) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_nginx(text)


@given(
    st.recursive(
        TEXT | st.integers() | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=12,
    )
)
def test_json_is_ascii_and_reads_back(value: object) -> None:
    for indent in (None, 2):
        text = quoting.quote_json(value, indent)
        assert text.isascii()
        assert json.loads(text) == value


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


def read_command_word(text: str) -> str:
    """What reaches a program: systemd's quotes and escapes go first, then its specifiers and variables."""
    if text.startswith('"'):
        inner = text.removeprefix('"').removesuffix('"')
        names = {"n": "\n", "t": "\t", "r": "\r"}
        text = re.sub(
            r"\\(x[0-9a-f]{2}|.)",
            lambda found: chr(int(found[1][1:], 16)) if len(found[1]) > 1 else names.get(found[1], found[1]),
            inner,
        )
    assert not re.search(r"(?<!%)(%%)*%(?!%)", text), "systemd would put in a specifier"
    return text.replace("%%", "%").replace("$$", "$")


@given(TEXT | st.sampled_from(NASTY))
def test_a_variable_of_podmans_unit_reaches_the_container(value: str) -> None:
    written = quoting.quote_quadlet_variable(("NAME", value))
    assert "\n" not in written
    assert "$" not in written.replace("$$", "")
    assert read_command_word(written) == f"NAME={value}"


@given(TEXT | st.sampled_from(NASTY))
def test_a_value_of_podmans_unit_is_one_line_or_refused(value: str) -> None:
    try:
        written = quoting.quote_quadlet_value(value)
    except quoting.QuotingError:
        assert not value.isprintable() or value != value.strip() or value.endswith("\\")
    else:
        assert written.replace("%%", "%").replace("$$", "$") == value
        assert len(written.splitlines()) <= 1


@pytest.mark.parametrize("text", ["two\nlines", " padded", "continued\\", "bell\a"])
def test_a_line_that_would_be_another_is_refused(text: str) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.quote_unit_line(text)
    assert quoting.quote_unit_line("%n $HOME 'a b'") == "%n $HOME 'a b'"


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
