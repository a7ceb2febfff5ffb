"""What a lock says of a repository that its reader may not expect: another name, pickles, or wrong labels. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from compiler.diagnostics import Diagnostic, Edit, Help, Label, Span
from compiler.lock.models import Lock, ModelFacts, repository_of
from compiler.lock.names import publisher_of
from compiler.spec.models import Spec

SpecPath = tuple[str | int, ...]
Locate = Callable[[SpecPath], Span | None]

_PICKLES = (".bin", ".pt")


def new_name(asked: str, key: str) -> str | None:
    """The name that a Hub answers by, where it is not the one that was asked for. The Hub ignores case."""
    name = repository_of(key)
    return None if asked.startswith("/") or name.lower() == asked.lower() else name


def rename_problems(spec: Spec, lock: Lock, locate: Locate) -> Iterator[Diagnostic]:
    """Services whose model has another name now: W0303, and E0305 where nobody trusts who has it."""
    trusted = {publisher.lower() for publisher in spec.policy.publishers}
    for service, locked in lock.services.items():
        if locked.renamed is None or service not in spec.services:
            continue
        path: SpecPath = ("services", service, "model")
        asked, now = locked.model, locked.renamed
        owner, publisher = publisher_of(asked), publisher_of(now)
        naming = Help(f"name `{now}`", (Edit(path, now),))
        # Names without a publisher are the Hub's own, and it alone gave them to publishers.
        if owner in ("", publisher) or publisher in trusted:
            note = f"the Hub answers for `{asked}` with it, and it was held against the policy under its new name"
            yield Diagnostic("W0303", f"`{asked}` is `{now}` now", _label(locate, path), (note,), (naming,))
            continue
        notes = (
            f"the Hub answers for `{asked}` with it",
            f"`{now.rpartition('/')[0]}` is neither the publisher that the spec names nor in `policy.publishers`",
        )
        helps = (Help(f"after looking at who that is: name `{now}`", naming.edits),)
        message = f"the policy does not allow `{asked}`: it is `{now}` now, by another publisher"
        yield Diagnostic("E0305", message, _label(locate, path), notes, helps)


def pickle_warnings(models: Iterable[tuple[str, str, ModelFacts]], locate: Locate) -> Iterator[Diagnostic]:
    """Of a service, the name of a model and its facts: W0303 where its weights are pickles."""
    for service, name, facts in models:
        pickles = [file.path for file in facts.weights if file.path.endswith(_PICKLES)]
        if pickles:
            message = f"the weights of `{name}` are pickles: {pickles[0]}{', …' if len(pickles) > 1 else ''}"
            notes = (
                "a pickle can name code to run; vLLM 0.33.0 reads it with `weights_only`, which refuses that",
                "without headers the ledger derives the sizes of its tensors from config.json",
            )
            helps = (Help("name a repository whose weights are safetensors"),)
            yield Diagnostic("W0303", message, _label(locate, ("services", service, "model")), notes, helps)


def label_warnings(models: Iterable[tuple[str, str, ModelFacts]], locate: Locate) -> Iterator[Diagnostic]:
    """Of a service, the name of a model and its facts: W0303 where a GGUF file's name and header disagree."""
    for service, name, facts in models:
        if facts.gguf is not None and facts.gguf.is_mislabelled:
            said, found = facts.gguf.label, facts.gguf.file_type
            message = f"`{name}` is called {said}, and its header says {found}"
            notes = (
                "what its header says counts: services that ask for that are given it",
                f"8 × {facts.gguf.tensor_bytes} bytes / {facts.gguf.elements} weights = "
                f"{facts.gguf.bits_per_weight:.2f} bits",
            )
            helps = (Help(f"ask for `{found}`, or name another repository"),)
            yield Diagnostic("W0303", message, _label(locate, ("services", service, "model")), notes, helps)


def surprises(models: Iterable[tuple[str, str, ModelFacts]], locate: Locate) -> Iterator[Diagnostic]:
    """W0303 for what a model's files are, where its reader may not expect it."""
    for each in models:
        yield from pickle_warnings((each,), locate)
        yield from label_warnings((each,), locate)


def _label(locate: Locate, path: SpecPath) -> Label | None:
    span = locate(path)
    return Label(span) if span is not None else None
