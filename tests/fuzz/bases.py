"""Good inputs, from which bad ones are made: the shipped stacks, the test cases, and real configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.conftest import ROOT
from tests.fuzz.mutation import values_by_key


@dataclass(frozen=True)
class Pair:
    """A spec and the lock beside it, as text and, where they can be read, as data."""

    name: str
    spec_text: bytes
    lock_text: bytes | None

    @cached_property
    def spec(self) -> Any:
        return _loaded(self.spec_text)

    @cached_property
    def lock(self) -> Any:
        return _loaded(self.lock_text) if self.lock_text is not None else None


class Bases:
    """All of them.

    Attributes:
        pairs: every spec of the project.
        stacks: pairs whose spec and lock can both be read.
        configs: what the locks hold of config.json, and each `FOLDER/*/config.json` that is given.
        blocks: quantization blocks.
    """

    def __init__(self, configs: Path | None = None) -> None:
        self.pairs = list(_pairs())
        self.specs = [pair.spec for pair in self.pairs if isinstance(pair.spec, dict)]
        self.stacks = [pair for pair in self.pairs if isinstance(pair.spec, dict) and _is_lock(pair.lock)]
        self.locks = [pair.lock for pair in self.stacks]
        facts = [facts for lock in self.locks for facts in lock["models"].values()]
        self.configs = [*(each["config"] for each in facts if each.get("config")), *_configs(configs)]
        self.blocks = [each["quantization"] for each in facts if each.get("quantization")]
        self.spec_keys = values_by_key(self.specs)
        self.lock_keys = values_by_key(self.locks)
        self.config_keys = values_by_key(self.configs)

    def stack(self, name: str) -> Pair:
        """One of the shipped stacks."""
        return next(pair for pair in self.stacks if pair.name == name)


def _pairs() -> Iterator[Pair]:
    for spec in sorted([*ROOT.glob("stacks/*.yaml"), *ROOT.glob("tests/cases/*/*/*.yaml")]):
        is_case = spec.parent.parent.parent == ROOT / "tests/cases"
        if spec.name.endswith(".lock.yaml") or (is_case and spec.stem != spec.parent.name):
            continue
        lock = spec.with_name(f"{spec.stem}.lock.yaml")
        yield Pair(spec.stem, spec.read_bytes(), lock.read_bytes() if lock.is_file() else None)


def _loaded(text: bytes) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text.decode())
    except (YAMLError, UnicodeDecodeError):  # some cases are broken on purpose
        return None


def _is_lock(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("models"), dict) and isinstance(data.get("services"), dict)


def _configs(folder: Path | None) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*/config.json")) if folder is not None else ():
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.get("architectures"):
            yield config
