"""Which files of a repository are its weights, as vLLM chooses them, and whether all of them are there.

vllm/model_executor/model_loader of 0.33.0: default_loader.py:_prepare_weights takes the first format that there is;
weight_utils.py:filter_duplicate_safetensors_files takes what the index names, and fails where one of these is absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.lock.models import FOLDER
from compiler.lock.names import is_file, is_path
from compiler.resolve.answers import ConfigError, ListedFile, Reader, Repository, TooLargeError, plain
from compiler.resolve.limits import LIGHT, MAX_SHARDS

INDEX = "model.safetensors.index.json"
OWN_INDEX = "consolidated.safetensors.index.json"
_CONSOLIDATED = re.compile(r"consolidated.*\.safetensors", re.DOTALL)

# State of a training run that lies beside weights (weight_utils.py:filter_files_not_needed_for_inference).
_NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"})
_FORMATS = (".safetensors", ".bin", ".pt")
_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<format>\.[a-z]+)", re.ASCII)
# The index is one flat object of names, of up to 32 MB; as Python's own objects it would take many times that.
_WEIGHT_MAP = re.compile(rb'"weight_map"\s*:\s*\{')
_ENTRY = re.compile(rb'"[^"\\]{0,1024}"\s*:\s*(?:"([^"\\]{0,1024})"|[^\s"])')


def weight_files(repository: Repository, reader: Reader) -> tuple[ListedFile, ...]:
    """Files at the root that vLLM loads: one format, one copy, sorted by path.

    Raises:
        ConfigError: there are none, or some of them are absent.
        TooLargeError: there are more than of any model.
    """
    files = next((found for form in _FORMATS if (found := _of_format(repository, form))), ())
    if has_index(repository):
        files = _indexed(repository, reader, files)
    else:
        _check_shards(repository, files)
    if not files and repository.files is not None:
        raise _no_weights(repository)
    _check_names(repository, files)
    _check_second_copy(repository, files)
    return tuple(sorted(files, key=lambda file: file.path))


def own_weight_files(repository: Repository, reader: Reader) -> tuple[ListedFile, ...]:
    """Files at the root that vLLM loads with `--load-format mistral`, sorted by path.

    Raises:
        ConfigError: some of them are absent.
        TooLargeError: there are more than of any model.
    """
    files = own_files(repository)
    if repository.has(OWN_INDEX):
        files = _indexed(repository, reader, files, OWN_INDEX)
    else:
        _check_shards(repository, files)
    _check_names(repository, files)
    return tuple(sorted(files, key=lambda file: file.path))


def has_weights(repository: Repository) -> bool:
    """Whether it has any in the Hugging Face format."""
    return any(_of_format(repository, form) for form in _FORMATS)


def own_files(repository: Repository) -> tuple[ListedFile, ...]:
    """Weights at the root in Mistral's own format (default_loader.py:_prepare_weights)."""
    listed = (file for file in repository.files or () if "/" not in file.path)
    return tuple(file for file in listed if _CONSOLIDATED.fullmatch(file.path))


def _check_second_copy(repository: Repository, files: tuple[ListedFile, ...]) -> None:
    """A folder is served as it is: without an index vLLM would read both formats into one model."""
    second = next((name for name in consolidated_files(repository) if "/" not in name), None)
    is_read = any(file.path.endswith(".safetensors") for file in files)
    if repository.source != FOLDER or second is None or not is_read or repository.has(INDEX):
        return
    notes = (f"without a {INDEX}, vLLM takes every .safetensors of the folder for one model",)
    helps = (f"move `{plain(second)}` out of the folder", f"add the {INDEX} of the other weights")
    raise ConfigError(f"`{plain(repository.name)}` holds its weights twice", notes, helps)


def consolidated_files(repository: Repository) -> tuple[str, ...]:
    """The first few files of weights in Mistral's own format.

    One of them, in any folder, makes vLLM read the configuration and the weights of that format
    (vllm/transformers_utils/repo_utils.py:is_mistral_model_repo, 0.33.0). The plan names the other format instead.
    """
    names = (file.path for file in repository.files or ())
    found = sorted(name for name in names if _CONSOLIDATED.fullmatch(name.rpartition("/")[2]) and is_path(name))
    return tuple(found[:_SHOWN])


def mistral_only(repository: Repository) -> ConfigError:
    """Why a repository without the Hugging Face format is not served, where Mistral's own is not whole."""
    shown = f"`{plain(consolidated_files(repository)[0])}` and params.json"
    lacks = f"of {shown} it lacks one at its root, which `--config-format mistral` reads"
    helps = ("name a repository that has the model in the Hugging Face format, with config.json and its weights",)
    return ConfigError(f"`{plain(repository.name)}` has its weights in Mistral's own format only", (lacks,), helps)


def _no_weights(repository: Repository) -> ConfigError:
    if consolidated_files(repository):
        return mistral_only(repository)
    name = plain(repository.name)
    return ConfigError(f"`{name}` holds no weights that vLLM loads", ("no .safetensors, .bin or .pt at its root",))


def has_index(repository: Repository) -> bool:
    """Whether the index decides: where all shards are there, a long one of a large model would say nothing more."""
    files = _of_format(repository, ".safetensors")
    index = next((file for file in repository.files or () if file.path == INDEX), None)
    if not files or index is None:
        return False
    return not _is_complete(files) or (index.size is not None and index.size <= LIGHT // 2)


def _of_format(repository: Repository, suffix: str) -> tuple[ListedFile, ...]:
    root = (file for file in repository.files or () if "/" not in file.path and file.path not in _NOT_WEIGHTS)
    return tuple(file for file in root if file.path.endswith(suffix) and not file.path.startswith("consolidated"))


def _indexed(
    repository: Repository, reader: Reader, files: tuple[ListedFile, ...], index: str = INDEX
) -> tuple[ListedFile, ...]:
    """Only what the index names: a stray copy beside the shards is not loaded."""
    content = reader.read(index)
    if content is None:
        return tuple(file for file in files if _SHARD.fullmatch(file.path)) or files
    named = _named(repository, content)
    there = {file.path for file in files}
    if absent := sorted(named - there):
        raise _incomplete(repository, absent, "which its index names")
    return tuple(file for file in files if file.path in named)


def _named(repository: Repository, content: bytes) -> set[str]:
    """Files that the index names."""
    start = _WEIGHT_MAP.search(content)
    if start is None:
        raise _not_an_index(repository, "it has no `weight_map`")
    named: set[bytes] = set()
    for match in _ENTRY.finditer(content, start.end(), _end_of(content, start.end())):
        if match[1] is None:
            raise _not_an_index(repository, "its `weight_map` has something other than names of files")
        named.add(match[1])
        if len(named) > MAX_SHARDS:
            raise _too_many(repository)
    if not named:
        raise _not_an_index(repository, "its `weight_map` is empty")
    return {name.decode(errors="replace") for name in named}


def _end_of(content: bytes, start: int) -> int:
    end = content.find(b"}", start)
    return len(content) if end < 0 else end


def _not_an_index(repository: Repository, note: str) -> ConfigError:
    return ConfigError(f"the {INDEX} of `{plain(repository.name)}` is not one", (note, "vLLM loads what it names"))


def _check_shards(repository: Repository, files: tuple[ListedFile, ...]) -> None:
    """Names of shards say how many there are."""
    if len(files) > MAX_SHARDS:
        raise _too_many(repository)
    absent = sorted(name for group in _groups(files).values() for name in _absent(group))
    if absent:
        raise _incomplete(repository, absent, "as the names of the others tell")


def _groups(files: tuple[ListedFile, ...]) -> dict[tuple[str, str, str], list[re.Match[str]]]:
    groups: dict[tuple[str, str, str], list[re.Match[str]]] = {}
    for file in files:
        if (match := _SHARD.fullmatch(file.path)) is not None:
            groups.setdefault((match["name"], match["count"], match["format"]), []).append(match)
    return groups


def _absent(group: list[re.Match[str]]) -> Iterator[str]:
    """The first shards that lack, where some do. A few publishers count from zero."""
    one, numbers = group[0], {int(match["number"]) for match in group}
    first = 0 if 0 in numbers else 1
    lacking = (number for number in range(first, first + int(one["count"])) if number not in numbers)
    for number, _ in zip(lacking, range(_SHOWN), strict=False):
        yield f"{one['name']}-{number:0{len(one['number'])}}-of-{one['count']}{one['format']}"


_SHOWN = 3


def _is_complete(files: tuple[ListedFile, ...]) -> bool:
    """Whether these are all shards of one checkpoint and nothing else."""
    groups = _groups(files)
    return (
        len(groups) == 1 and sum(map(len, groups.values())) == len(files) and not any(map(_any_absent, groups.values()))
    )


def _any_absent(group: list[re.Match[str]]) -> bool:
    return any(True for _ in _absent(group))


def _incomplete(repository: Repository, absent: list[str], why: str) -> ConfigError:
    shown = ", ".join(f"`{plain(name)}`" for name in absent[:_SHOWN]) + (", …" if len(absent) > _SHOWN else "")
    notes = ("an upload that is under way or was broken off looks like this", "vLLM does not start without it")
    helps = ("run `stackc lock` again when the repository is complete", "name another model")
    return ConfigError(f"`{plain(repository.name)}` lacks {shown}, {why}", notes, helps)


def _too_many(repository: Repository) -> TooLargeError:
    note = f"no more than {MAX_SHARDS} are looked at"
    return TooLargeError(f"`{plain(repository.name)}` has more files of weights than any model", (note,))


def _check_names(repository: Repository, files: tuple[ListedFile, ...]) -> None:
    odd = next((file.path for file in files if not is_file(file.path)), None)
    if odd is not None:
        note = "a name of weights is plain: it does not start with a dash or a dot, and has no control characters"
        raise ConfigError(
            f"`{plain(repository.name)}` has weights in `{plain(odd)}`, which is no name for them", (note,)
        )
