"""vLLM's releases as a machine and its operators see them."""

from __future__ import annotations

from compiler.engines.interface.host import ContainerFacts, HostFacts, Program
from compiler.engines.interface.manual import Manual
from compiler.engines.vllm.host.client_paths import CLIENT_PATHS
from compiler.engines.vllm.host.doors import FIXED_VARIABLES
from compiler.engines.vllm.host.kernel_wheels import kernel_wheels
from compiler.engines.vllm.host.metrics import load_metrics
from compiler.engines.vllm.host.packages import vllm_packages
from compiler.engines.vllm.host.signals import SIGNALS
from compiler.engines.vllm.host.start_times import start_speed
from compiler.engines.vllm.options.decided import HOST_FILE_OPTIONS
from compiler.engines.vllm.releases.release import Release
from compiler.units import GIB

NAME = "vllm"

COMPILED_BYTES = GIB
"""For what torch.compile, Triton and FlashInfer keep of one server: an assumption on the safe side."""

# vllm/entrypoints/serve/middleware/authenticate.py:AuthenticationMiddleware, 0.33.0
_GUARDED = (
    "only paths below `/v1`, `/v2`, `/inference` and `/cohere`: "
    "`/metrics`, `/tokenize`, `/invocations` and some others\nanswer everyone who reaches the port"
)


def host_facts(release: Release) -> HostFacts:
    """What is true of every server of a release."""
    version = release.version
    return HostFacts(
        name=NAME,
        title="vLLM",
        program=Program("vllm", "STACKC_VLLM", f"/opt/stackc/vllm-{version}/bin/vllm", "vllm"),
        key_variable="VLLM_API_KEY",
        guarded=_GUARDED,
        container=_container(release),
        cuda=release.cuda,
        minimum_driver=release.minimum_driver,
        packages=vllm_packages(version),
        kernels=kernel_wheels(version),
        fixed=FIXED_VARIABLES,
        offline=(("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1")),
        caches=(("VLLM_CACHE_ROOT", "vllm"), ("TRITON_CACHE_DIR", "triton"), ("TORCHINDUCTOR_CACHE_DIR", "inductor")),
        file_options=HOST_FILE_OPTIONS,
        client_paths=CLIENT_PATHS,
        provider="hosted_vllm",
        ranking_provider="hosted_vllm",
        start=start_speed(release.build),
        metrics=load_metrics(version),
        signals=SIGNALS,
        unmeasured="with --disable-log-stats",
        manual=Manual(brings_bench=True),
        compiled_bytes=COMPILED_BYTES,
    )


def _container(release: Release) -> ContainerFacts:
    """Its image has a user `vllm`; that of the CPU build has none, and needs none where its name is given."""
    return ContainerFacts(
        image=release.image,
        login="vllm",
        cache="vllm-cache",
        binds_memory=release.build == "cpu",
    )
