"""Folders of configurations without weights: `DIR/ORGANISATION__NAME/config.json`, or the same below `DIR/models`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from compiler.lock.models import ModelFacts
from compiler.resolve.answers import ListedFile, Repository
from compiler.resolve.facts import quantization_block


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


def facts_of(model: str, hub: Path) -> ModelFacts | None:
    """Configuration and quantization of a model; None where the folder holds no config.json of it."""
    root = hub / "models" if (hub / "models").is_dir() else hub
    reader = _Folder(root / model.replace("/", "__"))
    content = reader.read("config.json")
    if content is None:
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
