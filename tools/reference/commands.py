"""The page of the commands, from what click knows of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from compiler.cli.main import cli
from tools.reference.markdown import code, fenced, table

BEGINNING = """# Commands

`stackc --help` lists the commands, and `stackc COMMAND --help` prints what stands here. `python -m stackc` is the same
program. What is printed keeps to the terminal's width; where the encoding has no blocks, they are drawn in ASCII.
A SPEC is a file, or the name of one in `stacks/`. [Exit codes](exit-codes.md) and
[variables and settings](environment.md) have pages of their own.
"""


def pages() -> dict[str, str]:
    """One page with a section for each command."""
    context = click.Context(cli, info_name="stackc")
    return {"reference/commands.md": "\n".join((BEGINNING, *(_section(context, each) for each in names())))}


def names() -> list[str]:
    """Of all commands."""
    return cli.list_commands(click.Context(cli))


def _section(parent: click.Context, name: str) -> str:
    command = cli.get_command(parent, name)
    if command is None:
        raise ValueError(f"{name} is listed, and there is no such command")
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = [(code(written), _escaped(help_)) for written, help_ in _options(command, context)]
    parts = (
        f"## stackc {name}",
        fenced(usage),
        described(command.help or ""),
        table(("option", "what it does"), rows) if rows else "",
    )
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for each in command.get_params(context):
        record = each.get_help_record(context)
        # Every command has --help; arguments are told in the text.
        if record is not None and isinstance(each, click.Option) and "--help" not in each.opts:
            yield record


def described(help_: str) -> str:
    """A command's help as Markdown: what click must not wrap is a block of its own."""
    paragraphs = re.split(r"\n{2,}", inspect.cleandoc(help_))
    return "\n\n".join(
        fenced(each.removeprefix("\b\n")).rstrip() if each.startswith("\b") else _escaped(each) for each in paragraphs
    )


def _escaped(text: str) -> str:
    """Words of options keep their stars and brackets."""
    return re.sub(r"(?<!`)([*<>\[\]])(?!`)", r"\\\1", text)
