"""What vLLM's model classes say of LoRA adapters, read from their source: which layers are fused, which tables wrapped.

`tools/extract_architectures.py` writes it beside the architectures. A record has `packed` (the engine's module and the
projections of checkpoints in it), and where the class has them `tables` (embeddings and heads that adapters may
change), `experts` (`joined` where gate and up are one tensor, `ungated` where there is no gate), `skipped` (prefixes of
tensors that are passed over) and `inner` (the class wraps a language model, whose own class counts too).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_INTERFACES = "model_executor/models/interfaces.py"
_DEPTH = 12
_ATTRIBUTES = (
    "packed_modules_mapping", "embedding_modules", "is_3d_moe_weight", "is_non_gated_moe", "lora_skip_prefixes",
)  # fmt: skip


class ClassFacts:
    """Attributes of a package's classes, by the rules of inheritance, as far as they are written out."""

    def __init__(self, package: Path, origin: Callable[[ast.ImportFrom, str], str | None]) -> None:
        self._package, self._origin = package, origin

    def adapters(self, module: str, class_name: str) -> Json:
        """The record of a class that takes adapters."""
        packed, tables, joined, ungated, skipped = (self.attribute(module, class_name, name) for name in _ATTRIBUTES)
        experts = {"experts": "joined"} if joined else {"experts": "ungated"} if ungated else {}
        return {
            "packed": {**(packed or {}), **dict(self._packed_later(module, class_name))},
            **({"tables": sorted(tables)} if tables else {}),
            **experts,
            **({"skipped": skipped} if skipped else {}),
            **({"inner": True} if self.has_method(module, class_name, "get_mm_mapping") else {}),
        }

    def attribute(self, module: str, class_name: str, name: str, depth: int = _DEPTH) -> Any:
        """The value that a class gives an attribute, itself or by its first base that does; None where none does."""
        for place, body in self._lineage(module, class_name, depth):
            for node in body:
                target, value = _assignment(node)
                if target == name and value is not None:
                    return self._value(place, value, depth)
        return None

    def _packed_later(self, module: str, class_name: str) -> Iterator[tuple[str, list[str]]]:
        """What instances add to `packed_modules_mapping` where they have such a layer."""
        for _, body in self._lineage(module, class_name, _DEPTH):
            for node in (inner for outer in body for inner in ast.walk(outer)):
                target = node.targets[0] if isinstance(node, ast.Assign) else None
                if (
                    isinstance(target, ast.Subscript)
                    and ast.unparse(target.value) == "self.packed_modules_mapping"
                    and isinstance(node, ast.Assign)
                ):
                    yield ast.literal_eval(target.slice), ast.literal_eval(node.value)

    def has_method(self, module: str, class_name: str, name: str) -> bool:
        """Whether a class, or a base of it, defines a method."""
        return any(
            isinstance(node, ast.FunctionDef) and node.name == name
            for _, body in self._lineage(module, class_name, _DEPTH)
            for node in body
        )

    def _lineage(self, module: str, class_name: str, depth: int) -> Iterator[tuple[str, list[ast.stmt]]]:
        """Bodies of a class and its bases, each with its module; the interfaces' own defaults say nothing."""
        if not depth:
            return
        found = self._find(module, class_name)
        if found is None:
            return
        place, definition = found
        if place.replace(".", "/") + ".py" == _INTERFACES:
            return
        if isinstance(definition, ast.ClassDef):
            yield place, definition.body
            bases = [name for base in definition.bases for name in _names(base)]
        else:
            bases = [argument.id for argument in definition.args if isinstance(argument, ast.Name)]
        for base in bases:
            yield from self._lineage(place, base, depth - 1)

    def _find(self, module: str, name: str, depth: int = _DEPTH) -> tuple[str, ast.ClassDef | ast.Call] | None:
        tree = _parsed(self._package, module)
        if tree is None or not depth:
            return None
        here, statements = tree
        for node in statements:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return module, node
            target, value = _assignment(node)
            if target == name and isinstance(value, ast.Call):
                return module, value
        for node in statements:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    origin = self._origin(node, here) if (alias.asname or alias.name) == name else None
                    if origin is not None:
                        return self._find(origin, alias.name, depth - 1)
        return None

    def _value(self, module: str, value: ast.expr, depth: int) -> Any:
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            return self.attribute(module, value.value.id, value.attr, depth - 1)
        if isinstance(value, ast.Name):
            return self._constant(module, value.id, depth)
        if isinstance(value, ast.Subscript):
            return self._value(module, value.value, depth)[ast.literal_eval(value.slice)]
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
            return self._value(module, value.left, depth) | self._value(module, value.right, depth)
        if isinstance(value, ast.Dict):
            merged: Json = {}
            for key, entry in zip(value.keys, value.values, strict=True):
                one = self._value(module, entry, depth)
                merged |= (one or {}) if key is None else {str(ast.literal_eval(key)): one}
            return merged
        return ast.literal_eval(value)

    def _constant(self, module: str, name: str, depth: int) -> Any:
        """What a module, or the one that it takes the name from, gives a name."""
        here, statements = _parsed(self._package, module) or ("", [])
        for node in statements:
            target, value = _assignment(node)
            if target == name and value is not None:
                return self._value(module, value, depth)
        for node in statements:
            origin = self._origin(node, here) if isinstance(node, ast.ImportFrom) and depth else None
            for alias in node.names if origin is not None and isinstance(node, ast.ImportFrom) else ():
                if (alias.asname or alias.name) == name:
                    return self._constant(str(origin), alias.name, depth - 1)
        raise ValueError(f"{module} does not say what {name} is")


def _assignment(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return (target.id, getattr(node, "value", None)) if isinstance(target, ast.Name) else (None, None)


def _names(base: ast.expr) -> Iterator[str]:
    inner = base.value if isinstance(base, ast.Subscript) else base
    if isinstance(inner, ast.Name):
        yield inner.id
    elif isinstance(inner, ast.Call):
        yield from (argument.id for argument in inner.args if isinstance(argument, ast.Name))


@cache
def _parsed(package: Path, module: str) -> tuple[str, list[ast.stmt]] | None:
    path = package / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return None
    here = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return here, [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)]
