"""The `stackc` command. Commands are imported when they run, so that `--help` stays fast."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# pydantic would look through all installed packages for plugins of its own.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

COMMANDS = {
    "calibrate": "Measure overheads from the logs of real start-ups.",
    "compile": "Compile specs into generated/, or check what is there.",
    "completion": "Print the script that completes words in bash, zsh or fish.",
    "cost": "Say what stacks cost by the hour, the month and the million tokens.",
    "diff": "Say what specs change in generated/, and what an upgrade restarts.",
    "explain": "Explain an error code, or the plan behind a spec.",
    "fit": "Ask whether one model fits on a GPU, and with how much KV cache.",
    "gpus": "List the GPUs that a spec may name.",
    "images": "List the container images of stacks, and pin them by digest.",
    "init": "Write a first spec for this machine, lock it and compile it.",
    "licenses": "List the licences of all models of stacks, with their conditions.",
    "lock": "Resolve models against the Hugging Face Hub and write the lock.",
    "lsp": "Answer an editor: findings, fixes, ledgers and words of specs.",
    "models": "List the models that are known, tell of one, or add one.",
    "plan": "Show each GPU as a line of blocks, and the services as a table.",
    "recommend": "Recommend models for a task, or GPUs for a model.",
    "report": "Write a page of pictures and reasons: one file, for any browser.",
    "sbom": "List what stacks deploy as a CycloneDX bill of materials.",
    "schema": "Print the JSON Schema of specs, locks, plans or calibrations.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"compiler.cli.commands.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, without importing them; options as every command has them."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asks

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stackc")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Compile a spec of an LLM serving stack into artifacts that start.

    Exit codes: 0 fine, 1 something that you can mend (a spec, a name, a check), 2 usage, 3 something that may pass by
    itself (the Hub, a registry, the disk), 4 `stackc diff` found differences.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help() if any(Path("stacks").glob("*.yaml")) else BEGINNING)
        ctx.exit(2)  # nothing was asked


BEGINNING = """\
There is no spec here: stackc compiles stacks/*.yaml. To begin:

  stackc init                      writes a spec for this machine; compiles it
  stackc gpus                      which cards a spec may name
  stackc fit MODEL --gpu GPU       does a model fit, and with how much context?

Or write stacks/NAME.yaml, such as

  stack: mine
  engine: {vllm: 0.33.0}
  nodes: {server: {gpus: {model: rtx-5090}}}
  services:
    chat: {model: Qwen/Qwen3-8B, context: 16K, port: 8000}

  stackc lock                      reads what the Hub says of the model
  stackc compile                   proves that it fits; writes generated/mine

`stackc --help` lists all commands."""


def main() -> None:
    """Entry point of the distribution."""
    # A run is short and makes hardly any cycles: looking for them, also at its end, would only take time from it.
    gc.set_threshold(200_000)
    try:
        _run()
    finally:
        gc.freeze()


def _run() -> None:
    if "_STACKC_COMPLETE" in os.environ:
        from compiler.cli.bash import register  # noqa: PLC0415 - only a shell asks

        register()
    try:
        sys.exit(cli.main(standalone_mode=False))  # None, or the code with which a context was left
    except click.ClickException as error:
        from compiler.diagnostics.render import visible  # noqa: PLC0415 - a good run need not wait for it

        # It may quote what was typed, or a file's name.
        error.message = visible(error.message)  # type: ignore[misc]  # declared final, and there is no other way
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was left half-written", err=True)
        sys.exit(130)
    except OSError as error:
        # Commands tell what happens to files. What is left is the answer itself, on a full disk for instance; then the
        # interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"error: the answer cannot be written: {error.strerror or error}", err=True)
        sys.exit(3)
