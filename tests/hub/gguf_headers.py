"""Headers of public GGUF files, made from a recording's keys and shapes by the quantizer's own rule.

Nobody of this project read the files themselves: their shapes are the published models', and the types of their tensors
those that `llama-quantize` gives (src/llama-quant.cpp:llama_tensor_get_type_impl, b10435). The sums are those of the
published files, but for their headers; a recording names the mixtures for which that holds. Of tokens a lock has the
number alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from compiler.gguf.file_types import FILE_TYPES, label_of
from compiler.gguf.model import Tensor
from tests.gguf.writer import Typed, Value, encoded, tensor

MIXTURES: Final[Mapping[str, str]] = {
    "F16": "f16", "BF16": "bf16", "Q8_0": "q8_0", "Q6_K": "q6_K", "Q5_K_M": "q5_K", "Q4_K_M": "q4_K",
}  # fmt: skip
"""What most tensors of a file become (llama_ftype_get_default_type)."""

_NUMBERS = {name: number for number, name in FILE_TYPES.items()}
_LAYERS_OF_70B = 80
_NEVER_QUANTIZED = ("token_types.weight", "position_embd.weight")


@dataclass(frozen=True)
class Shapes:
    """A model before it is quantized.

    Attributes:
        keys: of its header.
        tensors: shapes by name, the fastest dimension first; `blk.*.` stands for every layer.
        vocabulary: tokens.
        mixtures: of the files that are laid out by the rule.
        template: whether the header has a chat template.
    """

    keys: Mapping[str, Value]
    tensors: Mapping[str, tuple[int, ...]]
    vocabulary: int
    mixtures: frozenset[str]
    template: bool = False

    @property
    def layers(self) -> int:
        (count,) = (value for key, value in self.keys.items() if key.endswith(".block_count"))
        assert isinstance(count, int)
        return count

    @property
    def _tokens(self) -> Value:
        return Typed("str", ["t"] * self.vocabulary)

    def quantized(self, mixture: str) -> Iterator[Tensor]:
        """The tensors of a file."""
        for pattern, shape in self.tensors.items():
            for layer in range(self.layers) if "*" in pattern else (0,):
                yield tensor(pattern.replace("*", str(layer)), self._type(pattern, shape, mixture, layer), *shape)

    def header(self, mixture: str) -> bytes:
        """A file up to the first byte of its data."""
        keys = {**self.keys, "general.file_type": _NUMBERS[mixture], "tokenizer.ggml.tokens": self._tokens}
        if self.template:
            keys["tokenizer.chat_template"] = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        return encoded(keys, self.quantized(mixture))

    def _type(self, pattern: str, shape: tuple[int, ...], mixture: str, layer: int) -> str:
        most = MIXTURES[mixture]
        if len(shape) < 2 or pattern in _NEVER_QUANTIZED:
            return "f32"
        if not most.endswith("_K"):
            return most
        makes_logits = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        is_mixed = mixture.endswith("_M") and pattern.endswith(("attn_v.weight", "ffn_down.weight"))
        if pattern == makes_logits or (is_mixed and _gets_more_bits(layer, self.layers)):
            return "q6_K"
        is_narrow = pattern.endswith("attn_v.weight") and self.layers == _LAYERS_OF_70B
        return "q5_K" if is_narrow and most == "q4_K" else most


class Headers(dict[str, bytes]):
    """What files of a repository begin with, by path: made when somebody asks, because few of many are read."""

    def __init__(self, shapes: Shapes, paths: tuple[str, ...]) -> None:
        super().__init__()
        self.shapes = shapes
        self.mixtures = {path: label for path in paths if (label := label_of(path)) in shapes.mixtures}

    def __contains__(self, path: object) -> bool:
        return path in self.mixtures or super().__contains__(path)

    def __missing__(self, path: str) -> bytes:
        self[path] = self.shapes.header(self.mixtures[path])
        return self[path]


def _gets_more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth, and every third between (use_more_bits)."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
