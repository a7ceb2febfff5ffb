#!/usr/bin/env python3
"""Write what a vLLM release makes of text to compiler/engines/vllm/releases/VERSION/tokenizers.json.

What it makes without code of a repository. vLLM's files are read, not imported; transformers, which makes most
tokenizers, is. Run it with the Python of an engine
that has vLLM's dependencies, and once more for a release of which only the Python files are there:

    .engine/cpu/bin/python tools/extract_tokenizers.py
    .engine/cpu/bin/python tools/extract_tokenizers.py --source .engine/vllm-0.33.0
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.extract_architectures import CATALOG, CONFIGS, Json, compare, installed, render, tables, version_of  # noqa: E402

# Renderers that need a Jinja template, or answer no chats.
_TEMPLATED = ("HfRenderer", "TerratorchRenderer")
_MODEL_CONFIG = "config/model.py"


def main() -> int:
    """Write the table of one version, or with --check compare it."""
    parser = argparse.ArgumentParser(description="Write what vLLM makes of text to the catalog.")
    parser.add_argument("--source", type=Path, help="a folder with vLLM's files, instead of the installed vLLM")
    parser.add_argument("--output", type=Path, help="the file to write (default: in compiler/engines/vllm/releases)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    arguments = parser.parse_args()
    if arguments.source:  # packages that lie beside vLLM's files come before the installed ones
        sys.path.insert(0, str(arguments.source.resolve()))
    package = arguments.source / "vllm" if arguments.source else installed("vllm")
    version = version_of(package)
    output = arguments.output or CATALOG / version / "tokenizers.json"
    text = render(extract(package, version))
    if arguments.check:
        return compare(output, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    return 0


def extract(package: Path, version: str) -> Json:
    """The table of a release."""
    configs = tables(package / CONFIGS)["_CONFIG_REGISTRY"]
    renderers = tables(package / "renderers/registry.py")["_VLLM_RENDERERS"]
    overridden = _literals(package / "tokenizers/registry.py", "_MODEL_TYPES_WITH_INCORRECT_TOKENIZER_CLASS")
    fallbacks = _literals(package / "transformers_utils/chat_templates/registry.py", _FALLBACKS)
    own = _literals(package / "transformers_utils/processors/__init__.py", "__all__")
    auto = _Auto(configs)
    return {
        "vllm": version,
        "transformers": importlib.import_module("transformers").__version__,
        "modes": dict(sorted(_modes(package / _MODEL_CONFIG))),
        "renderers": sorted(mode for mode, (_, name) in renderers.items() if name not in _TEMPLATED),
        "template_types": sorted(fallbacks),
        "tokenizer_types": sorted({*auto.types("tokenization", "TOKENIZER"), *overridden}),
        "tokenizer_classes": sorted(auto.tokenizer_classes()),
        "processor_types": sorted(auto.types("processing", "PROCESSOR")),
        "processor_classes": sorted({*auto.classes("processing", "PROCESSOR"), *own}),
    }


_FALLBACKS = "_MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK"


def _modes(path: Path) -> Iterator[tuple[str, str]]:
    """Architectures that get a tokenizer mode of their own: `if arch == "X": self.tokenizer_mode = "x"`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
            continue
        test, first = node.test, node.body[0]
        is_mode = isinstance(first, ast.Assign) and ast.unparse(first.targets[0]) == "self.tokenizer_mode"
        if is_mode and ast.unparse(test.left) == "arch":
            names = ast.literal_eval(test.comparators[0])
            mode = ast.literal_eval(ast.unparse(first).partition("=")[2].strip())
            yield from ((name, mode) for name in ([names] if isinstance(names, str) else names))


def _literals(path: Path, name: str) -> list[str]:
    """Texts of a list or set, or keys of a map, that a module assigns to a name."""
    for node in ast.parse(path.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == name:
            value: Any = getattr(node, "value", None)
            entries: Any = value.keys if isinstance(value, ast.Dict) else value.elts
            return [str(ast.literal_eval(entry)) for entry in entries]
    raise ValueError(f"{path} has no {name}")


class _Auto:
    """What transformers makes for a model type or a class by itself, of the configurations that vLLM adds too."""

    def __init__(self, added: dict[str, str]) -> None:
        known: dict[str, str] = _auto("configuration").CONFIG_MAPPING_NAMES
        self._classes = {**known, **added}
        self._types = {name: model_type for model_type, name in known.items()}

    def types(self, module: str, kind: str) -> Iterator[str]:
        """transformers/models/auto/auto_factory.py:_LazyAutoMapping finds them by the name of the configuration."""
        names = getattr(_auto(module), f"{kind}_MAPPING_NAMES")
        for model_type, class_name in self._classes.items():
            if names.get(self._types.get(class_name, "")) is not None:
                yield model_type

    def classes(self, module: str, kind: str) -> set[str]:
        """Names of classes that it makes."""
        transformers = importlib.import_module("transformers")
        names = {name for name in getattr(_auto(module), f"{kind}_MAPPING_NAMES").values() if name}
        return names | {name for name in dir(transformers) if name.endswith("Processor")}

    def tokenizer_classes(self) -> set[str]:
        """Each is found by its name with and without `Fast`."""
        transformers = importlib.import_module("transformers")
        names = {name for name in _auto("tokenization").TOKENIZER_MAPPING_NAMES.values() if name}
        names |= {name for name in dir(transformers) if name.endswith(("Tokenizer", "TokenizerFast", "Backend"))}
        found = _auto("tokenization").tokenizer_class_from_name
        bare = {name.removesuffix("Fast") for name in names}
        return {name for name in bare if found(name) is not None or found(f"{name}Fast") is not None}


def _auto(module: str) -> Any:
    return importlib.import_module(f"transformers.models.auto.{module}_auto")


if __name__ == "__main__":
    sys.exit(main())
