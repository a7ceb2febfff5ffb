"""What the extractors of tools/ read from a release's files: options, architectures, metrics and tokenizers."""

from __future__ import annotations

import json
from importlib.resources.abc import Traversable
from typing import Any

from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.release import DATA


def release_folder(version: str) -> Traversable:
    """The folder of a release; one that is not there for a release that the list does not have."""
    release = RELEASES.get(version)
    return DATA / version if release is None else release.data


def read_release_file(version: str, name: str) -> Any:
    """A JSON file of a release.

    Raises:
        FileNotFoundError: the list does not have this version.
    """
    return json.loads((release_folder(version) / name).read_text(encoding="utf-8"))
