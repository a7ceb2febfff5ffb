"""preflight's questions about what a server compiles as it starts: compilers, headers, FlashInfer's kernels, CUDA.

Nothing is run to answer them: the installer asks as root, and what is found belongs to others.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, Sides, Skipped, StackError, Warned, engine_of
from stack.packages import environment_of

EXIT_TOOLS = 31
# What is taken where the variable is unset: triton/runtime/build.py, 3.8, and torch/_inductor/config.py, 2.14.
_COMPILERS = {"c": ("CC", ("gcc", "clang")), "c++": ("CXX", ("g++",))}
_PACKAGES = {"c": ("gcc", "gcc"), "c++": ("g++", "gcc-c++")}
# FlashInfer 0.7.2 supports 12.9, 13.0 and 13.4; what its kernels include is in the toolkit's packages for developers.
_OLDEST_CUDA = (12, 9)
_DEFAULT_CUDA = "/usr/local/cuda"
_HEADERS = ("cuda.h", "cuda_runtime_api.h", "curand_kernel.h")
_LIBRARIES = ("lib64", "lib", "targets/*/lib", "lib/*-linux-gnu")
_PIP = "install --no-cache-dir --only-binary :all:"


class _Engine(NamedTuple):
    """The Python installation that the engine's program belongs to: a virtual environment, or one of its own."""

    folder: Path
    packages: Path
    python: str

    @property
    def headers(self) -> Path:
        """Where its Python.h lies: a virtual environment has those of the Python that it was made with."""
        try:
            text = (self.folder / "pyvenv.cfg").read_text(encoding="utf-8")
        except OSError:
            text = ""
        home = re.search(r"^home *= *(.+?) *$", text, re.MULTILINE)
        return (Path(home[1]).parent if home else self.folder) / "include" / self.python


def _engine() -> _Engine:
    """That of STACKC_VLLM, or of `vllm` on PATH; whether it is the planned release is another question."""
    program = shutil.which(os.environ.get("STACKC_VLLM") or "vllm") or ""
    # A link to the program may lie anywhere.
    for folder in map(environment_of, (os.path.abspath(program), os.path.realpath(program))):
        found = sorted(folder.glob("lib/python3.*/site-packages")) if folder is not None else []
        with_engine = [path for path in found if any(path.glob("vllm-*.dist-info"))] or found
        if folder is not None and with_engine:
            return _Engine(folder, with_engine[0], with_engine[0].parent.name)
    raise Warned(f"{program or 'vllm'} lies in no environment of Python: nobody looked for what it compiles with")


def _needed(services: list[JsonObject], *tools: str) -> dict[str, list[str]]:
    """Why something of `tools` is needed, with the servers that do."""
    found: dict[str, list[str]] = {}
    for service in services:
        for need in service["host_needs"]:
            name, _, value = (need["unless"] or "").partition("=")
            if need["tool"] in tools and not (name and os.environ.get(name) == value):
                found.setdefault(need["why"], []).append(service["name"])
    return found


def _reasons(needed: dict[str, list[str]]) -> str:
    return "; ".join(f"{why} ({', '.join(names)})" for why, names in needed.items())


def check_compiler(services: list[JsonObject]) -> Sides:
    """A compiler and Python's headers, for what is compiled at every first start."""
    tools = [tool for tool in _COMPILERS if _needed(services, tool)]
    if not tools:
        raise Skipped("nothing of these servers is compiled on this machine")
    engine = _engine()
    header = engine.headers / "Python.h"
    names = {tool: "/".join(_COMPILERS[tool][1]) for tool in tools}
    wanted = f"{' and '.join(names.values())} on PATH, and {header}: {_reasons(_needed(services, *tools))}"
    missing = [name for tool, name in names.items() if _compiler(tool) is None]
    found = [f"no {name} on PATH ({os.environ.get('PATH', '')})" for name in missing]
    found += [] if os.access(header, os.R_OK) else [f"no {header}"]
    if found:
        raise StackError(EXIT_TOOLS, Sides(wanted, _for_whom(found), _compiler_remedy(tools, engine)))
    return Sides(wanted, ", ".join([*(str(_compiler(tool)) for tool in tools), str(header)]))


def _compiler(tool: str) -> str | None:
    variable, names = _COMPILERS[tool]
    given = os.environ.get(variable)
    words = shlex.split(given)[:1] if given else names
    return next(filter(None, map(shutil.which, words)), None)


def _for_whom(found: list[str]) -> str:
    return f"{', '.join(found)}, as user {os.geteuid()} sees it"


def _compiler_remedy(tools: list[str], engine: _Engine) -> str:
    debian, redhat = (" ".join(_PACKAGES[tool][kind] for tool in tools) for kind in (0, 1))
    return f"`apt-get install {debian} {engine.python}-dev`, or `dnf install {redhat} {engine.python}-devel`"


def check_kernels(plan: JsonObject, services: list[JsonObject]) -> Sides:
    """FlashInfer's kernels: prebuilt ones, or all that it takes to compile them. DeepGEMM's are never prebuilt."""
    compiled, sampled = _needed(services, "nvcc"), _needed(services, "flashinfer")
    if not compiled and not sampled:
        raise Skipped("no kernel of FlashInfer or DeepGEMM is used")
    wanted = f"{_what(compiled)}: {_reasons({**sampled, **compiled})}"
    no_toolkit = list(_toolkit_problems())
    if not no_toolkit:
        return Sides(wanted, f"a CUDA toolkit in {_cuda_home()}")
    no_wheels = list(_wheel_problems(plan))
    if not no_wheels and not compiled:
        return Sides(wanted, "prebuilt kernels are installed")
    found = no_toolkit if compiled else [*no_wheels, *no_toolkit]
    raise StackError(EXIT_TOOLS, Sides(wanted, _for_whom(found), _kernels_remedy(plan, compiled)))


def _what(compiled: dict[str, list[str]]) -> str:
    oldest = ".".join(map(str, _OLDEST_CUDA))
    toolkit = f"a CUDA toolkit, {oldest} or newer"
    return toolkit if compiled else f"FlashInfer's prebuilt kernels, or {toolkit}"


def _cuda_home() -> Path:
    """Where FlashInfer and DeepGEMM look (flashinfer/jit/cpp_ext.py:get_cuda_path, 0.7.2)."""
    given = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc")
    return Path(given or (str(Path(nvcc).parent.parent) if nvcc else _DEFAULT_CUDA))


def _toolkit_problems() -> Iterator[str]:
    home = _cuda_home()
    nvcc = os.environ.get("FLASHINFER_NVCC") or str(home / "bin" / "nvcc")
    if not os.access(nvcc, os.X_OK):
        yield f"no {nvcc}"
        return
    missing = [name for name in _HEADERS if not os.access(home / "include" / name, os.R_OK)]
    if missing:
        yield f"no {home / 'include' / missing[0]}"
    if not any(path for folder in _LIBRARIES for path in home.glob(f"{folder}/libcudart.so")):
        yield f"no libcudart.so below {home}"
    version = _cuda_version(home)
    if version is not None and version < _OLDEST_CUDA:
        yield f"{home} is CUDA {version[0]}.{version[1]}"
    compiler = (shlex.split(os.environ.get("CXX", "")) or ["c++"])[0]
    yield from (f"no {name} on PATH" for name in ("ninja", compiler) if shutil.which(name) is None)


def _cuda_version(home: Path) -> tuple[int, int] | None:
    try:
        text = (home / "include" / "cuda.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^#define CUDA_VERSION (\d+)", text, re.MULTILINE)
    return (int(found[1]) // 1000, int(found[1]) % 1000 // 10) if found else None


def _wheel_problems(plan: JsonObject) -> Iterator[str]:
    """FlashInfer leaves kernels of another release aside, and has a package of them for each generation of GPUs."""
    there = {
        re.sub(r"[-_.]+", "-", each.metadata["Name"] or "").lower(): each.version
        for each in distributions(path=[str(_engine().packages)])
    }
    flashinfer = there.get("flashinfer-python", "")
    for name in ("flashinfer-cubin", "flashinfer-jit-cache"):
        version = there.get(name)
        if version is None:
            yield f"no {name}"
        elif version.partition("+")[0] != flashinfer:
            yield f"{name} {version} beside FlashInfer {flashinfer or 'nowhere'}"
    kernels = {name.rpartition("-sm")[2] for name in there if name.startswith("flashinfer-jit-cache-sm")}
    capability = plan["node"]["compute_capability"]
    if "flashinfer-jit-cache" in there and not any(_runs(built, capability) for built in kernels):
        yield f"no flashinfer-jit-cache-sm… for compute capability {capability}"


def _runs(built: str, capability: str) -> bool:
    """Whether kernels for `90a`, `120f` or `80` run on a GPU (flashinfer/jit/_cuda_architecture.py, 0.7.2)."""
    parts = re.fullmatch(r"(\d+)(\d)([af]?)", built)
    major, _, minor = capability.partition(".")
    if parts is None or parts[1] != major:
        return False
    return parts[2] == minor if parts[3] == "a" else int(parts[2]) <= int(minor)


def _compiling(plan: JsonObject) -> JsonObject:
    """The engine that compiles."""
    return engine_of(plan, next(service for service in plan["services"] if service["host_needs"]))


def _kernels_remedy(plan: JsonObject, compiled: dict[str, list[str]]) -> str:
    cuda = _compiling(plan)["cuda"]
    toolkit = (
        f"the CUDA {cuda} toolkit from NVIDIA's repository (`apt-get install cuda-toolkit-{cuda}` or `dnf install "
        f"cuda-toolkit-{cuda}`, and g++), with `CUDA_HOME` in the unit's environment if it lies elsewhere than in "
        f"{_DEFAULT_CUDA}"
    )
    if compiled:
        return f"install {toolkit}, or set VLLM_USE_DEEP_GEMM=0 in the unit's environment; containers bring it"
    return f"{_wheels(plan)}; or install {toolkit}; containers bring both"


def _wheels(plan: JsonObject) -> str:
    pip = f"{_engine().folder}/bin/pip"
    commands = [
        f"`{pip} {_PIP}{'' if each['has_parts'] else ' --no-deps'} --index-url {each['index']} {each['requirement']}`"
        for each in _compiling(plan)["kernels"]
    ]
    page = "as README.md of this tree has it under Install"
    return f"{' and '.join(commands)}, {page}" if commands else f"install them, {page}"
