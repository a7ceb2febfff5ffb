"""A machine on which a server's first start can compile: compilers, headers, FlashInfer's kernels or a CUDA toolkit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from compiler.plan.ir import HostNeed, Plan
from tests.unit.plan_samples import with_service, write_executable
from tests.unit.script_machine import Machine

SAMPLES = HostNeed("flashinfer", "FlashInfer samples", "VLLM_USE_FLASHINFER_SAMPLER=0")
LAUNCHES = HostNeed("c", "Triton launches")
MULTIPLIES = HostNeed("nvcc", "DeepGEMM multiplies", "VLLM_USE_DEEP_GEMM=0")
WHEELS = ("flashinfer_cubin-0.7.2", "flashinfer_jit_cache-0.7.2+cu130", "flashinfer_jit_cache_sm120f-0.7.2+cu130")


def needing(plan: Plan, *needs: HostNeed) -> Plan:
    """The plan, all of whose servers compile that."""
    for service in plan.services:
        plan = with_service(plan, service.name, host_needs=needs)
    return plan


class Equipped:
    """A script machine with a virtual environment, nothing on PATH but what is written here, and no real CUDA."""

    def __init__(self, root: Path, plan: Plan, *needs: HostNeed) -> None:
        self.machine = Machine(root, needing(plan, *needs))
        self.fake, self.venv, self.cuda = root / "fake", root / "venv", root / "cuda"
        self.headers = root / "usr" / "include" / "python3.12" / "Python.h"
        shutil.rmtree(self.fake)
        write_executable(self.fake / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self.tool("gcc")
        write_executable(self.venv / "bin" / "vllm", "#!/bin/sh\n")
        (self.venv / "pyvenv.cfg").write_text(f"home = {root}/usr/bin\nversion = 3.12.3\n")
        self.headers.parent.mkdir(parents=True)
        self.headers.touch()
        for package in ("vllm-0.33.0", "flashinfer_python-0.7.2", *WHEELS):
            self.package(package)
        self.machine.environment |= {
            "PATH": str(self.fake),
            "STACKC_VLLM": str(self.venv / "bin" / "vllm"),
            "CUDA_HOME": str(self.cuda),
        }

    def tool(self, name: str) -> None:
        """A program that tells if it is run."""
        write_executable(self.fake / name, f"#!/bin/sh\n: >{self.fake.parent}/was-run\n")

    def package(self, name: str) -> None:
        """Install a package, as far as anybody looks."""
        title, _, version = name.partition("-")
        path = self.folder(name) / "METADATA"
        path.parent.mkdir(parents=True)
        path.write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n")

    def folder(self, name: str) -> Path:
        """Where pip keeps what it knows of a package."""
        return self.venv / "lib" / "python3.12" / "site-packages" / f"{name}.dist-info"

    def without(self, *packages: str) -> None:
        """Remove packages."""
        for package in packages:
            shutil.rmtree(self.folder(package))

    def toolkit(self, version: int = 13000) -> None:
        """Install a CUDA toolkit and what goes with it."""
        write_executable(self.cuda / "bin" / "nvcc", f"#!/bin/sh\n: >{self.fake.parent}/was-run\n")
        for name in ("cuda_runtime_api.h", "curand_kernel.h"):
            (self.cuda / "include").mkdir(exist_ok=True)
            (self.cuda / "include" / name).touch()
        (self.cuda / "include" / "cuda.h").write_text(f"#define CUDA_VERSION {version}\n")
        (self.cuda / "lib64").mkdir()
        (self.cuda / "lib64" / "libcudart.so").touch()
        self.tool("ninja")
        self.tool("c++")

    def ask(self, *only: str) -> subprocess.CompletedProcess[str]:
        """What preflight says of the first server; nothing that it finds is run."""
        words = [word for kind in only or ("compiler", "kernels") for word in ("--only", kind)]
        done = self.machine.preflight(self.machine.plan.services[0].name, *words)
        assert not (self.fake.parent / "was-run").exists()
        return done


def on_slice(plan: Plan, *uuids: str) -> Plan:
    """The plan on slices of cut cards."""
    return replace(plan, node=replace(plan.node, mig="3g.40gb", uuids=uuids))  # type: ignore[type-var]
