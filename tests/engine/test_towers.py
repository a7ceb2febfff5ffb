"""Which classes build no tower of whose kinds a prompt may hold none, as the release's own source says it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from compiler.checkpoints.families.table import VISION_MODELS
from compiler.checkpoints.media_limits import ALWAYS_BUILT
from compiler.engines.vllm.releases.architectures import load_registry
from tests.engine.engine_process import ENGINE, PLAIN_RELEASES

pytestmark = pytest.mark.engine

MARKS = ("_mark_tower_model", "_mark_composite_model")


@cache
def classes(version: str) -> dict[str, list[ast.ClassDef]]:
    """Every class of the release's models by name; backends for other hardware have some of their own."""
    package = ENGINE / f"vllm-{version}" / "vllm"
    found: dict[str, list[ast.ClassDef]] = {}
    for folder in ("model_executor/models", "models"):
        for path in sorted((package / folder).rglob("*.py")):
            for node in _top_level(path):
                found.setdefault(node.name, []).append(node)
    return found


def _top_level(path: Path) -> Iterator[ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def marks(version: str, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a class makes its towers in a block that may leave them out, itself or by the class that it extends."""
    for node in classes(version).get(name, ()):
        if any(isinstance(each, ast.Attribute) and each.attr in MARKS for each in ast.walk(node)):
            return True
        bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id not in seen]
        if _builds_alone(node):
            continue
        if any(marks(version, base, seen | {name}) for base in bases):
            return True
    return False


def _builds_alone(node: ast.ClassDef) -> bool:
    """Whether it has a constructor that does not ask the one of its base."""
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    return bool(made) and not any("super().__init__" in ast.unparse(each) for each in made)


@pytest.mark.parametrize("version", PLAIN_RELEASES)
def test_every_tower_that_the_ledger_leaves_out_is_left_out(version: str) -> None:
    """A class that built its tower all the same would take more than the plan says."""
    registry = load_registry(version)
    media = [name for name in VISION_MODELS if name in registry.media]
    assert len(media) > 10
    assert [name for name in media if marks(version, registry.classes[name]) == (name in ALWAYS_BUILT)] == []
    assert not any(marks(version, registry.classes[name]) for name in ALWAYS_BUILT)
    assert not marks(version, "LlamaForCausalLM")
