"""What of a service's `engine_args` is wrong, before the lock is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, Help
from compiler.engines.common.engine_args import Decided, Given
from compiler.engines.llama_cpp.options.catalog import Flag, FlagCatalog, check_value, load_flags
from compiler.engines.llama_cpp.options.decided import decided
from compiler.engines.llama_cpp.options.values import check_limits
from compiler.engines.llama_cpp.releases import SERVED
from compiler.engines.llama_cpp.terms import IMAGE_TOKENS, asked_media
from compiler.engines.llama_cpp.words import WORDS
from compiler.spec.engines import LLAMA_CPP
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import Feature


def check_engine_args(file: SpecFile, service: str) -> Iterator[Diagnostic]:
    """Each key exists in the pinned build, is the user's to set, and takes the value that it is given."""
    release = file.spec.engine.releases.get(LLAMA_CPP)
    if release not in SERVED:
        return
    catalog, seen = load_flags(release), dict[str, str]()
    for key, value in file.spec.services[service].engine_args.items():
        yield from _check_one(Given(file, service, key, value), catalog, seen)


def _check_one(given: Given, catalog: FlagCatalog, seen: dict[str, str]) -> Iterator[Diagnostic]:
    flag = catalog.find(given.key)
    if flag is None:
        yield _unknown(given, catalog)
    elif (why := decided(flag)) is not None:
        yield _decided(given, why)
    elif flag.name in seen:
        yield given.twice(seen[flag.name])
    elif (
        reason := check_value(flag, given.value) or check_limits(flag, given.value) or _contradicts(given, flag)
    ) is not None:
        yield given.untakable(reason)
    if flag is not None:
        seen.setdefault(flag.name, given.key)


def _unknown(given: Given, catalog: FlagCatalog) -> Diagnostic:
    nearest = [flag for name in catalog.nearest(given.key) if (flag := catalog.find(name)) is not None]
    hint = catalog.hint(given.key)
    notes = [hint] if hint else []
    notes += [
        f"the nearest that exists is `{_key(flag)}`, which is not to be given: {why.why}"
        for flag in nearest
        if (why := decided(flag)) is not None
    ]
    usable = tuple(_key(flag) for flag in nearest if decided(flag) is None)
    return given.unknown(f"llama.cpp {catalog.version}", tuple(notes), usable)


def _key(flag: Flag) -> str:
    return flag.name.removeprefix("--")


def _decided(given: Given, why: Decided) -> Diagnostic:
    said = () if why.key is None else (_said_elsewhere(given, why.key),)
    message = f"`{given.key}` is not to be given: {why.why}"
    return Diagnostic("E0501", message, given.file.at_key(*given.path), helps=(*said, given.remove))


# Keys of a service that take the option's value as it is. `--ctx-size` is of all slots together, and `--gpu-layers -1`
# another number than any of ours.
_TAKES_THE_SAME = frozenset(
    {"cpu_moe", "gpu_layers", "kv_cache_dtype", "max_num_batched_tokens", "port", "served_name"}
)


def _said_elsewhere(given: Given, key: str) -> Help:
    is_word = key not in WORDS or given.value in WORDS[key].known
    return given.saying(key) if key in _TAKES_THE_SAME and is_word and given.fits(key) else Help(f"say it with `{key}`")


# Values that take back what a feature promises to clients (common/chat.cpp).
_UNDOING: Mapping[str, tuple[object, tuple[Feature, ...]]] = {
    "--jinja": (False, ("tools", "reasoning")),
    "--reasoning": ("off", ("reasoning",)),
    "--reasoning-budget": (0, ("reasoning",)),
    "--reasoning-format": ("none", ("reasoning",)),
    "--skip-chat-parsing": (True, ("tools", "reasoning")),
}


def _contradicts(given: Given, flag: Flag) -> str | None:
    service = given.file.spec.services[given.service]
    if flag.name == IMAGE_TOKENS and "image" not in asked_media(service):
        return "the service reads no images: `media` does not ask for them"
    return _promised(given, flag)


def _promised(given: Given, flag: Flag) -> str | None:
    value, features = _UNDOING.get(flag.name, (None, ()))
    undone = [feature for feature in features if feature in given.file.spec.services[given.service].features]
    return f"`features` promises `{undone[0]}`, which it takes back" if undone and given.value == value else None
