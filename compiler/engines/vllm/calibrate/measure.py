"""Components of the ledger as a start-up measured them, and what the arithmetic says of the same start-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.read import read_architecture
from compiler.engines.interface.calibration import RATIO_UNIT, LogError, Measurement
from compiler.engines.vllm.calibrate.components import RATIO
from compiler.engines.vllm.calibrate.startup_log import StartupLog, read_log, unexplained
from compiler.engines.vllm.kernels.attention import is_latent
from compiler.engines.vllm.memory.activation import activation_peak, shared_workspace
from compiler.engines.vllm.memory.attention.stages import profiled_attention
from compiler.engines.vllm.memory.compiling import compile_peak
from compiler.engines.vllm.memory.encoder_budget import tower_memory
from compiler.engines.vllm.memory.graphs import capture_limit, capture_sizes
from compiler.engines.vllm.memory.sampler import sampler_state
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.history import overheads_of
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.units import GIB

_MAX_UNEXPLAINED = GIB // 4
_HIDDEN = "activation: the peak may be that of compiling the model; start once more with its cache, and read that log"


def read_start(text: str, capability: tuple[int, int], config: Mapping[str, Any] | None) -> Measurement:
    """What the log of a start-up measured.

    Args:
        capability: of the card that it ran on.
        config: the model's config.json; None where it is not at hand.

    Raises:
        LogError: there is no start-up in it, of a release that is known, or it contradicts itself.
        ConfigError, UnsupportedArchitectureError: the config cannot be read.
    """
    log = read_log(text)
    overheads = overheads_of(log.version)
    if overheads is None:
        raise LogError(f"stackc knows no release {log.version[:40]}")
    return measure(log, overheads, capability, config)


def measure(log: StartupLog, overheads: GpuOverheads, capability: tuple[int, int], config: Any) -> Measurement:
    """The same of a log that was read, by the overheads of its release.

    Raises:
        LogError: the log contradicts itself.
        ConfigError, UnsupportedArchitectureError: the config cannot be read.
    """
    rest = unexplained(log, overheads.rules)
    if rest is not None and abs(rest) > _MAX_UNEXPLAINED:
        raise LogError(f"its figures leave {rest / GIB:.2f} GiB unexplained: did another process use the GPU?")
    values: dict[str, int] = {}
    ranks = log.tensor_parallel_size * log.pipeline_parallel_size
    if "context" in log.figures:
        values["context_single" if ranks == 1 else "context_parallel"] = log.figures["context"]
    if "non_torch" in log.figures:
        values[_growth(log)] = max(0, log.figures["non_torch"])
    skipped: tuple[str, ...] = ("activation and graphs: no config.json was given",)
    if config is not None:
        skipped = _of_model(log, overheads, capability, read_architecture(config), values)
    return Measurement(log.version, log.model, ranks, {name: (value,) for name, value in values.items()}, skipped)


def _growth(log: StartupLog) -> str:
    if log.tensor_parallel_size > 1:
        return "non_torch_parallel"
    return "non_torch_pipeline" if log.pipeline_parallel_size > 1 else "non_torch_single"


def _of_model(
    log: StartupLog,
    overheads: GpuOverheads,
    capability: tuple[int, int],
    architecture: Architecture,
    values: dict[str, int],
) -> tuple[str, ...]:
    if log.max_num_seqs is None or log.max_num_batched_tokens is None:
        return ("activation and graphs: the log shows no max_num_seqs or no max_num_batched_tokens",)
    if log.pipeline_parallel_size > 1:
        return ("activation and graphs: pipeline stages differ",)
    shape = ServerShape(
        tensor_parallel_size=log.tensor_parallel_size,
        max_model_len=log.max_model_len,
        max_num_seqs=log.max_num_seqs,
        max_num_batched_tokens=log.max_num_batched_tokens,
        served_dtype=log.dtype if log.dtype in ("float16", "float32") else "bfloat16",
        compute_capability=capability,
        enforce_eager=log.enforce_eager,
    )
    attention = profiled_attention(architecture, shape)
    hidden = log.compiled and log.figures.get("activation", 0) <= compile_peak(architecture, shape).high
    if "activation" in log.figures and not hidden:
        towers = tower_memory(architecture, shape)
        expected = activation_peak(overheads, architecture, shape, attention, encoder=towers).expected
        values[RATIO] = log.figures["activation"] * RATIO_UNIT // max(1, expected)
    if "consumed" in log.figures and "non_torch" not in log.figures:
        kept = sampler_state(overheads, architecture, shape) + shared_workspace(architecture, shape, attention)
        beside = log.figures["consumed"] - log.figures["weights"] - kept
        values[_growth(log)] = max(0, beside)
    limit = capture_limit(architecture, capability)
    sizes = capture_sizes(log.max_num_seqs, log.max_num_batched_tokens, limit=limit)
    graphs = log.figures.get("graphs", log.figures.get("graphs_estimate"))
    if graphs is not None and not log.enforce_eager:
        name = "graphs" if shape.ranks == 1 and not is_latent(architecture) else "graphs_shared"
        values[name] = max(0, graphs) // (len(sizes) * architecture.num_layers)
    return (_HIDDEN,) if hidden and "activation" in log.figures else ()
