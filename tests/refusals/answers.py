"""Whether what a row of the table names is there: the code, the symbol, the test, and options that nobody gets."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from compiler.diagnostics.catalogue import CODES
from compiler.engines.common.options import FlagCatalog, check_value
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.values import check_limits
from tests.refusals.table import RELEASE, Row

ROOT = Path(__file__).parents[2]
# Where options of a server are written down; a patch of a unit or a container cannot change the command line.
_EMITTERS = (
    "compiler/engines/vllm/launch.py",
    "compiler/engines/vllm/answers/chats.py",
    "compiler/engines/vllm/answers/parsers.py",
    "compiler/engines/vllm/host/doors.py",
    "compiler/engines/vllm/answers/parser_table.py",
)
_PREFLIGHT = "templates/lib/stack/machine/preflight.py"


def faults(row: Row) -> Iterator[str]:
    """What a row names and is not there, one sentence each."""
    if row.answer == "rule" and not _is_rule(row.reason):
        yield f"{row.where}: `{row.reason}` is no code of ours, nor `default`, nor an exit code of preflight"
    if row.kept_by is not None and not _is_symbol(row.kept_by):
        yield f"{row.where}: there is no `{row.kept_by}`"
    if row.test is not None and not (_is_case(row.test, row.reason) or _is_test(row.test)):
        yield f"{row.where}: there is no test `{row.test}`"
    for option in row.options:
        if (reason := why_reachable(option)) is not None:
            yield f"{row.where}: {option} {reason}"


def _is_rule(reason: str) -> bool:
    if reason.startswith("preflight:"):
        return re.search(rf"\b{int(reason.partition(':')[2])} \w", _codes_of_preflight()) is not None
    return reason == "default" or reason in CODES


@cache
def _codes_of_preflight() -> str:
    """Its own text has them: `10 driver, 11 GPU identity, …`."""
    text = (ROOT / _PREFLIGHT).read_text()
    return text[text.index("Exit codes") :].partition('"""')[0]


@cache
def _is_symbol(name: str) -> bool:
    """`compiler.module:Name.attribute`; fields of dataclasses with slots are attributes of the class."""
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return bool(path)


@cache
def _is_case(name: str, code: str) -> bool:
    """A folder of `tests/cases/errors` whose expected output has the rule's code."""
    expected = ROOT / name / "expected.txt"
    return "::" not in name and expected.is_file() and f"[{code}]" in expected.read_text()


@cache
def _is_test(name: str) -> bool:
    """`file::function`."""
    file, _, function = name.partition("::")
    path = ROOT / file
    if not path.is_file() or not function:
        return False
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return any(node.name == function for node in functions)


@cache
def why_reachable(option: str) -> str | None:
    """Why a server of ours may get an option, or `--option=value`; None if none does."""
    catalog = load_flags(RELEASE)
    name, given, value = option.partition("=")
    flag = catalog.find(name)
    if flag is None:
        return "is no option of the release"
    if decided(flag) is not None:
        return "is emitted" if flag.name in _emitted(catalog) else None
    if not given:
        return "is the user's to give"
    return "takes this value" if check_value(flag, value) is None and check_limits(flag, value) is None else None


@cache
def _emitted(catalog: FlagCatalog) -> frozenset[str]:
    """Options that stand as text in what makes a server's arguments."""
    trees = (ast.parse((ROOT / file).read_text()) for file in _EMITTERS)
    words = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    texts = (word for word in words if isinstance(word, str) and word.startswith("--"))
    return frozenset(flag.name for text in texts if (flag := catalog.find(text)) is not None)
