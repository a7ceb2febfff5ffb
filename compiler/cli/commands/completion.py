"""`stackc completion`: what a shell has to be told, once, to complete the words of stackc."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which a SHELL completes commands, options, GPUs, codes, specs, services and models.

    \b
    bash  eval "$(stackc completion bash)"              in ~/.bashrc
    zsh   eval "$(stackc completion zsh)"               in ~/.zshrc, after compinit
    fish  stackc completion fish | source               in ~/.config/fish/config.fish
    """
    completes = get_completion_class(shell)
    if completes is None:
        raise click.UsageError(f"this version of click knows no {shell}")
    click.echo(completes(context.find_root().command, {}, "stackc", "_STACKC_COMPLETE").source())
