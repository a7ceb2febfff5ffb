"""vLLM 0.33.0's own answers for a model, without a GPU: parameter bytes and KV blocks. Runs inside `.engine/`.

Reads a JSON list of questions from stdin: `folder` of a config.json, `capability` and `memory` of the GPU to pose as,
and the `arguments` of `vllm serve`. Each engine is configured as a server would be, and its model is built on torch's
meta device; with `only_configured` the answer is why the configuration was refused, or null. Prints a JSON list of
answers. What needs a card (activation, graphs, context) cannot be asked like this.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import types
from typing import Any, ClassVar

os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_TARGET_DEVICE": "cpu"}

import torch

from tools.extract_flags import PARSER_MODULES, first_module

# What vLLM asks its kernels about the card while it configures itself.
SUPPORTED = (
    "cutlass_scaled_mm_supports_fp8",
    "cutlass_scaled_mm_supports_block_fp8",
    "cutlass_scaled_mm_supports_fp4",
    "cutlass_group_gemm_supported",
    "cutlass_sparse_scaled_mm_supported",
)


class Answering(types.ModuleType):
    """A module whose every name is a function that says yes, in the place of compiled kernels."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: True


class NoStream:
    """In the place of CUDA streams and events."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


# The card that the machine poses as, for the question at hand.
CARD: dict[str, Any] = {}


def pose_as_gpu() -> None:
    """Let vLLM take this machine for one with GPUs like CARD."""
    for name in ("vllm._C_stable_libtorch", "vllm.vllm_flash_attn", "vllm.vllm_flash_attn.flash_attn_interface"):
        sys.modules[name] = Answering(name)
    for name in SUPPORTED:
        setattr(torch.ops._C, name, lambda *_, **__: True)
    platforms, interface = (
        importlib.import_module("vllm.platforms"),
        importlib.import_module("vllm.platforms.interface"),
    )
    base = importlib.import_module("vllm.platforms.cuda").CudaPlatformBase
    facts = {
        "get_device_capability": lambda *_, **__: interface.DeviceCapability(*CARD["capability"]),
        "get_device_name": lambda *_, **__: "NVIDIA pretended",
        "get_device_total_memory": lambda *_, **__: CARD["memory"],
        "get_device_uuid": lambda *_, **__: "GPU-0",
        "is_fully_connected": lambda *_, **__: True,
        "device_count": lambda *_, **__: 8,
        "num_compute_units": lambda *_, **__: 128,
        "log_warnings": lambda *_, **__: None,
    }
    platforms._current_platform = type("Posing", (base,), {k: classmethod(v) for k, v in facts.items()})()
    torch.cuda.device_count = lambda: 8
    torch.cuda.Stream = torch.cuda.Event = NoStream  # type: ignore[misc,assignment]


def answer_for_kernels() -> None:
    """Let every compiled kernel be there. Only after vLLM has registered those that it found to be missing."""
    kernels = type(torch.ops._C)
    real = kernels.__getattr__

    def answer(self: Any, name: str) -> Any:
        try:
            return real(self, name)
        except AttributeError:
            if name.startswith("__") or self.name not in ("_C", "_moe_C"):
                raise
            return lambda *_, **__: True

    kernels.__getattr__ = answer  # type: ignore[method-assign]


def engine_config(folder: str, arguments: list[str]) -> Any:
    """The configuration that `vllm serve` would make of these arguments."""
    parser_class = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    parser = first_module(*PARSER_MODULES).make_arg_parser(parser_class())
    parsed = parser.parse_args(arguments)
    parsed.model, parsed.load_format, parsed.skip_tokenizer_init = folder, "dummy", True
    parsed.enforce_eager = True
    parsed.reasoning_parser = None  # it asks for the tokenizer, which is not here
    engine_args = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(parsed)
    usage = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
    return engine_args.create_engine_config(usage_context=usage)


def refusal(folder: str, arguments: list[str]) -> str | None:
    """Why the engine makes no configuration of these arguments; None if it does."""
    try:
        engine_config(folder, arguments)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def initialize_ranks() -> Any:
    """One process that stands for rank 0 of as many as a configuration has."""
    state = importlib.import_module("vllm.distributed.parallel_state")
    state.init_distributed_environment(1, 0, f"file://{tempfile.mkdtemp()}/rendezvous", 0, "gloo")
    state.initialize_model_parallel(1, 1)
    return state._TP


def build_model(config: Any, group: Any) -> Any:
    """Rank 0 of the model, without memory for its tensors."""
    ranks = config.parallel_config.tensor_parallel_size
    group.world_size, group.ranks = ranks, list(range(ranks))
    load = importlib.import_module("vllm.model_executor.model_loader.utils").initialize_model
    dtype = importlib.import_module("vllm.utils.torch_utils").set_default_torch_dtype
    with dtype(config.model_config.dtype), torch.device("meta"):
        return load(vllm_config=config)


def build_draft(config: Any) -> Any:
    """The model that guesses tokens, as rank 0 loads it; None where none does."""
    asked = config.speculative_config
    if asked is None or asked.draft_model_config is config.model_config:
        return None
    load = importlib.import_module("vllm.model_executor.model_loader.utils").initialize_model
    dtype = importlib.import_module("vllm.utils.torch_utils").set_default_torch_dtype
    with dtype(config.model_config.dtype), torch.device("meta"):
        if not asked.uses_draft_model():
            return load(vllm_config=config, model_config=asked.draft_model_config)
        # vllm/v1/worker/gpu/spec_decode/standalone_ar/speculator.py: load_draft_model
        changed = {"model_config": asked.draft_model_config, "quant_config": None}
        own = importlib.import_module("vllm.config").replace(
            config, **changed, parallel_config=asked.draft_parallel_config
        )
        return load(vllm_config=own, prefix="draft_model")


def bytes_of(model: Any) -> int:
    """Of all parameters; 0 for no model."""
    named = () if model is None else model.named_parameters(remove_duplicate=True)
    return sum(each.numel() * each.element_size() for _, each in named)


def kv_blocks(config: Any) -> tuple[int, int]:
    """Blocks that vLLM plans with the bytes it was given, and tokens in one."""
    layer = importlib.import_module("vllm.model_executor.layers.attention_layer_base").AttentionLayerBase
    layers = importlib.import_module("vllm.config").get_layers_from_vllm_config(config, layer)
    specs = {name: spec for name, found in layers.items() if (spec := found.get_kv_cache_spec(config))}
    if not specs:
        return 0, 0
    planning = first_module("vllm.v1.core.kv_cache_planning", "vllm.v1.core.kv_cache_utils")
    config.cache_config.kv_cache_layout = "LBHNC"
    asked = [config, [specs], [config.cache_config.kv_cache_memory_bytes]]
    if hasattr(planning, "get_global_kv_cache_groups"):  # earlier releases group within
        asked.append(planning.get_global_kv_cache_groups(config, [specs]))
    (plan,) = planning.get_kv_cache_configs(*asked)
    return plan.num_blocks, plan.kv_cache_groups[0].kv_cache_spec.block_size


def answer(question: dict[str, Any], group: list[Any]) -> dict[str, Any]:
    """What vLLM says to one question; `group` holds the ranks once they are made."""
    CARD["capability"] = tuple(map(int, question["capability"].split(".")))
    CARD["memory"] = question["memory"]
    if question.get("only_configured"):
        return {"error": refusal(question["folder"], question["arguments"])}
    config = engine_config(question["folder"], question["arguments"])
    with importlib.import_module("vllm.config").set_current_vllm_config(config):
        if not group:
            answer_for_kernels()
            group.append(initialize_ranks())
            # Ranks are made for the first model, which may have no experts.
            state = importlib.import_module("vllm.distributed.parallel_state")
            state._EP = state._EP or group[0]
        model = build_model(config, group[0])
        draft = build_draft(config)
        blocks, block_size = kv_blocks(config)
    return {
        "weight_bytes": bytes_of(model),
        "draft_bytes": bytes_of(draft),
        "num_blocks": blocks,
        "block_size": block_size,
        "max_model_len": config.model_config.max_model_len,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
    }


def main() -> None:
    questions = json.load(sys.stdin)
    CARD["capability"], CARD["memory"] = (9, 0), 80 * 2**30
    pose_as_gpu()
    group: list[Any] = []
    sys.stdout.write(json.dumps([answer(question, group) for question in questions]) + "\n")


if __name__ == "__main__":
    main()
