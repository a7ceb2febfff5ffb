"""How long solving takes, for what fits and for what does not. `python -m benchmarks.solver [--json]`.

CPU time of one process on one core. Every run starts cold: nothing that was worked out for one stack is kept for the
next. `benchmarks.fleet` compiles whole fleets.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiler.catalog.hardware.gpus import GPUS
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.diagnostics import SourceText
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.demand import empty_stage, needs_of
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.judge.splits import split_fault
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.allocator import weights_rounding
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.file import read_lock
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.solve.solve import solve
from compiler.spec.models import Spec
from compiler.spec.reading.load import load_spec

ROOT = Path(__file__).parents[1]
RELEASE = RELEASES["0.33.0"]
PINNED = pinned(RELEASE)
RUNS = 5
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}

# Layers, hidden size, intermediate size, heads, KV heads, vocabulary; and the quantization.
SHAPES: tuple[tuple[tuple[int, int, int, int, int, int], dict[str, Any] | None], ...] = (
    ((24, 896, 4864, 14, 2, 151936), None),
    ((28, 3584, 18944, 28, 4, 152064), None),
    ((28, 3584, 18944, 28, 4, 152064), AWQ),
    ((32, 4096, 14336, 32, 8, 128256), None),
    ((48, 5120, 13824, 40, 8, 152064), AWQ),
    ((64, 5120, 27648, 40, 8, 152064), AWQ),
    ((80, 8192, 28672, 64, 8, 128256), AWQ),
    ((80, 8192, 28672, 64, 8, 128256), None),
)

LARGEST = (126, 16384, 53248, 128, 8, 128256)


@dataclass(frozen=True)
class Figure:
    """CPU seconds of one solve; `per_n_log_n`, in microseconds, does not rise where growth is no worse than that."""

    what: str
    services: int
    gpus: int
    seconds: float
    per_n_log_n: float


def config_of(shape: tuple[int, int, int, int, int, int]) -> dict[str, Any]:
    """The configuration of a dense model: layers, hidden and intermediate size, heads, KV heads, vocabulary."""
    layers, hidden, intermediate, heads, kv_heads, vocabulary = shape
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": vocabulary,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip


def _forget() -> None:
    """As a new process begins."""
    for kept in (needs_of, empty_stage, split_fault, check_split, rank_weights, weights_rounding, rank_kv_layout):
        kept.cache_clear()


def _seconds(asked: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        _forget()
        start = time.process_time()
        found = asked()
        times.append(time.process_time() - start)
        if not isinstance(found, Solution):
            raise TypeError(f"does not fit: {found}")
    return statistics.median(times)


def _figure(what: str, services: int, gpus: int, seconds: float) -> Figure:
    return Figure(what, services, gpus, seconds, seconds * 1e6 / (services * math.log2(max(2, services))))


def one_service() -> Figure:
    """The shipped stack of one 32B model on an A10, its context left open, from spec and lock to budgets."""
    lock, _ = read_lock(ROOT / "stacks" / "budget-a10.lock.yaml", "budget-a10.lock.yaml")
    if lock is None:
        raise TypeError("the shipped lock cannot be read")
    services = {"coder": {"model": lock.services["coder"].model, "quantization": ["awq"], "context": "max", "port": 1}}
    spec = Spec.model_validate(
        {
            "stack": "one",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"gpus": {"model": "a10"}}},
            "services": services,
        }
    )
    return _figure("one service, context: max", 1, 1, _seconds(lambda: attempt(spec, lock, PINNED), RUNS))


def _mixture() -> ModelFacts:
    """The numbers of a public mixture of 235 billion parameters, 94 layers of 128 experts, in FP8 blocks."""
    config = {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 4096,
        "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_hidden_layers": 94, "num_attention_heads": 64,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }  # fmt: skip
    routers = [f"model.layers.{index}.mlp.gate" for index in range(94)]
    block = {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": ["lm_head", *routers],
    }  # fmt: skip
    return ModelFacts(source=HUB, chat_template="x", config=config, quantization=block)


def one_mixture() -> Figure:
    """A quantized mixture of experts, its context left open, over as many of eight GPUs as it needs."""
    name = "example/mixture"
    spec = Spec.model_validate(
        {
            "stack": "mixture",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"gpus": {"model": "h100-80gb", "count": 8}}},
            "services": {"mixture": {"model": name, "context": "max", "port": 1024}},
        }
    )
    locked = LockedService(model=name, quantization=spec.services["mixture"].quantization, candidates=(name,))
    lock = Lock(schema=1, services={"mixture": locked}, models={name: _mixture()})
    return _figure("a large FP8 mixture, context: max", 1, 8, _seconds(lambda: attempt(spec, lock, PINNED), RUNS))


def infeasible(services: int, gpus: tuple[int, ...]) -> tuple[dict[str, Any], Lock]:
    """A spec that does not fit, with four candidates for each service, and its lock."""
    candidates = [(suffix, method) for suffix, method in (("", None), ("-awq", AWQ), ("-gptq", GPTQ), ("-fp8", FP8))]
    shapes = [SHAPES[index][0] for index in (7, 3, 1, 5)]
    models = {
        f"example/m{index}{suffix}": ModelFacts(
            source=HUB, chat_template="x", config=config_of(shape), quantization=method
        )
        for index, shape in enumerate(shapes)
        for suffix, method in candidates
    }
    asked = {
        f"s{index}": {
            "model": f"example/m{index % 4}", "context": 131072, "concurrency": 4 + index % 3, "port": 9000 + index,
        }
        for index in range(services)
    }  # fmt: skip
    return _written("infeasible", asked, gpus, models, [suffix for suffix, _ in candidates])


def too_large() -> tuple[dict[str, Any], Lock]:
    """A model of 405 billion parameters beside two small ones, on a node of eight GPUs, and its lock."""
    shapes = (LARGEST, SHAPES[1][0], SHAPES[0][0])
    models = {
        f"example/m{index}": ModelFacts(source=HUB, chat_template="x", config=config_of(shape))
        for index, shape in enumerate(shapes)
    }
    asked = {
        f"s{index}": {"model": f"example/m{index}", "context": 8192, "concurrency": 2, "port": 9000 + index}
        for index in range(len(shapes))
    }
    return _written("too-large", asked, (8,), models, [""])


def _written(
    stack: str,
    asked: dict[str, dict[str, Any]],
    gpus: tuple[int, ...],
    models: dict[str, ModelFacts],
    suffixes: list[str],
) -> tuple[dict[str, Any], Lock]:
    data = {
        "stack": stack,
        "engine": {"vllm": "0.33.0"},
        "nodes": {f"n{i}": {"gpus": {"model": "h100-80gb", "count": count}} for i, count in enumerate(gpus)},
        "services": asked,
        "policy": {"publishers": ["example"]},
    }
    locked = {
        name: LockedService(
            model=service.model,
            quantization=service.quantization,
            publishers=("example",),
            candidates=tuple(f"{service.model}{suffix}" for suffix in suffixes),
        )
        for name, service in Spec.model_validate(data).services.items()
    }
    return data, Lock(schema=1, services=locked, models=models)


def refused(what: str, data: dict[str, Any], lock: Lock) -> Figure:
    """The error of a stack that does not fit, with its helps, from a cold start."""
    file, problems = load_spec(SourceText("infeasible.yaml", json.dumps(data)), ENGINES)
    if file is None:
        raise TypeError(f"no spec: {problems}")
    _forget()
    start = time.process_time()
    solutions, _ = solve(file, lock, PINNED)
    seconds = time.process_time() - start
    if solutions is not None:
        raise TypeError("it fits")
    gpus = sum(node["gpus"]["count"] for node in data["nodes"].values())
    return _figure(what, len(data["services"]), gpus, seconds)


def figures() -> list[Figure]:
    """One fit of a dense model and one of a large mixture, then what does not fit."""
    found = [one_service(), one_mixture()]
    misfits = [infeasible(*asked) for asked in ((12, (8, 8)), (12, (8,)), (3, (2,)))]
    found += [refused("does not fit, with helps", *asked) for asked in misfits]
    found.append(refused("405B beside two small ones, with helps", *too_large()))
    return found


def main() -> None:
    """Print a line for each figure; with --json, all of them as the last line."""
    if "h100-80gb" not in GPUS:
        raise SystemExit("the catalog has no H100")
    found = figures()
    for figure in found:
        print(
            f"{figure.what}: {figure.services:>5} services on {figure.gpus:>4} GPUs  {figure.seconds * 1000:>8.1f} ms  "
            f"{figure.per_n_log_n:.2f} µs per service and log2(services)"
        )
    if "--json" in sys.argv:
        print(json.dumps({"figures": [asdict(figure) for figure in found]}))


if __name__ == "__main__":
    main()
