"""What the engine tests share: a vLLM from `.engine/`, its parser, and a model small enough for a CPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.engine_process import CPU_RELEASE, ENGINE, PLAIN_RELEASES, ParserOracle, engine_python

PARTS = ("cpu", *(f"vllm-{version}" for version in PLAIN_RELEASES))


@pytest.fixture(scope="session", autouse=True)
def engine() -> Path:
    """The folder that `tools/setup_engine.py` makes; without it the tests are skipped, or fail where they must run."""
    missing = [part for part in PARTS if not (ENGINE / part / "stamp").is_file()]
    if missing:
        reason = f".engine/ lacks {', '.join(missing)}: run python3 tools/setup_engine.py"
        if os.environ.get("STACKC_REQUIRE_TOOLS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return ENGINE


@pytest.fixture(scope="session")
def oracle(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ParserOracle]]:
    """vLLM's parser by release; each is started once, when it is first asked for."""
    logs = tmp_path_factory.mktemp("parsers")
    started: dict[str, ParserOracle] = {}

    def of_release(version: str) -> ParserOracle:
        assert version in (CPU_RELEASE, *PLAIN_RELEASES), f".engine/ has no vLLM {version}"
        if version not in started:
            started[version] = ParserOracle(version, logs / f"{version}.log")
        return started[version]

    yield of_release
    for parser in started.values():
        parser.close()


@pytest.fixture(scope="session")
def tiny_model(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Qwen2 model of 1 MB."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    script = Path(__file__).with_name("tiny_model.py")
    subprocess.run([engine_python(), script, folder], check=True, capture_output=True)
    return folder
