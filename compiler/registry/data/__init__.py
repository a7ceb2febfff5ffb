"""The registry's data: JSON that people review and amend, one field a line, sorted by id."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def rows(folder: str) -> list[dict[str, Any]]:
    """The rows of all files of a folder, by the names of the files."""
    files = sorted(resources.files(__name__).joinpath(folder).iterdir(), key=lambda file: file.name)
    return [row for file in files if file.name.endswith(".json") for row in json.loads(file.read_bytes())]


def table(name: str) -> dict[str, dict[str, Any]]:
    """A file of records by their keys."""
    found: dict[str, dict[str, Any]] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_bytes())
    return found
