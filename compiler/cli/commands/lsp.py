"""`stackc lsp` on the command line."""

from __future__ import annotations

import click

_LIBRARY = ("pygls", "lsprotocol", "cattrs")


@click.command("lsp")
@click.option("--stdio", is_flag=True, expose_value=False, help="Nothing else is offered: editors say it.")
def command() -> None:
    """Answer an editor on standard input and output, by the Language Server Protocol.

    Specs are compiled as they are written, without writing anything: findings with their fixes, the ledger of the
    service under the cursor, keys and values to choose from.
    """
    try:
        from compiler.cli.lsp.server import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LIBRARY:
            raise
        raise click.ClickException("the language server needs pygls: pip install 'stackc[lsp]'") from error
    serve()
