"""By which name a checkpoint's choice of an fp8 cache reaches the backends, and which takes it: vLLM's sources."""

from __future__ import annotations

import ast
from math import prod
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kernels.kept import cache_flag
from compiler.engines.vllm.memory.attention.latent import picked_kernel_bytes
from tests.engine.engine_process import ENGINE, GPU_RELEASE
from tests.unit.test_memory_latent import V32

pytestmark = pytest.mark.engine
_VLLM = ENGINE / f"vllm-{GPU_RELEASE}" / "vllm"
_BACKENDS = _VLLM / "v1/attention/backends/mla"


def assigned(path: Path, name: str) -> list[Any]:
    """Every literal that a name is given in a file, in order, at the top or in a class."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [(node.targets[0] if isinstance(node, ast.Assign) else node.target, node.value) for node in nodes]
    return [ast.literal_eval(value) for target, value in targets if getattr(target, "id", "") == name and value]


def test_modelopt_s_choice_has_the_name_that_vllm_gives_it() -> None:
    block = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "ignore": []}
    (names,) = assigned(_VLLM / "utils/torch_utils.py", "MODELOPT_TO_VLLM_KV_CACHE_DTYPE_MAP")
    quantization = read_quantization("modelopt", block)
    assert cache_flag(quantization) == names["fp8"]
    assert cache_flag(quantization, "fp8") == "fp8", "what the spec asks for is on the command line"


@pytest.mark.parametrize("flag", ["fp8", "fp8_e4m3"])
def test_the_first_sparse_backend_of_hopper_that_takes_a_name_is_ours(flag: str) -> None:
    """platforms/cuda.py lists FlashMLA before FlashInfer for latents with position."""
    takes = {
        "FLASHMLA_SPARSE": assigned(_BACKENDS / "flashmla_sparse.py", "supported_kv_cache_dtypes")[0],
        "FLASHINFER_MLA_SPARSE_SM90": assigned(
            _BACKENDS / "flashinfer_mla_sparse_sm90.py", "supported_kv_cache_dtypes"
        )[0],
    }
    first = next(name for name, dtypes in takes.items() if flag in dtypes)
    plan = attention_plan(
        read_architecture(V32), capability=(9, 0), served_dtype="bfloat16", kv_cache_dtype=flag, tensor_parallel_size=8
    )
    assert first in plan.backends


def test_the_workspace_is_the_one_that_the_backend_makes() -> None:
    text = (_BACKENDS / "flashinfer_mla_sparse_sm90.py").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("_WORKSPACE_BYTES ="))
    workspace = prod(int(factor) for factor in line.partition("=")[2].split("*"))
    latents, hopper = read_architecture(V32), Device((9, 0), "bfloat16", "fp8")
    # Beside FlashInfer's own 8 MiB, and a list of what each token picks.
    assert picked_kernel_bytes(latents, hopper, max_num_batched_tokens=0) == workspace + (8 << 20) + 16
