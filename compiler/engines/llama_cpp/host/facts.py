"""Builds of llama.cpp as a machine and its operators see them."""

from __future__ import annotations

from compiler.engines.interface.host import ContainerFacts, HostFacts, Program
from compiler.engines.llama_cpp.host.client_paths import CLIENT_PATHS
from compiler.engines.llama_cpp.host.installing import installing
from compiler.engines.llama_cpp.host.manual import MANUAL
from compiler.engines.llama_cpp.host.metrics import SIGNALS, load_metrics
from compiler.engines.llama_cpp.releases.rules import Release

NAME, TITLE = "llama.cpp", "llama.cpp"

FIXED = frozenset({"GGML_CUDA_ENABLE_UNIFIED_MEMORY", "LLAMA_ARG_OFFLINE", "XDG_CONFIG_HOME"})
"""With unified memory a card that is full spills into main memory without a word, where the plan says how much fits."""

CLOSED = ("LLAMA_ARG_",)
"""Each option has such a variable (common/arg.cpp, set_env): one that is left over is an option that nobody planned."""

HOST_FILE_OPTIONS = ("--chat-template-file", "--grammar-file", "--json-schema-file")
"""Options that may name a file or folder of the host."""

# tools/server/server-http.cpp: what needs no key.
_GUARDED = "everything but `/health`, `/models` and `/v1/models`"

_IMAGES = {True: "ghcr.io/ggml-org/llama.cpp:server-cuda-{build}", False: "ghcr.io/ggml-org/llama.cpp:server-{build}"}
"""Upstream's own images by whether they are for NVIDIA GPUs (docs/docker.md, .github/workflows/docker.yml)."""


def host_facts(release: Release, *, on_gpu: bool) -> HostFacts:
    """What is true of every server of a build."""
    build = release.build
    return HostFacts(
        name=NAME,
        title=TITLE,
        program=Program(
            "llama-server", "STACKC_LLAMA_SERVER", f"/opt/stackc/llama.cpp-{build}/llama-server", "llama_server"
        ),
        key_variable="LLAMA_API_KEY",
        guarded=_GUARDED,
        container=ContainerFacts(
            _IMAGES[on_gpu].format(build=build),
            login="llama",
            cache="llama-cache",
            # .devops/{cpu,cuda}.Dockerfile: Ubuntu 24.04 with curl, and without Python in the images for servers.
            program="/app/llama-server",
            has_python=False,
        ),
        # docs/docker.md: the image is built for CUDA 12.8; a machine's own binary has what it was built with.
        cuda="12.8" if on_gpu else None,
        minimum_driver="525" if on_gpu else None,
        packages=None,
        kernels=(),
        fixed=FIXED,
        # Below the second a user may keep a file of options (common/arg.cpp, common_params_apply_system_config).
        offline=(("LLAMA_ARG_OFFLINE", "1"), ("XDG_CONFIG_HOME", "/nonexistent")),
        caches=(("LLAMA_CACHE", "llama"),),
        file_options=HOST_FILE_OPTIONS,
        client_paths=CLIENT_PATHS,
        provider="openai",
        # LiteLLM ranks with no server that it knows as OpenAI's; vLLM's answers have the same form.
        ranking_provider="hosted_vllm",
        start=None,
        metrics=load_metrics(build),
        signals=SIGNALS,
        unmeasured="without --metrics",
        installing=installing(build, on_gpu=on_gpu),
        commit=release.commit,
        guards_metrics=True,
        has_slow_metrics=True,
        manual=MANUAL,
        answers_while_loading=True,
        closed=CLOSED,
        configuration=("/etc/llama.cpp",),
    )
