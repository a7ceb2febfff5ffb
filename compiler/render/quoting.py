"""One quoting function per output syntax; the templates use them as filters and quote nothing themselves."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYSTEMD_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)
_SYSTEMD_PLAIN = re.compile(r"[A-Za-z0-9_@:,./+=-]+", re.ASCII)
_SYSTEMD_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_YAML_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_YAML_ODD = re.compile(r"[^ !#-\[\]-~]")
_YAML_BLOCK = re.compile(r"[ -~]+(\n[ -~]*)*", re.ASCII)
_NGINX_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# A reader of YAML looks no further for the colon (1024 characters, with the indent); a longer key stands by itself.
_LONGEST_PLAIN_KEY = 900
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


class QuotingError(ValueError):
    """A text that the output syntax cannot express at all."""


@dataclass(frozen=True, slots=True)
class ShellVariable:
    """A shell word that is the value of a variable of the script itself."""

    name: str


@dataclass(frozen=True, slots=True)
class ShellParts:
    """A shell word of several parts, some of them variables."""

    parts: tuple[str | ShellVariable, ...]


@dataclass(frozen=True, slots=True)
class MarkdownCode:
    """A text that Markdown shows as code, character by character."""

    text: str


def quote_shell(word: str | ShellVariable | ShellParts) -> str:
    """A word that a POSIX shell reads back unchanged."""
    if isinstance(word, ShellParts):
        return "".join(map(quote_shell, word.parts))
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


def quote_quadlet_value(text: str) -> str:
    """A whole value of a Podman unit that ends as one word of a command line of systemd's, specifiers and all."""
    return quote_systemd_value(text).replace("$", "$$")


def quote_quadlet_variable(assignment: tuple[str, str]) -> str:
    """One `NAME=value` of `Environment=` in a Podman unit, which hands it to Podman on a command line."""
    name, value = assignment
    return _quote_systemd(f"{quote_shell_name(name)}={value}".replace("$", "$$"))


def quote_unit_line(text: str) -> str:
    """A value that its author has written as unit files want it; only what would be another line is refused."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise QuotingError(f"{text!r} cannot be a value in a unit file")
    return text


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
    return f'"{_YAML_ODD.sub(_yaml_escape, text)}"'


def quote_yaml_block(text: str, indent: int) -> str:
    """A YAML scalar that keeps its lines: a literal block, `indent` spaces deep, wherever that reads back unchanged."""
    if text != text.strip() or _YAML_BLOCK.fullmatch(text) is None:
        return quote_yaml(text)
    return "|-" + "".join(f"\n{' ' * indent}{line}" if line else "\n" for line in text.split("\n"))


def quote_promql(text: str) -> str:
    """A string of PromQL in ASCII, with the escapes of Go."""
    _refuse_nul(text)
    return f'"{_YAML_ODD.sub(_yaml_escape, text)}"'


def quote_compose(text: str) -> str:
    """A YAML scalar in which Compose finds no variable to put in."""
    return quote_yaml(text.replace("$", "$$"))


def compose_block(value: object, indent: int) -> str:
    """A map or list as lines of YAML, `indent` spaces deep; Compose puts no variable into its values.

    Raises:
        QuotingError: something in it is no plain data, or the value itself is neither map nor list.
    """
    if not isinstance(value, Mapping | list | tuple) or not value:
        raise QuotingError(f"{value!r} is no map or list with something in it")
    return "".join(f"{' ' * indent}{line}\n" for line in _block_lines(value))


def _block_lines(value: Mapping[object, object] | Sequence[object]) -> Iterator[str]:
    entries = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, item in entries:
        head = "-" if key is None else f"{quote_yaml(str(key))}:"
        if len(head) > _LONGEST_PLAIN_KEY:
            yield f"? {head[:-1]}"
            head = ":"
        if isinstance(item, Mapping | list | tuple) and item:
            yield head
            yield from (f"  {line}" for line in _block_lines(item))
        else:
            yield f"{head} {_flow_scalar(item)}"


def _flow_scalar(value: object) -> str:
    if isinstance(value, str):
        return quote_compose(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float) and value == value and abs(value) != float("inf"):  # noqa: PLR0124 (NaN is not itself)
        # YAML 1.1 takes an exponent for a number only after a point, and only with its sign.
        mantissa, _, exponent = repr(value).partition("e")
        return mantissa if not exponent else f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+03d}"
    raise QuotingError(f"{value!r} is no plain data")


def _yaml_escape(odd: re.Match[str]) -> str:
    character = odd[0]
    if character in _YAML_ESCAPES:
        return _YAML_ESCAPES[character]
    if "\ud800" <= character <= "\udfff":
        raise QuotingError(f"U+{ord(character):04X} is half a character")
    return f"\\U{ord(character):08x}"


def quote_json(value: object, indent: int | None = None) -> str:
    """A value as JSON in ASCII, which JavaScript reads alike; keys keep their order."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent)


def quote_nginx(text: str) -> str:
    """One word of an nginx configuration, in which nginx finds no variable: it has no escape for a dollar sign."""
    _refuse_nul(text)
    if "$" in text:
        raise QuotingError(f"{text!r} holds a dollar sign, which nginx cannot take literally")
    return '"' + "".join(_NGINX_ESCAPES.get(character, character) for character in text) + '"'


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
