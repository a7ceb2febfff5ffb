"""FlashInfer's prebuilt kernels, for machines that cannot compile them."""

from __future__ import annotations

from compiler.catalog.packages import Requirements
from compiler.engines.interface.host import KernelWheel
from compiler.engines.vllm.host.packages import vllm_requirements

_INDEX = "https://flashinfer.ai/whl"


def kernel_wheels(vllm: str) -> tuple[KernelWheel, ...]:
    """What `vllm download-kernels` of a release installs; nothing where its packages are not listed.

    They must be of the very release of FlashInfer that vLLM brings, or FlashInfer ignores them (jit/env.py, 0.7.2).
    """
    requirements = vllm_requirements(vllm)
    if requirements is None:
        return ()
    release, cuda = _version(requirements, "flashinfer-python"), _version(requirements, "nvidia-cuda-runtime")
    label = "cu" + "".join(cuda.split(".")[:2])
    return (
        KernelWheel(_INDEX, f"flashinfer-cubin=={release}", has_parts=False),
        KernelWheel(f"{_INDEX}/{label}", f"flashinfer-jit-cache=={release}+{label}", has_parts=True),
    )


def _version(requirements: Requirements, name: str) -> str:
    return next(package.version for package in requirements.packages if package.name == name)
