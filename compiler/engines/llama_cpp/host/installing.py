"""How `llama-server` comes onto a machine without containers: upstream's archive for CPUs, its source for NVIDIA GPUs.

The names of the archives are those of .github/workflows/release.yml, the options of CMake those of docs/build.md. Later
builds have archives for CUDA too, with a release of CUDA in their names that changes.
"""

from __future__ import annotations

from compiler.engines.interface.host import Installing

_UPSTREAM = "https://github.com/ggml-org/llama.cpp"


def installing(build: str, *, on_gpu: bool) -> Installing:
    """What puts the program of a build into `$folder`."""
    return _from_source(build) if on_gpu else _from_archive(build)


def _from_archive(build: str) -> Installing:
    archive = f"llama-{build}-bin-ubuntu-x64.tar.gz"
    return Installing(
        "Upstream's archive for x86-64, for glibc 2.35 or newer; on aarch64 write `arm64` for `x64`. Nobody could list "
        "its hash here: compare it with the release page's.",
        (
            f"curl --fail --location --remote-name {_UPSTREAM}/releases/download/{build}/{archive} &&",
            f'sudo mkdir -p "$folder" && sudo tar -xzf {archive} --strip-components 1 --no-same-owner -C "$folder"',
        ),
    )


def _from_source(build: str) -> Installing:
    cmake = "-DCMAKE_BUILD_TYPE=Release -DGGML_CUDA=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_USE_PREBUILT_UI=OFF"
    return Installing(
        "Compiled on the machine, with git, CMake, g++ and a CUDA toolkit, as a user without rights; a container needs "
        "none of it. The whole history comes along, for the program counts its build from that.",
        (
            f"git clone --branch {build} {_UPSTREAM} && cd llama.cpp &&",
            f"cmake -B build {cmake} &&",
            'cmake --build build --target llama-server --parallel "$(nproc)" &&',
            'sudo install -D -m 0755 build/bin/llama-server "$folder/llama-server"',
        ),
    )
