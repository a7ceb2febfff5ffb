"""One model from the headers of all its files, as llama.cpp joins them (src/llama-model-loader.cpp, b10435)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compiler.gguf.error import GgufError
from compiler.gguf.header import Header
from compiler.gguf.model import GgufModel, Tensor

# Of llava and its kin: what stands beside a model and makes its embeddings of images (tools/mtmd/clip.cpp, b10435).
PROJECTOR = "clip"


def joined(headers: Sequence[Header]) -> GgufModel:
    """A model from the headers of its files, in the order of their numbers. The first one's keys are the model's.

    Raises:
        GgufError: they are not all the files of one model.
    """
    first = headers[0]
    count = first.keys.get("split.count", 0)
    if max(count if isinstance(count, int) else 0, 1) != len(headers):
        raise GgufError(
            f"the model has {count} files, and by their names there are {len(headers)}", "key `split.count`"
        )
    if len(headers) > 1:
        _check_numbers(headers)
    tensors = _without_repetition(tensor for header in headers for tensor in header.tensors)
    expected = first.keys.get("split.tensors.count")
    if len(headers) > 1 and expected != len(tensors):
        what = f"the model has {expected} tensors, and its files hold {len(tensors)}"
        raise GgufError(what, "key `split.tensors.count`")
    return GgufModel(first.keys, tensors, first.vocabulary)


def check_model(model: GgufModel) -> None:
    """Refuse what is no language model, though it is GGUF: projectors, adapters, importance matrices.

    Raises:
        GgufError: it says that it is something else, or not what it is.
    """
    architecture, kind = model.keys.get("general.architecture"), model.keys.get("general.type", "model")
    if architecture is None:
        raise GgufError("there is none, and llama.cpp chooses by it how a model is read", "key `general.architecture`")
    if architecture == PROJECTOR:
        raise GgufError("it is the projector of a model, and no model", "key `general.architecture`")
    if kind != "model":
        raise GgufError("it says that it is no model", "key `general.type`")
    if not model.tensors:
        raise GgufError("it has no tensors", "its end")


def _check_numbers(headers: Sequence[Header]) -> None:
    for number, header in enumerate(headers):
        if header.keys.get("split.no") != number:
            what = f"file {number + 1} says that it is number {header.keys.get('split.no', 'none')}, counted from 0"
            raise GgufError(what, "key `split.no`")


def _without_repetition(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name in found:
            raise GgufError("two files of the model hold it", f"tensor `{tensor.name}`")
        found[tensor.name] = tensor
    return tuple(found.values())
