"""What the choice of an attention backend is made from."""

from __future__ import annotations

from dataclasses import dataclass


class NoBackendError(ValueError):
    """Attention that no backend of vLLM runs on this GPU; it would refuse to start."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An attention backend.

    Attributes:
        name: vLLM's.
        blocks: a KV block must be a multiple of one of these tokens.
        kv_dtype: what it keeps the cache as, whatever was asked for; None: what was asked for.
    """

    name: str
    blocks: tuple[int, ...]
    kv_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU, and what is asked of it.

    Attributes:
        dtype: the model is served in.
        kv: vLLM's flag for the KV cache's dtype.
        ranks: of tensor parallelism.
        whole_items: the tokens of an image attend to each other, which few backends can do.
        named: the attention backend that the server is told to take; None where vLLM chooses.
    """

    capability: tuple[int, int]
    dtype: str
    kv: str
    ranks: int = 1
    whole_items: bool = False
    named: str | None = None

    @property
    def major(self) -> int:
        """Of the compute capability."""
        return self.capability[0]

    @property
    def is_fp8(self) -> bool:
        """Whether the KV cache is asked for in 8 bits."""
        return self.kv.startswith("fp8")

    @property
    def is_half(self) -> bool:
        """Whether the model is served in 16 bits."""
        return self.dtype in ("bfloat16", "float16")


def dotted(capability: tuple[int, int]) -> str:
    """As NVIDIA writes it: 8.6."""
    return ".".join(map(str, capability))
