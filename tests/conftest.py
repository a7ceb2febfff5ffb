"""What all tests share: the repository's root, and tools that must be there in CI."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import ssl
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from tests.examples import FEW, MANY

ROOT = Path(__file__).parents[1]

# A terminal on which no sentence is broken.
WIDE = {"COLUMNS": "400"}

# Reading all tests anew takes seconds in every process: what was read is kept, as with `make`, whatever the shell says.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every client of a Hub reads the machine's certificates, for 20 ms; those of tests ask servers that have none.
ssl.create_default_context = cache(ssl.create_default_context)

# jsonschema imports a checker of IRIs where there is one, whose grammars every process would read for most of a second.
# No schema here has an IRI.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# A slow machine is no bug. CI asks the same questions every time, so that what it says depends on the change alone;
# everywhere else each run asks new ones. The suite that is run at every change asks few of each property, those of
# hostile inputs many: the tests of properties belong to both.
_DERANDOMIZE = os.environ.get("STACKC_REQUIRE_TOOLS") == "1"
settings.register_profile(FEW, deadline=None, max_examples=20, derandomize=_DERANDOMIZE)
settings.register_profile(MANY, deadline=None, max_examples=200, derandomize=_DERANDOMIZE)


# Tests of what is emitted run real programs, which takes minutes; those of a page run a browser.
EMITTED = (
    "docs/test_browser",
    "docs/test_tutorial",
    "gateway/",
    "monitoring/",
    "report/",
    "unit/test_scripts_",
    "unit/test_installer",
    "unit/test_wheel",
    "hub/test_prefetch",
)
# Inputs by the hundred, runs that are killed, strangers' files, answers that drip: what is odd, not daily.
HOSTILE = (
    "choose/test_hundred",
    "fuzz/",
    "hub/test_bounds",
    "hub/test_complete",
    "hub/test_deadline",
    "ledgers/",
    "output/",
    "properties/test_absurd_",
    "properties/test_hostile_",
    "registry/",
    "unit/test_hybrid_absurd",
)


# Whole folders of a marker of their own.
ENGINE = ("engine/", "engines/llama_cpp/server/", "systemd/")


def pytest_configure(config: pytest.Config) -> None:
    """How many questions are asked of a property, before the modules with those tests are read."""
    settings.load_profile(MANY if _asks_more(config) else FEW)


def _asks_more(config: pytest.Config) -> bool:
    return "hostile" in config.getoption("markexpr").replace("not hostile", "")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A suite that leaves out all tests of a file need not import it: that takes seconds in every process."""
    left_out = {word for word in ("emitted", "engine", "hostile") if f"not {word}" in config.getoption("markexpr")}
    places = (*(EMITTED if left_out >= {"emitted", "engine"} else ()), *(HOSTILE if "hostile" in left_out else ()))
    places += ENGINE if "engine" in left_out else ()
    path = collection_path.relative_to(ROOT / "tests") if collection_path.is_relative_to(ROOT / "tests") else None
    return True if path is not None and path.as_posix().startswith(places) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep them out of the suite that is run at every change; properties are in both."""
    for item in items:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        if path.startswith(EMITTED) and item.get_closest_marker("engine") is None:
            item.add_marker(pytest.mark.emitted)
        is_property = isinstance(item, pytest.Function) and is_hypothesis_test(item.obj)
        is_asked_more = is_property and not path.startswith(ENGINE) and _asks_more(config)
        if path.startswith(HOSTILE) or is_asked_more:
            item.add_marker(pytest.mark.hostile)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: looking through them for garbage again and again takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@contextmanager
def interrupts(*, ignored: bool) -> Iterator[None]:
    """What a child that is started here does at SIGINT, whoever runs the tests.

    A shell ignores it, and SIGQUIT, for what it starts in the background, and nohup SIGHUP; children inherit that.
    """
    wanted = {
        signal.SIGINT: signal.SIG_IGN if ignored else signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test's Hub says must not reach the developer's cache, nor another test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4()}"))


@pytest.fixture
def root() -> Path:
    """The top of the repository."""
    return ROOT


def tool(name: str) -> str:
    """Path of a program; without it a test is skipped on a laptop and fails in CI."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        missing(f"{name} is not installed")
    return str(found)


def missing(reason: str) -> None:
    """A tool is missing: a failure where STACKC_REQUIRE_TOOLS=1 says that all must be there, else a visible skip."""
    if os.environ.get("STACKC_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
