"""Keys of a GGUF header as llama.cpp reads them, within bounds: a stranger's file raises nothing but `ModelError`."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.gguf.model import GgufModel, Value

MOST_LAYERS = 512
"""LLAMA_MAX_LAYERS (src/llama-hparams.h, b10435)."""
MOST_EXPERTS = 1024
"""More than LLAMA_MAX_EXPERTS of any build that is known (src/llama-hparams.h: 512 in b10435)."""
MOST = 2**31 - 1
"""No count of a header that llama.cpp can serve is larger; sums of products of these stay small for Python."""


class ModelError(ValueError):
    """A header that llama.cpp would not load, or whose memory follows rules that are not known."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one architecture, by their names without its prefix."""

    model: GgufModel
    architecture: str

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number from 0 to `MOST`.

        Raises:
            ModelError: another value, or none and no default.
        """
        value = self._value(name)
        if value is None:
            if default is None:
                raise ModelError(f"the header lacks `{self.architecture}.{name}`")
            return default
        return self._checked(name, value)

    def per_layer(self, name: str, layers: int, default: tuple[int, ...] | int | None = None) -> tuple[int, ...]:
        """A value a layer: a list of that length, or one number for all.

        Raises:
            ModelError: a list of another length, or values that are no counts.
        """
        value = self._value(name)
        if isinstance(value, tuple):
            if len(value) != layers:
                raise ModelError(f"`{self.architecture}.{name}` has {len(value)} values for {layers} layers")
            return tuple(self._checked(name, each) for each in value)
        if value is None and isinstance(default, tuple):
            return default
        return (self.count(name, default if isinstance(default, int) else None),) * layers

    def length(self, name: str) -> int | None:
        """Of a list; None where the header has none there."""
        value = self._value(name)
        return len(value) if isinstance(value, tuple) else None

    def has(self, name: str) -> bool:
        """Whether the header has such a key."""
        return self._value(name) is not None

    def _value(self, name: str) -> Value | None:
        return self.model.keys.get(f"{self.architecture}.{name}")

    def _checked(self, name: str, value: Value) -> int:
        if not isinstance(value, int) or not 0 <= value <= MOST:
            raise ModelError(f"`{self.architecture}.{name}` is no count: {str(value)[:40]}")
        return int(value)
