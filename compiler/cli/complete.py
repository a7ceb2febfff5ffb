"""What a shell may offer for the words of the command line. Whatever cannot be read offers nothing.

Each function has click's form: context, parameter and the word so far, to the words that begin so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Items = list[CompletionItem]

_LARGEST = 1 << 20


def gpus(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Names of the catalogue, with the cards' own."""
    from compiler.catalog.hardware.gpus import GPUS

    return [CompletionItem(gpu.name, help=gpu.title) for gpu in GPUS.values() if gpu.name.startswith(incomplete)]


def profiles(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """MIG profiles of the card that is named already, else of any."""
    from compiler.catalog.hardware.gpus import GPUS

    named = GPUS.get(str(context.params.get("gpu")))
    cards = GPUS.values() if named is None else (named,)
    return _beginning(incomplete, (profile.name for gpu in cards for profile in gpu.mig))


def warnings(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Codes of warnings."""
    from compiler.diagnostics.catalogue import CODES, Severity

    found = (code for code in CODES.values() if code.severity is Severity.WARNING)
    return [CompletionItem(code.code, help=code.title) for code in found if code.code.startswith(incomplete.upper())]


def levels(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """`CODE=LEVEL` of a warning: codes while several begin so, then that one with each level."""
    from compiler.diagnostics.levels import Level

    code, _, begun = incomplete.partition("=")
    found = warnings(context, parameter, code)
    if len(found) > 1:
        return [] if "=" in incomplete else found
    named = (each for each in Level if each.startswith(begun))
    return [CompletionItem(f"{item.value}={each}", help=item.help) for each in named for item in found]


def specs(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Specs in stacks/; files where none begins so."""
    return _beginning(incomplete, map(str, _specs())) or [CompletionItem(incomplete, type="file")]


def codes_and_specs(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """What can be explained: codes, specs, and the services of the spec that is named already."""
    from compiler.diagnostics.catalogue import CODES

    path, _, _ = incomplete.partition(":")
    services = [f"{path}:{name}" for name in _services([Path(path)])] if path else []
    found = [
        CompletionItem(code.code, help=code.title)
        for code in CODES.values()
        if code.code.startswith(incomplete.upper())
    ]
    items = found + _beginning(incomplete, (*map(str, _specs()), *services))
    return items or specs(context, parameter, incomplete)


def services(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """Services of the specs that are named already, else of all in stacks/."""
    # click takes no arguments in before an option has its value.
    given = context.params.get("specs") or [word for word in context.args if not word.startswith("-")] or _specs()
    return _beginning(incomplete, _services(map(Path, given)))


def examples(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Stacks that ship with stackc."""
    from compiler.cli.run.examples import examples as shipped

    return _beginning(incomplete, shipped())


def models(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Models of which a lock in stacks/ has the facts; folders where none begins so."""
    return _beginning(incomplete, locked_models(Path("stacks"))) or [CompletionItem(incomplete, type="dir")]


def known_models(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Models of the registry, in any case, by their whole names or by what stands after the slash."""
    from compiler.cli.run.models.known import known_models as read

    wanted = incomplete.lower()
    entries = list(read().models.values())
    by_id = [entry for entry in entries if entry.id.lower().startswith(wanted)]
    found = by_id or [entry for entry in entries if entry.short_name.lower().startswith(wanted)]
    return [CompletionItem(entry.id, help=entry.kind) for entry in found]


def locked_models(folder: Path) -> list[str]:
    """Models of which a lock in a folder has the facts, sorted."""
    from compiler.lock.file import read_lock

    locks = (read_lock(path, str(path))[0] for path in sorted(folder.glob("*.lock.yaml")))
    return sorted(set(chain.from_iterable(lock.models for lock in locks if lock is not None)))


def _beginning(incomplete: str, words: Iterable[str]) -> Items:
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]


def _specs() -> list[Path]:
    from compiler.cli.run.specs import spec_paths

    try:
        return list(spec_paths(()))
    except click.UsageError:
        return []


def _services(paths: Iterable[Path]) -> Iterator[str]:
    """Names of services, also of specs that have an error elsewhere."""
    from compiler.source.document import load_document
    from compiler.source.files import TooLargeError
    from compiler.source.text import read_source

    for path in paths:
        try:
            source, _ = read_source(path, str(path), _LARGEST)
        except (OSError, ValueError, TooLargeError):
            continue
        document, _ = load_document(source)
        data = document.data if document is not None else None
        named = data.get("services") if isinstance(data, dict) else None
        yield from named if isinstance(named, dict) else ()
