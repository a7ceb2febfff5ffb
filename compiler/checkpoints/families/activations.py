"""Which activations the engine's classes take (vllm/model_executor/layers/activation.py and each model of 0.33.0).

Most decoders compute their MLP in one kernel for SiLU and refuse any other name; the rest look the name up in a table.
"""

from __future__ import annotations

from collections.abc import Collection

from compiler.checkpoints.config import Config, ConfigError

SILU = ("silu",)
# mamba/ops/causal_conv1d.py:causal_conv1d_update.
CONVOLVED = ("silu", "swish")
# layers/activation.py:_ACTIVATION_AND_MUL_REGISTRY, for a gate and an up projection in one.
GATED = ("geglu", "gelu", "gelu_pytorch_tanh", "silu", "swigluoai", "swish")
# layers/activation.py:_ACTIVATION_REGISTRY.
PLAIN = (
    "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "sigmoid", "silu", "swish",
    "tanh", "xielu",
)  # fmt: skip


def check_activation(config: Config, known: Collection[str], key: str = "hidden_act") -> None:
    """Refuse what the class refuses; an absent key is the default of the class's own configuration, which it takes.

    Raises:
        ConfigError: with the key, the value and those that are taken.
    """
    value = config.data.get(key, known)
    if value is known:
        return
    if not isinstance(value, str) or (value if known is SILU else value.lower()) not in known:
        taken = f"{', '.join(sorted(known)[:-1])} or {max(known)}" if len(known) > 1 else next(iter(known))
        shown = "null" if value is None else str(value)[:40]
        raise ConfigError(f"`{config.path}{key}` must be {taken}, which is what vLLM's class takes, not {shown}")
