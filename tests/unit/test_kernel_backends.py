"""`moe-backend` and `attention-backend`: taken where the ledger knows the layout, else told what is taken instead."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.kernels.kept import kept_as
from compiler.engines.vllm.memory.experts import experts_keep
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.weights import weights_row
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.spec.models import Spec
from tests.unit.test_engine_counts import CASES
from tests.unit.test_kernel_padding import GPT_OSS_20B, MXFP4

MOE: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_experts": 32, "num_experts_per_tok": 8, "num_hidden_layers": 4,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
    "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}  # fmt: skip
DENSE = MOE | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
GEMMA2: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000,
    "max_position_embeddings": 8192, "sliding_window": 1024, "torch_dtype": "bfloat16",
}  # fmt: skip
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


def solved(
    config: dict[str, Any], block: dict[str, Any] | None, gpu: str = "rtx-5090", **arguments: Any
) -> Solution | tuple[Problem, ...]:
    asked = {"model": "own/m", "context": 4096, "port": 8000, "engine_args": arguments}
    nodes = {"n": {"gpus": {"model": gpu}}}
    spec = Spec.model_validate({"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": nodes, "services": {"s": asked}})
    locked = LockedService(model="own/m", quantization=("auto",), candidates=("own/m",))
    facts = ModelFacts(source=HUB, chat_template="x", config=config, quantization=block)
    return attempt(spec, Lock(schema=1, services={"s": locked}, models={"own/m": facts}), pinned(RELEASES["0.33.0"]))


def problem(*asked: Any, **arguments: Any) -> Problem:
    found = solved(*asked, **arguments)
    assert not isinstance(found, Solution)
    return found[0]


@pytest.mark.parametrize(
    ("block", "backend"), [(NVFP4, "marlin"), (AWQ, "marlin"), (None, "triton"), (FP8, "triton"), (NVFP4, "auto")]
)
def test_a_kernel_whose_layout_is_known_is_taken(block: dict[str, Any] | None, backend: str) -> None:
    assert isinstance(solved(MOE, block, **{"moe-backend": backend}), Solution)


@pytest.mark.parametrize(
    ("block", "backend", "offered"),
    [
        (NVFP4, "flashinfer_cutlass", ["remove `moe-backend`", "`moe-backend: marlin`"]),
        (None, "flashinfer_trtllm", ["remove `moe-backend`", "`moe-backend: triton`"]),
        # Marlin widens the scales of FP8 blocks, which nobody has counted.
        (FP8, "marlin", ["remove `moe-backend`", "`moe-backend: triton`"]),
    ],
)
def test_another_kernel_is_an_error_that_says_what_is_taken(
    block: dict[str, Any] | None, backend: str, offered: list[str]
) -> None:
    found = problem(MOE, block, **{"moe-backend": backend})
    assert (found.code, found.path) == ("E0307", ("engine_args", "moe-backend"))
    assert [remedy.text for remedy in found.remedies] == offered
    assert any("own choice" in note for note in found.notes)


def test_a_kernel_that_vllm_refuses_is_refused_before() -> None:
    """FP8 is multiplied from 8.9 on, and Marlin has no groups of other sizes: each would end the server's start."""
    assert problem(MOE, FP8, "a10", **{"moe-backend": "triton"}).code == "E0308"
    odd = AWQ | {"group_size": 256}
    assert problem(MOE, odd, **{"moe-backend": "marlin"}).code == "E0308"
    assert isinstance(solved(MOE, odd), Solution)


def test_a_dense_model_has_no_experts_to_lay_out() -> None:
    assert isinstance(solved(DENSE, None, moe_backend="marlin"), Solution)


def late(found: Any) -> int:
    (server,) = found.ledgers[0].servers
    size: int = next(row.bytes.high for row in server.rows if row.title == "allocated after KV sizing")
    return size


def test_an_attention_backend_that_the_ledger_follows_may_be_named() -> None:
    own = solved(DENSE, None)
    for name in ("flash_attn", "TRITON_ATTN"):
        found = solved(DENSE, None, **{"attention-backend": name})
        assert isinstance(found, Solution)
        assert late(found) == late(own)
    # FlashInfer's workspace comes on top.
    assert late(solved(DENSE, None, **{"attention-backend": "FLASHINFER"})) - late(own) >= 300 * 2**20


def test_an_attention_backend_that_does_not_take_the_heads_is_refused() -> None:
    """vLLM ends with `Selected backend … is not valid for this configuration`."""
    narrow = DENSE | {"head_dim": 80}
    found = problem(narrow, None, **{"attention-backend": "FLASHINFER"})
    assert (found.code, [each.text for each in found.remedies][1:]) == ("E0308", ["`attention-backend: FLASH_ATTN`"])
    assert isinstance(solved(narrow, None, **{"attention-backend": "FLASH_ATTN"}), Solution)


def test_an_attention_backend_with_workspaces_of_its_own_is_an_error() -> None:
    found = problem(DENSE, None, **{"attention-backend": "FLEX_ATTENTION"})
    assert (found.code, [each.text for each in found.remedies][1:]) == ("E0307", ["`attention-backend: FLASH_ATTN`"])
    assert problem(GEMMA2, None, **{"attention-backend": "FLASHINFER"}).code == "E0307"


def padding(
    config: dict[str, Any], method: str, block: dict[str, Any], major: int = 12, moe_backend: str = "auto"
) -> int:
    checkpoint = Checkpoint(read_architecture(config), read_quantization(method, block, config), None)
    kept = weights_row(checkpoint, Parallelism(), "bfloat16", (major, 0), moe_backend).bytes.expected
    return kept - rank_weights(checkpoint.architecture, checkpoint.quantization, Parallelism(), served_dtype="bfloat16")


def test_marlin_pads_narrow_experts_of_nvfp4() -> None:
    """vLLM pads a rank's width to 64; where the GPU computes in FP4, only a server that is told to take Marlin."""
    narrow = MOE | {"moe_intermediate_size": 96}
    # 32 more of width: 3 × 2048 of half a byte and a scale for 16.
    more = 4 * 32 * 3 * 2048 * 32 * 9 // 16
    assert padding(narrow, "modelopt", NVFP4) == 0
    assert padding(narrow, "modelopt", NVFP4, moe_backend="marlin") == more
    assert padding(narrow, "modelopt", NVFP4, 8) == more
    assert padding(narrow, "modelopt", NVFP4, 9) == more
    assert padding(MOE, "modelopt", NVFP4, moe_backend="marlin") == 0


def test_marlin_on_hopper_pads_as_elsewhere_and_uses_vllm_s_workspaces() -> None:
    assert padding(GPT_OSS_20B, "mxfp4", MXFP4, 9, "marlin") == padding(GPT_OSS_20B, "mxfp4", MXFP4) > 0
    checkpoint = Checkpoint(read_architecture(GPT_OSS_20B), read_quantization("mxfp4", MXFP4, GPT_OSS_20B), None)
    for backend, keeps in (("auto", False), ("marlin", True)):
        shape = ServerShape(1, 4096, 64, 2048, "bfloat16", (9, 0), moe_backend=backend)
        assert experts_keep(checkpoint, shape) is keeps


def test_a_named_attention_backend_decides_the_blocks() -> None:
    """Images seen whole: on Blackwell vLLM's own choice keeps blocks of 64 tokens, Triton's kernel those of 16."""
    architecture = read_architecture(CASES["PaliGemmaForConditionalGeneration"]["config"])
    release = RELEASES["0.33.0"]
    assert kept_as(architecture, "auto", release, (10, 0), "bfloat16") == ("bfloat16", 64)
    assert kept_as(architecture, "auto", release, (10, 0), "bfloat16", named="TRITON_ATTN") == ("bfloat16", 16)
