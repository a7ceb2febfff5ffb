"""What vLLM itself would refuse, from config.json alone: architecture, quantization, and how the model is divided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.quantization.read import Quantization, UnknownLayoutError, read_quantization
from compiler.checkpoints.read import architecture_name, read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.judge.support import why_not_served
from compiler.engines.vllm.kernels.expert_kernels import check_experts
from compiler.engines.vllm.releases.architectures import load_registry, why_not_served_architecture
from compiler.engines.vllm.releases.quantization import Capability
from compiler.engines.vllm.releases.release import Release

_HEAD_KEYS = ("num_attention_heads", "n_head")
_TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")


@dataclass(frozen=True, slots=True)
class Engine:
    """What a model is judged against.

    Attributes:
        capability: of the GPU; None on a CPU.
        trusts_code: whether code of repositories may run.
    """

    release: Release
    capability: Capability | None
    trusts_code: bool = False


def refusal_of(
    config: Mapping[str, Any],
    quantization_method: str | None,
    quantization_block: Mapping[str, Any] | None,
    engine: Engine,
    *,
    parallelism: Parallelism,
    dtype: str | None,
) -> str | None:
    """Why vLLM would not serve this; None if it would, or if that cannot be said.

    Args:
        quantization_method: as the checkpoint spells it; None for an unquantized one.
        dtype: of activations; None where it is not known.
    """
    reasons = _reasons(config, quantization_method, quantization_block, engine, parallelism=parallelism, dtype=dtype)
    return next(reasons, None)


def _reasons(
    config: Mapping[str, Any],
    method: str | None,
    block: Mapping[str, Any] | None,
    engine: Engine,
    *,
    parallelism: Parallelism,
    dtype: str | None,
) -> Iterator[str]:
    try:
        name = architecture_name(config)
        reason = why_not_served_architecture(name, engine.release, config=config, trusted=engine.trusts_code)
        yield from () if reason is None else (reason,)
        reason = why_not_served(method, block, release=engine.release, capability=engine.capability, dtype=dtype)
        yield from () if reason is None else (reason,)
        yield from _division(name, config, engine, parallelism)
        read = _read(config, method, block)
        if read is not None:
            check_split(*read, parallelism)
            check_experts(*read, parallelism, engine.capability)
    except (ConfigError, SplitError) as error:
        yield str(error)


def _read(
    config: Mapping[str, Any], method: str | None, block: Mapping[str, Any] | None
) -> tuple[Architecture, Quantization | None] | None:
    """None for what stackc has no formulas for: vLLM may well serve it."""
    try:
        return read_architecture(config), read_quantization(method, block, config)
    except (UnsupportedArchitectureError, UnknownLayoutError):
        return None


def _division(name: str, config: Mapping[str, Any], engine: Engine, parallelism: Parallelism) -> Iterator[str]:
    """What holds for every architecture (vllm/config/model.py:verify_with_parallel_config)."""
    version, ranks = engine.release.version, parallelism.tensor_parallel_size
    if parallelism.pipeline_parallel_size > 1 and not load_registry(version).stages(name):
        yield f"vLLM {version} cannot divide {name} into pipeline stages"
    heads = _attention_heads(config)
    if heads % ranks:
        yield f"{heads} attention heads do not divide by {ranks}"


def _attention_heads(config: Mapping[str, Any]) -> int:
    """Of the language model; 0 where the config names none, which every number divides."""
    text = next((config[key] for key in _TEXT_KEYS if isinstance(config.get(key), Mapping)), config)
    known = [key for key in _HEAD_KEYS if key in Config(text)]
    return Config(text).count(known[0]) if known else 0
