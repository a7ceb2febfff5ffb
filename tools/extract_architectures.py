#!/usr/bin/env python3
"""Write which architectures a vLLM release serves to compiler/engines/vllm/releases/VERSION/architectures.json.

vLLM's files are read, not imported; transformers, whose classes a release falls back to, is. Run it with the Python of
an engine that has vLLM's dependencies, and once more for a release of which only the Python files are there:

    .engine/cpu/bin/python tools/extract_architectures.py
    .engine/cpu/bin/python tools/extract_architectures.py --source .engine/vllm-0.33.0

A record is [name, module, class] and what differs from most: `draft` for speculative decoding only, `media` where the
class takes images, sound or videos, `mrope` where it gives a token several positions, `unstaged` where it cannot be
divided into pipeline stages. `adapters` has a record for each class that serves LoRA (tools/adapter_classes.py).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.adapter_classes import ClassFacts  # noqa: E402

CATALOG = ROOT / "compiler/engines/vllm/releases"
REGISTRY = "model_executor/models/registry.py"
CONFIGS = "transformers_utils/config.py"
ALL, DRAFTS, MEDIA = "_VLLM_MODELS", "_SPECULATIVE_DECODING_MODELS", "_MULTIMODAL_MODELS"
_DEPTH = 12
Json = dict[str, Any]


def main() -> int:
    """Write the table of one version, or with --check compare it."""
    arguments = _parse_arguments()
    if arguments.source:  # packages that lie beside vLLM's files come before the installed ones
        sys.path.insert(0, str(arguments.source.resolve()))
    package = arguments.source / "vllm" if arguments.source else installed("vllm")
    version = arguments.version or version_of(package)
    output = arguments.output or CATALOG / version / "architectures.json"
    text = render(extract(package, version))
    if arguments.check:
        return compare(output, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the architectures that vLLM serves to the catalog.")
    parser.add_argument("--source", type=Path, help="a folder with vLLM's files, instead of the installed vLLM")
    parser.add_argument("--version", help="of these files, where they do not say it themselves")
    parser.add_argument("--output", type=Path, help="the file to write (default: in compiler/engines/vllm/releases)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    return parser.parse_args()


def installed(name: str) -> Path:
    """The folder of a package that is there."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed here")
    return Path(found.origin).parent


def version_of(package: Path) -> str:
    """The version that vLLM's own file has."""
    text = (package / "_version.py").read_text()
    found = re.search(r"^(?:__version__|version)\b.*?= *'([0-9.]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{package / '_version.py'} names no version")
    return found[1].rstrip(".")


def extract(package: Path, version: str) -> Json:
    """The table of a release."""
    registry = tables(package / REGISTRY)
    configs = tables(package / CONFIGS)
    types, classes = _transformers(set(registry[ALL]))
    return {
        "vllm": version,
        "transformers": importlib.import_module("transformers").__version__,
        "architectures": [
            _record(package, name, *entry, draft=name in registry[DRAFTS], media=name in registry[MEDIA])
            for name, entry in sorted(registry[ALL].items())
        ],
        "adapters": dict(sorted(_adapters(package, registry[ALL].values()))),
        "removed": registry["_PREVIOUSLY_SUPPORTED_MODELS"],
        "plugins": registry["_OOT_SUPPORTED_MODELS"],
        "model_types": sorted({*types, *configs["_CONFIG_REGISTRY"]}),
        "without_model_type": sorted(configs.get("_ARCHITECTURE_TO_MODEL_TYPE", {})),
        "transformers_classes": sorted(classes),
    }


def tables(path: Path) -> dict[str, dict[str, Any]]:
    """Maps with literal values that a module assigns to names, with the maps that they take in."""
    found: dict[str, dict[str, Any]] = {}
    for statement in ast.parse(path.read_text()).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            items = _items(value, found)
            if items is not None:
                found[target.id] = items
    return found


def _items(value: ast.expr, known: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    if isinstance(value, ast.Call):
        pairs: list[tuple[ast.expr | None, ast.expr]] = [
            (ast.Constant(word.arg) if word.arg else None, word.value) for word in value.keywords
        ]
    elif isinstance(value, ast.Dict):
        pairs = list(zip(value.keys, value.values, strict=True))
    else:
        return None
    items: dict[str, Any] = {}
    for key, entry in pairs:
        try:
            if key is not None:
                items[str(ast.literal_eval(key))] = ast.literal_eval(entry)
                continue
        except ValueError:
            return None
        items |= _taken_in(entry, known)
    return items


def _taken_in(entry: ast.expr, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`**other` and `**{...}`; of a comprehension, the entries of the map that it filters by a class's name."""
    if isinstance(entry, ast.Name):
        return known.get(entry.id, {})
    if isinstance(entry, ast.DictComp):
        source = next(node.id for node in ast.walk(entry.generators[0].iter) if isinstance(node, ast.Name))
        wanted = {node.value for node in ast.walk(entry.generators[0].ifs[0]) if isinstance(node, ast.Constant)}
        return {name: pair for name, pair in known[source].items() if pair[1] in wanted}
    return _items(entry, known) or {}


def _record(package: Path, name: str, module: str, class_name: str, *, draft: bool, media: bool) -> list[str]:
    relative = _relative(module)
    staged = _has_base(package, relative, class_name, "SupportsPP")
    # The registry's own list and the classes' own word differ: either is enough.
    media = media or _has_base(package, relative, class_name, "SupportsMultiModal")
    turned = _has_base(package, relative, class_name, "SupportsMRoPE")
    marks = {"draft": draft, "media": media, "mrope": turned, "unstaged": not staged}
    return [name, module, class_name, *(mark for mark, is_so in marks.items() if is_so)]


def _adapters(package: Path, entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Json]]:
    facts = ClassFacts(package, _origin)
    for module, class_name in set(entries):
        relative = _relative(module)
        if _has_base(package, relative, class_name, "SupportsLoRA"):
            yield class_name, facts.adapters(relative, class_name)


def _relative(module: str) -> str:
    return module.removeprefix("vllm.") if module.startswith("vllm.") else f"model_executor.models.{module}"


def _has_base(package: Path, module: str, class_name: str, wanted: str, depth: int = _DEPTH) -> bool:
    """Whether a class has that base, at any remove."""
    if class_name == wanted:
        return True
    definitions = _definitions(package, module) if depth else None
    if definitions is None:
        return False
    classes, imports = definitions
    if class_name in classes:
        return any(_has_base(package, module, base, wanted, depth - 1) for base in classes[class_name])
    if class_name in imports:
        return _has_base(package, *imports[class_name], wanted, depth - 1)
    return False


Definitions = tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, str]]]


@cache
def _definitions(package: Path, module: str) -> Definitions | None:
    """A module's classes with their bases, and names it imports with where from; None if it is not vLLM's."""
    path = package / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return None
    here = module if path.name == "__init__.py" else module.rpartition(".")[0]
    classes: dict[str, tuple[str, ...]] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            classes.setdefault(node.name, tuple(_base_names(node)))
        elif (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
        ):
            # A class made by a function of another one: `Base = as_embedding_model(LlamaForCausalLM)`.
            made_of = tuple(argument.id for argument in node.value.args if isinstance(argument, ast.Name))
            classes.setdefault(node.targets[0].id, made_of)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, here)
            for alias in node.names if origin is not None else ():
                imports.setdefault(alias.asname or alias.name, (origin or "", alias.name))
    return classes, imports


def _base_names(node: ast.ClassDef) -> Iterator[str]:
    for base in node.bases:
        inner = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Call):
            yield from (argument.id for argument in inner.args if isinstance(argument, ast.Name))


def _origin(node: ast.ImportFrom, here: str) -> str | None:
    if node.level:
        parent = here.split(".")[: len(here.split(".")) - node.level + 1]
        return ".".join((*parent, *([node.module] if node.module else [])))
    if node.module and node.module.startswith("vllm."):
        return node.module.removeprefix("vllm.")
    return None


def _transformers(registered: set[str]) -> tuple[set[str], set[str]]:
    """Model types whose configuration transformers reads, and model classes that vLLM can run through it."""
    transformers = importlib.import_module("transformers")
    types = set(importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES)
    names: set[str] = set()
    modeling = importlib.import_module("transformers.models.auto.modeling_auto")
    for key in dir(modeling):
        if key.endswith("_MAPPING_NAMES"):
            for value in getattr(modeling, key).values():
                names.update([value] if isinstance(value, str) else value)
    return types, {name for name in names - registered if _runs(transformers, name)}


def _runs(transformers: Any, name: str) -> bool:
    """model_executor/models/registry.py:_try_resolve_transformers asks the same."""
    try:
        model: Any = getattr(transformers, name, None)
        compatible = getattr(model, "is_backend_compatible", None)
        return compatible is not None and bool(compatible() or model._can_set_attn_implementation())  # noqa: SLF001
    except ImportError:
        # It needs a library for images or sound, which an engine for GPUs has.
        return True


def render(table: Json) -> str:
    """Render the table with one record a line, so that a diff between versions can be read."""
    parts = []
    for key, value in table.items():
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(record) for record in value)
            parts.append(f'"{key}": [\n{lines}\n]')
        elif isinstance(value, dict):
            lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(record)}" for name, record in value.items())
            parts.append(f'"{key}": {{\n{lines}\n}}')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{" + ",\n".join(parts) + "}\n"


def compare(path: Path, text: str) -> int:
    """Print how a file differs from a text; 1 if it does."""
    before = path.read_text().splitlines() if path.is_file() else []
    diff = list(difflib.unified_diff(before, text.splitlines(), str(path), "as extracted", n=0, lineterm=""))
    print("\n".join(diff))
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
