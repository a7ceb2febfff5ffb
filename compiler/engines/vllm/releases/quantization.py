"""How each vLLM release runs quantized checkpoints: where it starts at all, and where it computes in the format itself.

A row is a way of storing weights, not a flag: one checkpoint may mix several. Paths are below
vllm/model_executor/layers/quantization/ of 0.33.0 unless they start with `vllm/`. What a single checkpoint's settings
add (bits, symmetry, activation ordering) is judged in compiler/engines/vllm/judge/support.py.
"""

from __future__ import annotations

from dataclasses import dataclass

Capability = tuple[int, int]

BFLOAT16_CAPABILITY: Capability = (8, 0)  # vllm/platforms/cuda.py:check_if_supports_dtype

HALVES = ("bfloat16", "float16")
ANY_DTYPE = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way of storing weights that a release can load.

    Attributes:
        title: what messages call it.
        source: where the release says so.
        capability: the least compute capability; below it the server does not start.
        below: capabilities from here on are refused; None for no such limit.
        native: half-open ranges of capabilities where activations are computed in the format; elsewhere the weights are
            unpacked in the kernel (Marlin, weight-only). Empty where weight-only is all there is.
        dtypes: of activations.
        flag: an option without which the release refuses the scheme, because it is deprecated.
    """

    title: str
    source: str
    capability: Capability
    below: Capability | None = None
    native: tuple[tuple[Capability, Capability], ...] = ()
    dtypes: tuple[str, ...] = HALVES
    flag: str | None = None

    def is_native(self, capability: Capability) -> bool:
        """Whether arithmetic runs in the format on such a GPU."""
        return any(start <= capability < end for start, end in self.native)


# Methods that only a plugin adds; stackc pins and proves vLLM itself, and installs no plugins.
PLUGINS = {"bitsandbytes": "vllm-bnb-plugin", "gguf": "vllm-gguf-plugin"}
