"""One quoting function per output syntax; the templates use them as filters and quote nothing themselves."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYSTEMD_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)
_SYSTEMD_PLAIN = re.compile(r"[A-Za-z0-9_@:,./+=-]+", re.ASCII)
_SYSTEMD_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_YAML_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


class QuotingError(ValueError):
    """A text that the output syntax cannot express at all."""


@dataclass(frozen=True, slots=True)
class ShellVariable:
    """A shell word that is the value of a variable of the script itself."""

    name: str


@dataclass(frozen=True, slots=True)
class MarkdownCode:
    """A text that Markdown shows as code, character by character."""

    text: str


def quote_shell(word: str | ShellVariable) -> str:
    """A word that a POSIX shell reads back unchanged."""
    if isinstance(word, ShellVariable):
        return f'"${quote_shell_name(word.name)}"'
    _refuse_nul(word)
    return shlex.quote(word)


def quote_shell_name(name: str) -> str:
    """A variable's name: it cannot be quoted, so anything else than a name is refused."""
    if _SHELL_NAME.fullmatch(name) is None:
        raise QuotingError(f"{name!r} is not a name of a variable")
    return name


def quote_systemd_value(text: str) -> str:
    """A whole value that systemd takes as it is, except for specifiers (`Description=`, `User=`)."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise QuotingError(f"{text!r} cannot be a value in a unit file")
    return text.replace("%", "%%")


def quote_systemd_raw(value: str | int) -> str:
    """A whole value in systemd's own syntax: specifiers, quotes and escapes are the writer's; only the line is kept."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise QuotingError(f"{text!r} cannot be a value in a unit file")
    return text


def quote_systemd_key(name: str) -> str:
    """The name of a section or directive: it cannot be quoted, so anything else is refused."""
    if _SYSTEMD_KEY.fullmatch(name) is None:
        raise QuotingError(f"{name!r} is not a key of a unit file")
    return name


def quote_systemd_word(word: str) -> str:
    """One word of a command line (`ExecStart=`): specifiers, variables and C escapes are all taken literally."""
    return _quote_systemd(word.replace("$", "$$") if "$" in word else word)


def quote_systemd_variable(assignment: tuple[str, str]) -> str:
    """One `NAME=value` of `Environment=`, where `$` has no meaning."""
    name, value = assignment
    return _quote_systemd(f"{quote_shell_name(name)}={value}")


def _quote_systemd(text: str) -> str:
    _refuse_nul(text)
    if _SYSTEMD_PLAIN.fullmatch(text) is not None:
        return text
    return '"' + "".join(_systemd_character(character) for character in text).replace("%", "%%") + '"'


def _systemd_character(character: str) -> str:
    if character in _SYSTEMD_ESCAPES:
        return _SYSTEMD_ESCAPES[character]
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02x}"


def quote_yaml(text: str) -> str:
    """A double-quoted YAML scalar in ASCII, which YAML 1.1 and 1.2 read alike."""
    _refuse_nul(text)
    return '"' + "".join(map(_yaml_character, text)) + '"'


def quote_compose(text: str) -> str:
    """A YAML scalar in which Compose finds no variable to put in."""
    return quote_yaml(text.replace("$", "$$"))


def _yaml_character(character: str) -> str:
    if character in _YAML_ESCAPES:
        return _YAML_ESCAPES[character]
    if " " <= character <= "~":
        return character
    if "\ud800" <= character <= "\udfff":
        raise QuotingError(f"U+{ord(character):04X} is half a character")
    return f"\\U{ord(character):08x}"


def quote_markdown(text: str | MarkdownCode) -> str:
    """Text or code on one line, fit for a paragraph and for a table cell."""
    if isinstance(text, MarkdownCode):
        return _quote_markdown_code(text.text)
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _quote_markdown_code(text: str) -> str:
    line = " ".join(text.split())
    # The fence must be longer than any run of backticks inside; a table splits cells even inside code.
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest or not line else ""
    return fence + padding + line.replace("|", r"\|") + padding + fence


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise QuotingError(f"{text!r} holds a NUL character")
