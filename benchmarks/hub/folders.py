"""Folders of configurations without weights: `DIR/ORGANISATION__NAME/config.json`, or the same below `DIR/models`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from compiler.lock.models import ModelFacts
from compiler.resolve.answers import ListedFile, Repository
from compiler.resolve.reading.facts import quantization_block

# The Hub leads the old names of these repositories to the new ones.
_RENAMED = (r"^meta-llama__meta-llama-3\.1-", "meta-llama__llama-3.1-")


@dataclass(frozen=True)
class _Folder:
    path: Path

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""
        file = self.path / name
        return file.read_bytes() if file.is_file() else None

    def read_range(self, name: str, start: int, stop: int) -> bytes | None:
        """A part of it."""
        content = self.read(name)
        return None if content is None else content[start:stop]


def folder_of(model: str, hub: Path) -> Path | None:
    """The folder of a model, whose name the Hub reads without regard to case; None where there is none."""
    folders = _folders(hub / "models" if (hub / "models").is_dir() else hub)
    name = model.replace("/", "__").lower()
    return folders.get(name) or folders.get(re.sub(*_RENAMED, name))


@lru_cache(maxsize=8)
def _folders(root: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}


def facts_of(model: str, hub: Path) -> ModelFacts | None:
    """Configuration and quantization of a model; None where the folder holds no config.json of it."""
    folder = folder_of(model, hub)
    reader = _Folder(folder) if folder is not None else None
    content = reader.read("config.json") if reader is not None else None
    if reader is None or content is None:
        return None
    config = json.loads(content)
    files = tuple(ListedFile(path.name, path.stat().st_size) for path in sorted(reader.path.iterdir()))
    block, file = quantization_block(Repository(model, "folder", files=files), config, reader)
    return ModelFacts(
        source="folder",
        remote_code=bool(config.get("auto_map")),
        config=config,
        quantization=block,
        quantization_file=file,
    )
