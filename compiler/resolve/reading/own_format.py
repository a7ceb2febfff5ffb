"""Whether a repository is served in Mistral's own format, and its facts in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.lock.models import FOLDER, FULL_COMMIT, TensorFacts
from compiler.lock.quantization import AWQ_FILE, GPTQ_FILE, MODELOPT_FILE
from compiler.resolve.answers import ConfigError, ListedFile, MalformedError, Reader, Repository, plain
from compiler.resolve.reading.mistral import PARAMS, UnservedError, adapted
from compiler.resolve.reading.mistral_names import renamed
from compiler.resolve.reading.tokenizers import tokenizer_files
from compiler.resolve.reading.weights import has_weights, own_files, own_weight_files
from compiler.resolve.strangers import parse_config

# Types of language models for which transformers has no class that 0.33.0 could build behind a tower ("No model
# architectures are specified"): it serves them by params.json alone.
_OWN_ALONE = frozenset({"mistral4"})

Headers = Callable[[tuple[ListedFile, ...], Reader], TensorFacts | None]


def has_own_format(repository: Repository) -> bool:
    """Whether there are params.json and weights that belong to it, at the root."""
    return repository.has(PARAMS) and bool(own_files(repository))


def is_served_in_own(repository: Repository, config: Mapping[str, Any]) -> bool:
    """Whether the Hugging Face format is not whole, or vLLM cannot serve it.

    Args:
        config: config.json; empty where there is none.
    """
    text = config.get("text_config")
    if isinstance(text, Mapping) and text.get("model_type") in _OWN_ALONE:
        return True
    return not config or not has_weights(repository)


def read_own_format(
    repository: Repository, reader: Reader, config: Mapping[str, Any], headers: Headers
) -> tuple[tuple[ListedFile, ...], TensorFacts, dict[str, Any]]:
    """Weights, what their headers say by the engine's names, and the configuration that vLLM makes of params.json.

    Raises:
        ConfigError: vLLM does not start with it, or stackc cannot account for it.
        SourceError: an answer is malformed, or larger than any.
    """
    try:
        return _read(repository, reader, config, headers)
    except UnservedError as error:
        helps = ("name a repository that has the model in the Hugging Face format, with config.json and its weights",)
        message = f"`{plain(repository.name)}` cannot be served in Mistral's own format, which alone it has for vLLM"
        raise ConfigError(message, (plain(error),), helps) from error


def _read(
    repository: Repository, reader: Reader, config: Mapping[str, Any], headers: Headers
) -> tuple[tuple[ListedFile, ...], TensorFacts, dict[str, Any]]:
    content = reader.read(PARAMS)
    if content is None:
        raise MalformedError(f"`{plain(repository.name)}` lists {PARAMS} and does not give it")
    if repository.source != FOLDER and FULL_COMMIT.fullmatch(repository.commit or "") is None:
        raise UnservedError("its commit is not known, and so not which params.json will be served")
    if not tokenizer_files(repository):
        raise UnservedError("it has no tekken.json, nor other files of which a tokenizer is made")
    params = parse_config(content, f"{repository.name}/{PARAMS}")
    files = own_weight_files(repository, reader)
    tensors = headers(files, reader)
    if tensors is None:
        raise UnservedError("the headers of its weights cannot be read")
    whole = adapted(params, config, {kind.dtype for kind in tensors.kinds})
    _check_quantization(repository, whole, params)
    nested = whole.get("text_config", whole)
    return files, renamed(tensors, nested["architectures"][0], images="vision_config" in whole), whole


def _check_quantization(repository: Repository, whole: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """What only files of the other format say would be of modules by other names."""
    sidecar = next((name for name in _SIDECARS if repository.has(name)), None)
    if not params.get("quantization") and (sidecar or any(key in whole for key in _BLOCKS)):
        raise UnservedError(f"its quantization is described in {sidecar or 'config.json'} and not in {PARAMS}")


_SIDECARS = (MODELOPT_FILE, AWQ_FILE, GPTQ_FILE)
_BLOCKS = ("quantization_config", "compression_config")
