"""`stackc schema`: JSON Schema of what stackc reads and writes, for editors and other programs."""

from __future__ import annotations

import click

DOCUMENTS = ("spec", "lock", "plan", "calibration", "models")
"""Those of compiler/schemas/documents.py, whose generator takes longer to import than help may."""


@click.command("schema")
@click.argument("document", type=click.Choice(DOCUMENTS), default="spec")
def command(document: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a DOCUMENT.

    DOCUMENT is the spec (default), the lock, the plan (plan.json), a calibration or models.yaml.

    \b
    stackc schema > stacks/spec.schema.json
    # and as the first line of stacks/NAME.yaml:
    # yaml-language-server: $schema=spec.schema.json
    """
    from compiler.schemas.documents import schema_text

    click.echo(schema_text(document), nl=False)
