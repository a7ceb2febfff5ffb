"""check-jsonschema, the checker of schemas that users run, without the second that a process of its own imports for."""

from __future__ import annotations

from pathlib import Path

from check_jsonschema import main
from click.testing import CliRunner, Result


def checked(*words: str | Path) -> Result:
    """What `check-jsonschema WORDS` says."""
    return CliRunner().invoke(main, [*map(str, words)])
