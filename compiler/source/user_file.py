"""Where a user's own models, prices and hardware are described."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SPECS = "stacks"
"""Folder of the specs, in the folder in which stackc is run."""

USER_FILE = "models.yaml"
USER_KEYS = ("models", "scores", "prices", "hardware")
"""What may stand at the top of such a file."""


def user_files(beside: Path, environment: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Those that exist: the one in the folder of the stacks, then the user's; what the first says wins."""
    known = os.environ if environment is None else environment
    base = known.get("XDG_CONFIG_HOME", "")
    config = (Path(base) if base.startswith("/") else Path.home() / ".config") / "stackc"
    return tuple(path for path in (beside / USER_FILE, config / USER_FILE) if path.is_file())
