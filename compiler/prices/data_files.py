"""The shipped price files; `data/README.md` says what their fields mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file of `data/`, in its order."""
    rows: list[dict[str, Any]] = json.loads((_DATA / name).read_text(encoding="utf-8"))
    return rows


@cache
def sources() -> Mapping[str, Mapping[str, str]]:
    """What each source is, by the word that rows name it with: `what`, and `link` and `commit` where there are any."""
    found: dict[str, dict[str, str]] = json.loads((_DATA / "sources.json").read_text(encoding="utf-8"))
    return found


def source_text(key: str) -> str:
    """A source for people; what no file of ours names, such as a user's own file, as it is."""
    found = sources().get(key)
    return key if found is None else " ".join(filter(None, (found["what"], found.get("link"))))
