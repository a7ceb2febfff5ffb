"""A model as its GGUF files hold it: the keys of the header and every tensor, however many files they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias, overload

from compiler.gguf.types import TensorType

Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | tuple[Scalar, ...]

_OF_LAYER = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        name: such as `blk.0.attn_q.weight`.
        type: how its elements are stored.
        shape: elements along each dimension, the fastest first as GGUF has them.
    """

    name: str
    type: TensorType
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """What its data take in a file, without padding."""
        return self.type.row_bytes(self.shape[0]) * prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors that differ only in the number of their layer.

    Attributes:
        name: within a layer, such as `attn_q.weight`; the whole name of a tensor of no layer.
        layers: that have it, ascending; None for a tensor of no layer.
    """

    name: str
    type: TensorType
    shape: tuple[int, ...]
    layers: tuple[int, ...] | None

    @property
    def one(self) -> Tensor:
        """Any of them."""
        return Tensor(self.name if self.layers is None else f"blk.{self.layers[0]}.{self.name}", self.type, self.shape)

    def tensors(self) -> Iterator[tuple[int, Tensor]]:
        """Each with the number of its layer, -1 for none."""
        if self.layers is None:
            yield -1, self.one
            return
        for number in self.layers:
            yield number, Tensor(f"blk.{number}.{self.name}", self.type, self.shape)


class TensorTable(Sequence[Tensor]):
    """Tensors by groups: those of no layer first, by name, then layer by layer by name; each is made when asked for."""

    def __init__(self, groups: Iterable[TensorGroup]) -> None:
        self.groups = tuple(groups)

    @cached_property
    def _all(self) -> tuple[Tensor, ...]:
        found = (item for group in self.groups for item in group.tensors())
        return tuple(tensor for _, tensor in sorted(found, key=lambda item: (item[0], item[1].name)))

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        return self._all[index]

    def __len__(self) -> int:
        return sum(1 if group.layers is None else len(group.layers) for group in self.groups)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that may be long


@dataclass(frozen=True)
class GgufModel:
    """A model's headers, joined.

    Attributes:
        keys: by name, without the vocabulary's lists (tokens, scores, merges, types).
        tensors: of all files of a split model, in the order of files and of headers.
        vocabulary: tokens that `tokenizer.ggml.tokens` lists; 0 where there is no such list.
    """

    keys: Mapping[str, Value]
    tensors: Sequence[Tensor]
    vocabulary: int

    @cached_property
    def groups(self) -> tuple[TensorGroup, ...]:
        """The tensors of one name, type and shape together."""
        return self.tensors.groups if isinstance(self.tensors, TensorTable) else tuple(_grouped(self.tensors))


def _grouped(tensors: Iterable[Tensor]) -> Iterator[TensorGroup]:
    found: dict[tuple[str, TensorType, tuple[int, ...], bool], list[int]] = {}
    for tensor in tensors:
        match = _OF_LAYER.fullmatch(tensor.name)
        name = tensor.name if match is None else match[2]
        layers = found.setdefault((name, tensor.type, tensor.shape, match is None), [])
        layers += [int(match[1])] if match is not None else []
    for (name, type_, shape, is_outside), layers in found.items():
        yield TensorGroup(name, type_, shape, None if is_outside else tuple(sorted(layers)))
