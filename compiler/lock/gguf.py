"""What a lock holds of a model in GGUF files, and the model again that its header described."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from compiler.gguf.file_types import UNQUANTIZED, file_type_name, is_file_type
from compiler.gguf.header import MAX_DIMENSIONS, MAX_ELEMENTS, MAX_KEYS, MAX_TENSORS, Header
from compiler.gguf.model import GgufModel, Tensor, TensorGroup, TensorTable
from compiler.gguf.sets import MAX_PARTS, File, FileSet
from compiler.gguf.types import TYPES_BY_NAME
from compiler.lock.layers import LayerRanges, layer_count, layer_numbers, layer_ranges
from compiler.lock.names import FilePath, Hash, Text
from compiler.lock.record import LockModel

MAX_KINDS: Final = 4096
"""Models have 20 to 60; one that mixes types by layer has a few for each."""

# `blk.7.attn_q.weight`, and of encoders and projectors `enc.blk.7.` and `v.blk.7.`.
_BLOCK = re.compile(r"(?<![^.])blk\.(?P<number>0|[1-9][0-9]{0,4})\.", re.ASCII)
_ANY_BLOCK = "blk.*."


def _known(name: str) -> str:
    if name not in TYPES_BY_NAME:
        raise ValueError("is no type of GGUF's tensors")
    return name


GgufScalar = StrictBool | StrictInt | StrictFloat | Text
GgufValue = GgufScalar | Annotated[tuple[GgufScalar, ...], Field(max_length=MAX_ELEMENTS)]


class GgufFile(LockModel):
    """One file of a model.

    Attributes:
        path: in its repository or folder.
        size: bytes; None where the source did not say.
        sha256: None where the source did not say.
    """

    path: FilePath
    size: int | None = Field(default=None, ge=0)
    sha256: Hash | None = None


class GgufTensorKind(LockModel):
    """Tensors that differ only in the number of their layer.

    Attributes:
        name: of the tensor, with the number of its layer replaced by `*` where there is one.
        type: as llama.cpp prints it (`f16`, `q4_K`).
        shape: of one tensor in elements, the fastest dimension first.
        layers: those that have it, such as `0-31` or `0,3,5-9`; None for a tensor of no layer.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/*-]{1,64}$")]
    type: Annotated[str, AfterValidator(_known)]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, lt=2**63)], ...], Field(min_length=1, max_length=MAX_DIMENSIONS)]
    layers: LayerRanges | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> GgufTensorKind:
        if self.shape[0] % TYPES_BY_NAME[self.type].block:
            raise ValueError(f"rows of {self.name} are no whole blocks of {self.type}")
        if self.name.count("*") != (self.layers is not None) or (self.layers and _ANY_BLOCK not in self.name):
            raise ValueError(f"{self.name} has layers without a place for their number, or the other way round")
        return self

    @property
    def count(self) -> int:
        """How many tensors there are."""
        return 1 if self.layers is None else layer_count(self.layers)

    @property
    def elements(self) -> int:
        """Of all of them."""
        return prod(self.shape) * self.count

    @property
    def bytes(self) -> int:
        """Of all of them in the file, without padding."""
        return TYPES_BY_NAME[self.type].row_bytes(self.shape[0]) * prod(self.shape[1:]) * self.count

    @property
    def group(self) -> TensorGroup | None:
        """The same as a model has it; None of a name whose layers are others' (`enc.blk.*`)."""
        known = TYPES_BY_NAME[self.type]
        if self.layers is None:
            return TensorGroup(self.name, known, self.shape, None)
        if not self.name.startswith(_ANY_BLOCK):
            return None
        return TensorGroup(self.name.removeprefix(_ANY_BLOCK), known, self.shape, _numbers(self.layers))

    def groups(self) -> Iterator[TensorGroup]:
        """That, or each of its tensors where they are of no layer of the model."""
        if (group := self.group) is not None:
            yield group
            return
        for number in layer_numbers(self.layers or ""):
            name = self.name.replace(_ANY_BLOCK, f"blk.{number}.")
            yield TensorGroup(name, TYPES_BY_NAME[self.type], self.shape, None)


@lru_cache(maxsize=4096)
def _numbers(ranges: str) -> tuple[int, ...]:
    return tuple(layer_numbers(ranges))


_Facts = TypeVar("_Facts")


def _bounded(facts: _Facts, tensors: tuple[GgufTensorKind, ...]) -> _Facts:
    if sum(kind.count for kind in tensors) > MAX_TENSORS:
        raise ValueError(f"has more than {MAX_TENSORS} tensors")
    return facts


class GgufProjector(LockModel):
    """A file beside the model that makes embeddings of images or sounds (`--mmproj`).

    Attributes:
        file: itself.
        tensor_bytes: of its tensors' data, without padding.
        keys: of its header, as those of the model.
        tensors: as those of the model; none in a lock of a stackc that did not serve projectors.
    """

    file: GgufFile
    tensor_bytes: int = Field(ge=0)
    keys: dict[Text, GgufValue] = Field(default_factory=dict, max_length=MAX_KEYS)
    tensors: Annotated[tuple[GgufTensorKind, ...], Field(max_length=MAX_KINDS)] = ()

    @model_validator(mode="after")
    def _is_bounded(self) -> GgufProjector:
        return _bounded(self, self.tensors)


class GgufFacts(LockModel):
    """What the headers of a model's GGUF files say.

    Attributes:
        files: of the model in order; llama.cpp is given the first.
        keys: of the first header: numbers, short texts and short lists, none of the tokenizer's.
        vocabulary: tokens that the tokenizer lists; 0 where there is no list.
        digest: `sha256:` over the sorted lines `name type [shape]` of every tensor.
        tensors: those that differ only in the number of their layer, together.
        projector: the one of the repository that is served with it; None where there is none.
    """

    files: Annotated[tuple[GgufFile, ...], Field(min_length=1, max_length=MAX_PARTS)]
    keys: dict[Text, GgufValue] = Field(max_length=MAX_KEYS)
    vocabulary: int = Field(default=0, ge=0)
    digest: Text
    tensors: Annotated[tuple[GgufTensorKind, ...], Field(max_length=MAX_KINDS)]
    projector: GgufProjector | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> GgufFacts:
        return _bounded(self, self.tensors)

    @property
    def path(self) -> str:
        """The file that llama.cpp is given."""
        return self.files[0].path

    @property
    def file_type(self) -> str | None:
        """What the header says that its tensors mostly are, such as `Q4_K_M`; None where it does not say."""
        return file_type_name(self.keys.get("general.file_type"))

    @property
    def label(self) -> str | None:
        """What the name of the file says of it: a hint, and `Q4_K_L` where llama.cpp has no such type."""
        return FileSet((File(self.path),)).label

    @property
    def method(self) -> str:
        """The quantization that a spec asks for it by: the header's word, then the name's, else `unknown`."""
        return self.file_type or self.label or "unknown"

    @property
    def methods(self) -> frozenset[str]:
        """Every name under which a spec may ask for it; a label counts where it is no type that could contradict."""
        labels = {self.label} if self.label is not None and not is_file_type(self.label) else set()
        return frozenset({self.method, *labels, *({"none"} if self.method in UNQUANTIZED else set())})

    @property
    def is_mislabelled(self) -> bool:
        """Whether its name speaks of another type than its header."""
        return None not in (self.file_type, self.label) and self.label not in self.methods

    @property
    def tensor_bytes(self) -> int:
        """Of all tensors' data, without padding."""
        return sum(kind.bytes for kind in self.tensors)

    @property
    def elements(self) -> int:
        """Of all tensors, large and small."""
        return sum(kind.elements for kind in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Of all tensors."""
        return 8 * self.tensor_bytes / max(1, self.elements)


def of_model(model: GgufModel, files: Iterable[GgufFile], projector: GgufProjector | None = None) -> GgufFacts:
    """Facts of a model that was read.

    Raises:
        ValidationError: it has more kinds of tensors than any model, or texts with control characters.
    """
    return GgufFacts(
        files=tuple(files),
        keys=dict(model.keys),
        vocabulary=model.vocabulary,
        digest=_digest(model.tensors),
        tensors=tuple(_kinds(model.tensors)),
        projector=projector,
    )


def to_model(facts: GgufFacts) -> GgufModel:
    """The model that facts describe: those of no layer by name, then layer by layer by name.

    It is the model that was read but for the order of its tensors: `of_model` of it gives the same facts.
    """
    groups = chain.from_iterable(kind.groups() for kind in facts.tensors)
    return GgufModel(facts.keys, TensorTable(groups), facts.vocabulary)


def of_projector(file: GgufFile, header: Header) -> GgufProjector:
    """Facts of a projector whose header was read.

    Raises:
        ValidationError: it has more kinds of tensors than any, or texts with control characters.
    """
    size = sum(tensor.bytes for tensor in header.tensors)
    return GgufProjector(file=file, tensor_bytes=size, keys=dict(header.keys), tensors=tuple(_kinds(header.tensors)))


def to_projector(facts: GgufProjector) -> GgufModel:
    """The file that facts describe, as `to_model` does."""
    groups = chain.from_iterable(kind.groups() for kind in facts.tensors)
    return GgufModel(facts.keys, TensorTable(groups), 0)


def _digest(tensors: Iterable[Tensor]) -> str:
    lines = sorted(f"{tensor.name} {tensor.type.name} {list(tensor.shape)}\n" for tensor in tensors)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _kinds(tensors: Iterable[Tensor]) -> Iterator[GgufTensorKind]:
    found: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for tensor in tensors:
        match = _BLOCK.search(tensor.name)
        name = tensor.name if match is None else _BLOCK.sub(_ANY_BLOCK, tensor.name, count=1)
        layers = found.setdefault((name, tensor.type.name, tensor.shape), [])
        layers += [int(match["number"])] if match is not None else []
    for (name, type_, shape), layers in sorted(found.items()):
        yield GgufTensorKind(name=name, type=type_, shape=shape, layers=layer_ranges(layers) if layers else None)
