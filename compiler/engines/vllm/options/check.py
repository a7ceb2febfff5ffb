"""What of a service is vLLM's to check: options of `engine_args` with their values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

from compiler.catalog.hardware.gpus import GPUS
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.common.engine_args import Decided, Given
from compiler.engines.common.options import Flag, FlagCatalog, check_value
from compiler.engines.vllm.host.doors import MEDIA_DOMAINS
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.doors import opened, why_not_read
from compiler.engines.vllm.options.instead import instead
from compiler.engines.vllm.options.values import check_limits, number
from compiler.engines.vllm.options.words import WORDS
from compiler.engines.vllm.releases import RELEASES
from compiler.spec.engines import VLLM
from compiler.spec.media_hosts import not_a_host
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import MOST_MEDIA, Media
from compiler.units import format_gib


def check_engine_args(file: SpecFile, service: str) -> Iterator[Diagnostic]:
    """Each key exists in the pinned release, is the user's to set, and takes the value that it is given."""
    release = file.spec.engine.release_on(VLLM, file.spec.services[service].device)
    if release not in RELEASES:
        return
    catalog, seen = load_flags(release), dict[str, str]()
    for key, value in file.spec.services[service].engine_args.items():
        yield from _check_one(Given(file, service, key, value), catalog, seen)


def _check_one(given: Given, catalog: FlagCatalog, seen: dict[str, str]) -> Iterator[Diagnostic]:
    key, label = given.key, given.file.at_key(*given.path)
    flag = catalog.find(key)
    if flag is None:
        yield _unknown(given, catalog)
        return
    if (why := decided(flag)) is not None:
        yield _decided(given, flag, why)
    elif flag.name in seen:
        yield given.twice(seen[flag.name])
    elif (reason := _refused(given, flag, catalog)) is not None:
        yield given.untakable(reason)
    elif (what := opened(flag.name, given.value)) is not None:
        message = f"`{key}` opens more than the API: {what}"
        yield Diagnostic("W0220", message, label, helps=(given.remove,))
    seen.setdefault(flag.name, key)


def _refused(given: Given, flag: Flag, catalog: FlagCatalog) -> str | None:
    """Why the server would not start with a value, or answer nonsense, as a half-sentence; None if it would serve."""
    if flag.name == "--allowed-local-media-path":
        return why_not_read(given.value, given.file.spec)
    reason = check_value(flag, given.value) or check_limits(flag, given.value)
    return reason or _unmet(given, flag, catalog) or _promised(given, flag)


# What vLLM checks beyond its parser (vllm/entrypoints/common/cli_args.py:validate_parsed_serve_args, and the classes of
# vllm/config, 0.33.0). Parsers of tool calls and reasoning depend on the model: engines/vllm/answers/parsers.py.
_REQUIRES = {
    "--collect-detailed-traces": "--otlp-traces-endpoint",
    "--enable-log-outputs": "--enable-log-requests",
    "--numa-bind-cpus": "--numa-bind",
    "--numa-bind-nodes": "--numa-bind",
}
_EXCLUDES = {"--enable-per-request-metrics": "--disable-log-stats"}


def _unmet(given: Given, flag: Flag, catalog: FlagCatalog) -> str | None:
    """Why a value that the parser takes would still keep the server from starting, beside the others."""
    arguments = given.file.spec.services[given.service].engine_args
    others = {found.name: value for key, value in arguments.items() if (found := catalog.find(key)) is not None}
    needed, excluded = _REQUIRES.get(flag.name), _EXCLUDES.get(flag.name)
    if given.value is False:
        return None
    if needed is not None and others.get(needed, False) is False:
        return f"it needs `{_key(needed)}` too"
    if excluded is not None and others.get(excluded, False) is not False:
        return f"it cannot be beside `{_key(excluded)}`"
    return None


_GENERATING = ("chat", "completion")
# vllm/v1/core/kv_cache_coordinator.py ends where a model caches nothing; vllm/config/model.py warns of the others that
# it would not choose it for (is_prefix_caching_supported).
_FORCED_CACHING = "for such a task vLLM chooses it where the model allows, and ends or errs where it is forced"


def _promised(given: Given, flag: Flag) -> str | None:
    """Whether an option takes back what the spec promises, or what the engine decides by the model."""
    service = given.file.spec.services[given.service]
    if flag.name == "--enable-prefix-caching" and given.value is True and service.task not in _GENERATING:
        return _FORCED_CACHING
    limit = number(given.value)
    if limit is None:
        return None
    if flag.name == "--max-num-queued-reqs" and limit < service.concurrency.least:
        return f"it refuses requests of `concurrency: {service.concurrency.least}`"
    if flag.name == "--max-num-queued-tokens" and limit < service.context.least:
        return f"it refuses requests of `context: {service.context.least}`"
    # vllm/config/scheduler.py: no more than the context, which is at least the spec's.
    if flag.name == "--long-prefill-token-threshold" and limit > service.context.least:
        return f"it is more than the context, {service.context.least} tokens"
    return None


def _unknown(given: Given, catalog: FlagCatalog) -> Diagnostic:
    nearest = [flag for name in catalog.nearest(given.key) if (flag := catalog.find(name)) is not None]
    usable = [flag.name for flag in nearest if decided(flag) is None]
    hint = catalog.hint(given.key)
    notes = [hint] if hint else []
    notes += [
        f"the nearest that exists is `{_key(flag.name)}`, which is not to be given: {why.why}"
        for flag in nearest
        if (why := decided(flag)) is not None
    ]
    return given.unknown(f"vLLM {catalog.version}", tuple(notes), tuple(map(_key, usable)))


def _key(name: str) -> str:
    return name.removeprefix("--")


def _decided(given: Given, flag: Flag, decided: Decided) -> Diagnostic:
    budget = flag.name == "--gpu-memory-utilization"
    notes = tuple(_utilization_notes(given.file, given.key)) if budget else ()
    helps = (_said_elsewhere(given, flag, decided.key), given.remove) if decided.key is not None else (given.remove,)
    if decided.key is None and (sentence := instead(flag)) is not None:
        notes = (*notes, f"instead: {sentence}")
    message = f"`{given.key}` is not to be given: {decided.why}"
    return Diagnostic("E0501", message, given.file.at_key(*given.path), notes, helps)


def _said_elsewhere(given: Given, flag: Flag, key: str) -> Help:
    if key in _TAKES_THE_SAME and (key not in WORDS or given.value in WORDS[key].known) and given.fits(key):
        return given.saying(key)
    return Help(f"say it with `{key}`", _moved(given, flag))


# Keys of a service that take the option's value as it is. Another model, quantization or host needs more than its key.
_TAKES_THE_SAME = frozenset(
    {
        "context",
        "expert_parallel",
        "kv_cache_dtype",
        "max_num_batched_tokens",
        "max_num_seqs",
        "pipeline_parallel_size",
        "port",
        "served_name",
        "tensor_parallel_size",
    }
)


def _moved(given: Given, flag: Flag) -> tuple[Edit, ...]:
    """What the spec says in a key of its own, where it does not say it yet."""
    if flag.name in (_TEXT_ONLY, _LIMITS) and given.file.spec.services[given.service].media is None:
        return _moved_media(given, flag)
    return _moved_hosts(given, flag)


_TEXT_ONLY, _LIMITS = "--language-model-only", "--limit-mm-per-prompt"


def _moved_media(given: Given, flag: Flag) -> tuple[Edit, ...]:
    """`media` for what the options say: nothing of any kind, or counts of those that the spec has names for."""
    where = ("services", given.service, "media")
    if flag.name == _TEXT_ONLY:
        return (Edit(given.path, None), Edit(where, "none")) if given.value is True else ()
    limits = _read(given.value)
    if not isinstance(limits, dict) or not limits or not all(_is_limit(*each) for each in limits.items()):
        return ()
    return (Edit(given.path, None), *(Edit((*where, kind), most) for kind, most in limits.items()))


def _read(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _is_limit(kind: object, most: object) -> bool:
    return kind in get_args(Media) and type(most) is int and 0 <= most <= MOST_MEDIA


def _moved_hosts(given: Given, flag: Flag) -> tuple[Edit, ...]:
    service = given.file.spec.services[given.service]
    words = [given.value] if isinstance(given.value, str) else given.value
    if flag.name != MEDIA_DOMAINS or service.allowed_media_domains or not isinstance(words, list) or not words:
        return ()
    hosts = tuple(dict.fromkeys(str(word).lower() for word in words))
    where = ("services", given.service, "allowed_media_domains")
    return (Edit(given.path, None), Edit(where, hosts)) if all(not_a_host(host) is None for host in hosts) else ()


def _utilization_notes(file: SpecFile, key: str) -> Iterator[str]:
    """What the shares that the user wrote would come to on one GPU."""
    *others, node = file.spec.nodes.values()
    gpus = node.gpus if not others else None  # which of several nodes they share is not known yet
    shares = [spec.engine_args.get(key) for spec in file.spec.services.values()]
    given = [share for share in shares if isinstance(share, int | float) and not isinstance(share, bool)]
    if gpus is None or node.gpu_count > 1 or len(given) < 2:  # noqa: PLR2004
        return
    memory = gpus.memory or (GPUS[gpus.model].memory if gpus.model in GPUS else 0)
    if not memory or sum(given) <= 1:
        return
    sizes = [int(memory * share) for share in given]
    asked = " + ".join(f"{share} × {format_gib(memory)}" for share in given)
    yield f"{asked} = {format_gib(sum(sizes))} GiB of one GPU, {format_gib(sum(sizes) - memory)} GiB more than it has"
    yield (
        f"vLLM wants its whole share free when it starts: the second server would find {format_gib(memory - sizes[0])} "
        f"of the {format_gib(sizes[1])} GiB that it asks for"
    )
