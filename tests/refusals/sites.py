"""Every place where a release's sources raise or assert, by file and function."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.refusals.reached import model_modules, own_modules

_LAYERS = (
    "activation.py",
    "attention",
    "conv.py",
    "fused_moe/layer.py",
    "fused_moe/router/router_factory.py",
    "fused_moe/router/grouped_topk_router.py",
    "layernorm.py",
    "linear.py",
    "logits_processor.py",
    "mamba/abstract.py",
    "mamba/checkpoint.py",
    "mamba/gdn",
    "mamba/mamba_mixer.py",
    "mamba/mamba_mixer2.py",
    "mamba/mamba_utils.py",
    "mamba/short_conv.py",
    "mla.py",
    "pooler",
    "rotary_embedding",
    "vocab_parallel_embedding.py",
)
FOLDERS: Mapping[str, str | tuple[str, ...]] = {
    "config": "config",
    "arg_utils": "engine/arg_utils.py",
    "worker": "v1/worker",
    "core": "v1/core",
    "models": "model_executor/models",
    "packages": "models",
    "lora": "lora",
    "layers": tuple(f"model_executor/layers/{name}" for name in _LAYERS),
}
"""Part of the table → what it covers, below `vllm/`."""

MODULE = "<module>"
_DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Site:
    """One `raise` or `assert`.

    Attributes:
        file: below `vllm/`.
        function: `Class.method`, with functions inside functions after a further dot; `<module>` outside all.
        kind: the exception's name, or `assert`.
        digest: of the statement without its layout: it changes with the statement and not with its line.
    """

    file: str
    function: str
    kind: str
    line: int
    digest: str

    def __str__(self) -> str:
        return f"vllm/{self.file}:{self.line} {self.function} {self.kind} [{self.digest}]"


def sites_of(part: str, package: Path) -> tuple[Site, ...]:
    """All sites of one part of the table, by file and line.

    A module of models that none of our readers leads to needs no answer: its architectures are refused (E0307).

    Args:
        package: the folder `vllm` of the release.
    """
    places = FOLDERS[part]
    tops = [package / place for place in ([places] if isinstance(places, str) else places)]
    files = [file for top in tops for file in ([top] if top.is_file() else sorted(top.rglob("*.py")))]
    if part == "models":
        reached = model_modules(package)
        files = [file for file in files if file in reached]
    elif part == "packages":
        owned = own_modules(package)
        files = [file for file in files if file in owned]
    return tuple(site for file in files for site in sites_in(file.read_text(), file.relative_to(package).as_posix()))


def sites_in(text: str, file: str) -> Iterator[Site]:
    """The sites of one source text, in its order."""
    yield from _below(ast.parse(text), file, ())


def _below(node: ast.AST, file: str, names: tuple[str, ...]) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        kind = _kind(child)
        if kind is not None:
            assert isinstance(child, ast.stmt)
            digest = hashlib.sha256(ast.unparse(child).encode()).hexdigest()[:_DIGEST_LENGTH]
            yield Site(file, ".".join(names) or MODULE, kind, child.lineno, digest)
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _below(child, file, (*names, child.name) if named else names)


def _kind(node: ast.AST) -> str | None:
    """What a statement raises; None where it raises nothing, or again what it caught."""
    if isinstance(node, ast.Assert):
        return "assert"
    if not isinstance(node, ast.Raise) or node.exc is None:
        return None
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = ast.unparse(raised)
    is_class = isinstance(node.exc, ast.Call) or name.rpartition(".")[2][:1].isupper()
    return name if is_class else None
