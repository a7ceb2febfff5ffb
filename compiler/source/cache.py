"""Where things lie that a run may keep for the next one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where this user's caches lie: $XDG_CACHE_HOME/stackc, or ~/.cache/stackc."""
    known = os.environ if environment is None else environment
    base = known.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "stackc"
