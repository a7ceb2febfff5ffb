"""Which models in GGUF files a service may be given: names decide what is read, and headers what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from compiler.gguf.file_types import UNQUANTIZED, is_file_type, may_be, method_name
from compiler.gguf.sets import FileSet
from compiler.lock.models import MAX_UNREAD, ModelFacts
from compiler.lock.quantization import answers_quantization
from compiler.resolve.answers import ConfigError, SourceError, TooLargeError, plain
from compiler.resolve.limits import GGUF_HEADERS_AT_ONCE, MAX_SETS
from compiler.resolve.parallel import in_parallel
from compiler.resolve.reading.gguf import is_gguf_file
from compiler.resolve.source import Found, Sets, Source


@dataclass(frozen=True, slots=True)
class SetsFound:
    """What one place holds for a service.

    Attributes:
        place: the repository, folder or file, as the lock's keys begin.
        models: those that have a method asked for, by key.
        others: the method of each that was read and has another one, by key.
        unnamed: labels in names that were not read, because they speak of other methods; sorted.
        unreadable: why a model could not be judged, or is not what its name says, by key.
    """

    place: str
    models: dict[str, ModelFacts] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)


def read_sets(source: Source, model: str, asked: tuple[str, ...]) -> SetsFound | SourceError:
    """Models in GGUF files of a repository, a folder or a file that have a quantization asked for.

    One header of each is read, and of those alone whose name could be it. Where none of these is it, those are read
    whose name has a label that is no type of llama.cpp's, such as `Q4_K_L`.

    Args:
        source: who is asked.
        model: as the spec has it.
        asked: methods in any spelling, `auto` for all and `none` for those of 16 or 32 bits.
    """
    return source.guarded(model, lambda: _read_sets(source, model, asked))


def _read_sets(source: Source, model: str, asked: tuple[str, ...]) -> SetsFound:
    with source.sets(model) as sets:
        named = (sets.named(model),) if is_gguf_file(model) else sets.found.sets.sets
        wanted, left_out = _in_bounds(sets, named)
        read: dict[str, Found] = {}
        for group in _rounds(wanted, asked, read, sets):
            source.hub.progress.expect(len(group))
            in_order = in_parallel(lambda each: _read(source, sets, each), group, GGUF_HEADERS_AT_ONCE)
            read |= {sets.key(each): found for each, found in zip(group, in_order, strict=True)}
        return _judged(sets, asked, read, left_out, [each for each in wanted if sets.key(each) not in read])


def _in_bounds(sets: Sets, named: Sequence[FileSet]) -> tuple[Sequence[FileSet], dict[str, str]]:
    """No more than anybody needs, those with a type of llama.cpp's in their name first; what else there is, and why."""
    ordered = sorted(named, key=lambda each: not is_file_type(each.label or ""))
    message = f"{len(ordered)} models are in GGUF files here, and the first {MAX_SETS} were looked at"
    left_out = {sets.key(each): message for each in ordered[MAX_SETS:]}
    if not is_gguf_file(sets.place):  # of a folder, others than the file that is meant do not matter
        left_out |= {f"{sets.place}#{path}": f"it {what}" for path, what in sets.found.sets.incomplete.items()}
    return ordered[:MAX_SETS], left_out


def _rounds(
    wanted: Sequence[FileSet], asked: tuple[str, ...], read: dict[str, Found], sets: Sets
) -> Iterator[list[FileSet]]:
    """What to read at once; the second round depends on what the first one found."""
    if "auto" in asked:
        yield list(wanted)
        return
    methods = _methods(asked)
    yield [each for each in wanted if each.label is None or each.label in methods]
    answered = {method for found in read.values() if not isinstance(found, SourceError) for method in _of(found[1])}
    open_methods = [method for method in methods if method not in answered]
    yield [
        each
        for each in wanted
        if sets.key(each) not in read and any(may_be(each.label, method) for method in open_methods)
    ]


def _methods(asked: Iterable[str]) -> tuple[str, ...]:
    """Methods as llama.cpp spells them."""
    spelled = (sorted(UNQUANTIZED) if method == "none" else [method_name(method)] for method in asked)
    return tuple(dict.fromkeys(method for group in spelled for method in group))


def _of(facts: ModelFacts) -> frozenset[str]:
    return facts.gguf.methods if facts.gguf is not None else frozenset()


def _read(source: Source, sets: Sets, chosen: FileSet) -> Found:
    """One model; a failure that may be gone the next time is raised, or the lock would depend on the weather."""
    found = source.guarded(sets.key(chosen), lambda: sets.read(chosen))
    source.hub.progress.advance()
    if isinstance(found, SourceError) and not isinstance(found, ConfigError | TooLargeError):
        raise found
    return found


def _judged(
    sets: Sets, asked: tuple[str, ...], read: dict[str, Found], left_out: dict[str, str], unread: Iterable[FileSet]
) -> SetsFound:
    models, others, unreadable = {}, {}, {}
    for key, found in read.items():
        if isinstance(found, SourceError):
            unreadable[key] = plain(found.message)
        elif answers_quantization(found[1], asked):
            models[key] = found[1]
        elif (gguf := found[1].gguf) is not None:
            others[key] = gguf.method
            if gguf.is_mislabelled:
                unreadable[key] = f"its name says {gguf.label}, and its header {gguf.file_type}"
    unreadable |= {key: plain(reason) for key, reason in left_out.items()}
    labels = {each.label for each in unread if each.label is not None}
    told = dict(sorted(unreadable.items())[:MAX_UNREAD])
    return SetsFound(sets.place, models, others, tuple(sorted(labels)), told)
