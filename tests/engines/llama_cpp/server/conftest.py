"""What the tests of a real llama-server share: that it is there, and models small enough for a CPU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import missing, tool
from tests.engines.llama_cpp.random_encoders import EMBEDDERS, RERANKERS
from tests.engines.llama_cpp.random_models import HEAD, MODELS, WIDE_HEAD, Model
from tests.engines.llama_cpp.server.running import clean_environment
from tools.setup_llama_server import FOLDER


@pytest.fixture(scope="session", autouse=True)
def llama_server() -> None:
    """The server that `make llama-server` makes; without it the tests are skipped, or fail where they must run."""
    if not (FOLDER / "stamp").is_file():
        missing(f".engine/ lacks {FOLDER.name}: run make llama-server")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The random model of a family; each is written once."""
    folder = tmp_path_factory.mktemp("models")

    def of_family(family: str) -> Path:
        path = folder / f"{family}.gguf"
        if not path.is_file():
            _random(family).write(path)
        return path

    return of_family


def _random(family: str) -> Model:
    if family in MODELS:
        return MODELS[family]()
    name, _, kind = family.partition("-")
    return {**EMBEDDERS, **RERANKERS}[name](WIDE_HEAD if kind == "wide" else HEAD)


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with the cards."""
    library = tmp_path_factory.mktemp("cards") / "libcards.so"
    ggml = FOLDER / "ggml"
    source = Path(__file__).with_name("fake_cards.cpp")
    command = [tool("g++"), "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{ggml}/include", f"-I{ggml}/src", str(source)]
    subprocess.run([*command, "-o", str(library)], check=True, capture_output=True)
    return library


@pytest.fixture
def cards(backend: Path, tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a server with cards of so many MiB each."""

    def of_sizes(sizes: str) -> dict[str, str]:
        return clean_environment(tmp_path) | {"GGML_BACKEND_PATH": str(backend), "CARDS": sizes}

    return of_sizes
