"""Which modules of a release's models a start of ours may reach: those of our readers, and what these import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from compiler.checkpoints.families.dense.pooling import converted
from compiler.checkpoints.families.table import FAMILIES

_MODELS = "model_executor/models"
_PACKAGE = "vllm.model_executor.models"
_OTHER_DEVICES = {"amd", "cpu", "xpu"}


def model_modules(package: Path) -> frozenset[Path]:
    """The files of `vllm/model_executor/models` whose refusals need an answer.

    Args:
        package: the folder `vllm` of the release.
    """
    folder = package / _MODELS
    found: set[Path] = set()
    # Every start asks the registry, whatever the model.
    waiting = [folder / "registry.py", *_served(folder)]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file, folder)
    return frozenset(found)


def own_modules(package: Path) -> frozenset[Path]:
    """The files of `vllm/models` that serve an architecture that we read on an NVIDIA GPU.

    A model there is a package, with folders for other devices.
    """
    found = (
        _package(module, package) for name, module in registered(package / _MODELS / "registry.py") if _is_read(name)
    )
    files = {file for folder in found if folder is not None for file in folder.rglob("*.py")}
    return frozenset(file for file in files if not _OTHER_DEVICES & set(file.relative_to(package).parts))


def _package(module: str, package: Path) -> Path | None:
    """The folder of a model in `vllm/models`; None for a module elsewhere."""
    top, *rest = module.removeprefix("vllm.").split(".")
    return package / top / rest[0] if module.startswith("vllm.models.") else None


def _is_read(architecture: str) -> bool:
    return architecture in FAMILIES or converted(architecture, FAMILIES) is not None


def _served(folder: Path) -> Iterator[Path]:
    """Modules with a class for an architecture that we read."""
    for architecture, module in registered(folder / "registry.py"):
        if _is_read(architecture):
            yield from _files(module, folder)


def registered(registry: Path) -> Iterator[tuple[str, str]]:
    """Architecture and module of each entry of the registry's tables.

    An entry is `"Architecture": ("module", "Class")` in a mapping of the module itself.
    """
    for node in ast.walk(ast.parse(registry.read_text())):
        for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            match key, value:
                case ast.Constant(str(architecture)), ast.Tuple([ast.Constant(str(module)), ast.Constant(str())]):
                    yield architecture, module


def _files(module: str, folder: Path) -> Iterator[Path]:
    """The file of a module below the models, or of its package; nothing where it is none of these."""
    path = folder.joinpath(*module.removeprefix(f"{_PACKAGE}.").split("."))
    yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


def _imports(file: Path, folder: Path) -> Iterator[Path]:
    """Files of the models that one of them imports, in whatever spelling."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names if alias.name.startswith(f"{_PACKAGE}.")):
                yield from _files(name, folder)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, file, folder)
            if base is not None:
                for name in (base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)):
                    yield from _files(name, folder) if name else ()


def _base(node: ast.ImportFrom, file: Path, folder: Path) -> str | None:
    """The module that is imported from, below the models; None for one that is elsewhere."""
    if node.level == 0:
        module = node.module or ""
        return module[len(_PACKAGE) + 1 :] if f"{module}.".startswith(f"{_PACKAGE}.") else None
    here = file.parent
    for _ in range(node.level - 1):
        here = here.parent
    if not here.is_relative_to(folder):
        return None
    return ".".join((*here.relative_to(folder).parts, *((node.module,) if node.module else ())))
