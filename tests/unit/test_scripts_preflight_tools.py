"""preflight: a bare machine is told what its servers compile with, before the engine dies of the lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import HostNeed
from tests.unit.equipped_machine import LAUNCHES, MULTIPLIES, SAMPLES, WHEELS, Equipped
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, write_executable

Change = Callable[[Equipped], object]


@pytest.fixture
def machine(tmp_path: Path) -> Equipped:
    return Equipped(tmp_path, two_on_one_gpu(), LAUNCHES, SAMPLES)


def test_an_equipped_machine_passes(machine: Equipped) -> None:
    done = machine.ask()
    assert done.returncode == 0, done.stdout
    assert f"{machine.fake}/gcc, {machine.headers}" in done.stdout
    assert "prebuilt kernels are installed" in done.stdout


LACKS: list[tuple[str, Change, tuple[str, ...]]] = [
    ("compiler", lambda m: (m.fake / "gcc").unlink(), ("no gcc/clang on PATH", "apt-get install gcc python3.12-dev")),
    ("headers", lambda m: m.headers.unlink(), ("python3.12/Python.h", "dnf install gcc python3.12-devel")),
    ("kernels", lambda m: m.without(*WHEELS), ("no flashinfer-cubin", "no flashinfer-jit-cache", "/cuda/bin/nvcc")),
    ("cubins", lambda m: m.without(WHEELS[0]), ("no flashinfer-cubin,", "--no-deps --index-url https://flashinfer")),
    ("modules", lambda m: m.without(WHEELS[1]), ("no flashinfer-jit-cache,", "flashinfer-jit-cache==")),
    ("generation", lambda m: m.without(WHEELS[2]), ("no flashinfer-jit-cache-sm… for compute capability 12.0",)),
    (
        "release",
        lambda m: (m.without(WHEELS[0]), m.package("flashinfer_cubin-0.7.1")),
        ("flashinfer-cubin 0.7.1 beside FlashInfer 0.7.2",),
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in LACKS], ids=[case[0] for case in LACKS])
def test_each_lack_is_named_with_its_remedy(machine: Equipped, change: Change, words: tuple[str, ...]) -> None:
    change(machine)
    done = machine.ask()
    assert done.returncode == 31, done.stdout
    for word in (*words, "as user", "coder"):
        assert word in done.stdout


@pytest.mark.parametrize("way", ["clang", "CC"])
def test_any_compiler_that_triton_takes_will_do(machine: Equipped, way: str) -> None:
    (machine.fake / "gcc").unlink()
    machine.tool("clang" if way == "clang" else "other-cc")
    if way == "CC":
        machine.machine.environment["CC"] = "other-cc"
    assert machine.ask("compiler").returncode == 0
    machine.machine.environment["CC"] = "no-such-compiler"
    assert machine.ask("compiler").returncode == 31


def test_a_toolkit_stands_in_for_prebuilt_kernels(machine: Equipped) -> None:
    machine.without(*WHEELS)
    machine.toolkit()
    done = machine.ask()
    assert done.returncode == 0, done.stdout
    assert f"a CUDA toolkit in {machine.cuda}" in done.stdout
    # Found by PATH too, as FlashInfer looks for it.
    del machine.machine.environment["CUDA_HOME"]
    machine.machine.environment["PATH"] += f":{machine.cuda}/bin"
    assert f"a CUDA toolkit in {machine.cuda}" in machine.ask().stdout


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("cuda/bin/nvcc", "no {root}/cuda/bin/nvcc"),
        ("cuda/include/curand_kernel.h", "no {root}/cuda/include/curand_kernel.h"),
        ("cuda/lib64/libcudart.so", "no libcudart.so below {root}/cuda"),
        ("fake/ninja", "no ninja on PATH"),
        ("fake/c++", "no c++ on PATH"),
    ],
)
def test_a_part_of_a_toolkit_is_none(machine: Equipped, part: str, words: str) -> None:
    """PyPI's packages bring nvcc, without headers of other parts and libraries to link with."""
    machine.without(*WHEELS)
    machine.toolkit()
    (machine.fake.parent / part).unlink()
    done = machine.ask()
    assert done.returncode == 31
    assert words.format(root=machine.fake.parent) in done.stdout
    assert "cuda-toolkit-13" in done.stdout


@pytest.mark.parametrize(("version", "code"), [(12040, 31), (12080, 31), (12090, 0), (13000, 0)])
def test_a_toolkit_must_be_one_that_flashinfer_supports(machine: Equipped, version: int, code: int) -> None:
    machine.without(*WHEELS)
    machine.toolkit(version)
    done = machine.ask()
    assert done.returncode == code, done.stdout
    assert code == 0 or f"is CUDA {version // 1000}.{version % 1000 // 10}" in done.stdout


@pytest.mark.parametrize(
    ("capability", "built", "code"),
    [
        ((8, 6), "80", 0),
        ((8, 0), "86", 31),
        ((9, 0), "90a", 0),
        ((10, 3), "100a", 31),
        ((10, 3), "100f", 0),
        ((12, 1), "120f", 0),
        ((12, 0), "121a", 31),
        ((12, 0), "90a", 31),
    ],
)
def test_kernels_must_be_of_the_card_s_generation(
    tmp_path: Path, capability: tuple[int, int], built: str, code: int
) -> None:
    plan = two_on_one_gpu()
    node = replace(plan.node, compute_capability=capability)  # type: ignore[type-var]
    made = Equipped(tmp_path, replace(plan, node=node), SAMPLES)
    made.without(WHEELS[2])
    made.package(f"flashinfer_jit_cache_sm{built}-0.7.2+cu130")
    done = made.ask("kernels")
    assert done.returncode == code, done.stdout


@pytest.mark.parametrize(
    ("need", "variable"), [(SAMPLES, "VLLM_USE_FLASHINFER_SAMPLER"), (MULTIPLIES, "VLLM_USE_DEEP_GEMM")]
)
def test_what_the_environment_turns_off_is_not_asked_for(tmp_path: Path, need: HostNeed, variable: str) -> None:
    made = Equipped(tmp_path, two_on_one_gpu(), need)
    made.without(*WHEELS)
    assert made.ask("kernels").returncode == 31
    made.machine.environment[variable] = "1"
    assert made.ask("kernels").returncode == 31
    made.machine.environment[variable] = "0"
    done = made.ask("kernels")
    assert done.returncode == 0
    assert "skip  gpu01: kernels: no kernel of FlashInfer or DeepGEMM is used" in done.stdout


def test_nobody_has_prebuilt_kernels_of_deep_gemm(tmp_path: Path) -> None:
    made = Equipped(tmp_path, two_on_one_gpu(), SAMPLES, MULTIPLIES)
    done = made.ask("kernels")
    assert done.returncode == 31
    assert "DeepGEMM multiplies (coder)" in done.stdout
    assert "cuda-toolkit-13" in done.stdout
    assert "VLLM_USE_DEEP_GEMM=0" in done.stdout
    made.toolkit()
    assert made.ask("kernels").returncode == 0


def test_a_cpu_needs_a_compiler_of_c_plus_plus(tmp_path: Path) -> None:
    made = Equipped(tmp_path, one_on_cpu(), HostNeed("c++", "torch compiles"))
    done = made.ask("compiler")
    assert done.returncode == 31
    assert "apt-get install g++ python3.12-dev" in done.stdout
    assert "dnf install gcc-c++ python3.12-devel" in done.stdout
    made.tool("g++")
    assert made.ask("compiler").returncode == 0
    assert "kernels" not in made.ask().stdout


def test_an_engine_of_a_whole_python_installation_has_its_headers_there(machine: Equipped) -> None:
    """Such as one of conda: no virtual environment, and so no other Python that it was made with."""
    (machine.venv / "pyvenv.cfg").unlink()
    done = machine.ask("compiler")
    assert done.returncode == 31
    header = machine.venv / "include" / "python3.12" / "Python.h"
    assert f"no {header}" in done.stdout
    header.parent.mkdir(parents=True)
    header.touch()
    assert machine.ask("compiler").returncode == 0


def test_a_link_to_the_engine_leads_to_its_environment(machine: Equipped) -> None:
    link = machine.fake / "vllm"
    link.symlink_to(machine.venv / "bin" / "vllm")
    machine.machine.environment["STACKC_VLLM"] = str(link)
    assert machine.ask().returncode == 0
    machine.headers.unlink()
    assert machine.ask().returncode == 31


def test_an_engine_that_nobody_can_look_into_is_warned_of(machine: Equipped) -> None:
    """The engine may be a program of another kind; that it lacks something is not known."""
    write_executable(machine.fake / "vllm", "#!/bin/sh\n")
    machine.machine.environment["STACKC_VLLM"] = str(machine.fake / "vllm")
    done = machine.ask()
    assert done.returncode == 0
    assert done.stdout.count("warn  ") == 2
    assert "nobody looked" in done.stdout


@pytest.mark.parametrize("variable", ["TRITON_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE"])
def test_what_is_compiled_must_find_a_place(machine: Equipped, variable: str) -> None:
    """Below a plain file even root cannot write."""
    assert machine.ask("disk").returncode == 0
    machine.machine.environment[variable] = str(machine.machine.key / "cache")
    done = machine.ask("disk")
    assert done.returncode == 13
    assert f"may not write {machine.machine.key}/cache" in done.stdout


def test_containers_alone_need_nothing_of_the_machine(tmp_path: Path) -> None:
    made = Equipped(tmp_path, two_on_one_gpu())
    done = made.ask()
    assert done.returncode == 0
    assert "compiler" not in done.stdout
