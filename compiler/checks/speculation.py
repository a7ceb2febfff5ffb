"""E0235: `speculate` as it is written, before any model is looked at."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile
from compiler.spec.reading.model_names import is_model, model_advice, model_message
from compiler.spec.services import ServiceSpec
from compiler.spec.speculation import SpeculateSpec


def check_speculation(file: SpecFile) -> Iterator[Diagnostic]:
    """The method has what it needs, and the service is one that tokens can be guessed for."""
    for name, service in file.spec.services.items():
        if service.speculate is not None:
            yield from _check_model(file, name, service.speculate)
            yield from _check_service(file, name, service)
            yield from _check_batch(file, name, service, service.speculate)


def _check_model(file: SpecFile, name: str, asked: SpeculateSpec) -> Iterator[Diagnostic]:
    where = ("services", name, "speculate")
    if asked.method == "ngram":
        if asked.model is not None:
            message = "`ngram` looks tokens up in the text itself, and `model` names a second model for it"
            helps = (
                Help("remove `model`", (Edit((*where, "model"), None),)),
                Help("`method: draft`, if that model is to guess", (Edit((*where, "method"), "draft"),)),
            )
            yield Diagnostic("E0235", message, file.at(*where, "model"), helps=helps)
        return
    if asked.model is None:
        what = "a smaller model" if asked.method == "draft" else "a head"
        message = f"`{asked.method}` has {what} guess tokens, and `model` does not say which"
        edit = Edit((*where, "method"), "ngram")
        helps = (Help("add `model: publisher/name`"), Help("`method: ngram`, which needs none", (edit,)))
        yield Diagnostic("E0235", message, file.at_key(*where), helps=helps)
    elif not is_model(asked.model):
        place = (*where, "model")
        notes, advice = model_advice(asked.model, place)
        yield Diagnostic("E0203", model_message(asked.model), file.at(*place), notes, advice)


def _check_service(file: SpecFile, name: str, service: ServiceSpec) -> Iterator[Diagnostic]:
    where = ("services", name)
    removing = Help("remove `speculate`", (Edit((*where, "speculate"), None),))
    if service.pools:
        message = f"service `{name}` has the task `{service.task}`, and writes no tokens that could be guessed"
        yield Diagnostic("E0235", message, file.at_key(*where, "speculate"), helps=(removing,))
    if service.adapters:
        message = f"service `{name}` has adapters, and drafts beside those are not accounted for"
        alone = Help("remove `adapters`", (Edit((*where, "adapters"), None),))
        yield Diagnostic("E0235", message, file.at_key(*where, "speculate"), helps=(alone, removing))
    if service.machines > 1:
        message = f"service `{name}` spans {service.machines} machines, and drafts beside that are not accounted for"
        one = Help("remove `machines`", (Edit((*where, "machines"), None),))
        yield Diagnostic("E0235", message, file.at_key(*where, "speculate"), helps=(one, removing))
    if service.pipeline_parallel_size is not None and service.pipeline_parallel_size > 1:
        message = f"service `{name}` is divided into pipeline stages, and drafts beside those are not accounted for"
        layers = Help("remove `pipeline_parallel_size`", (Edit((*where, "pipeline_parallel_size"), None),))
        yield Diagnostic("E0235", message, file.at_key(*where, "speculate"), helps=(layers, removing))


def _check_batch(file: SpecFile, name: str, service: ServiceSpec, asked: SpeculateSpec) -> Iterator[Diagnostic]:
    """One step checks the guesses of all sequences; vLLM refuses a batch that holds those of none."""
    where, tokens = ("services", name), service.max_num_batched_tokens
    sequences = max(service.max_num_seqs or 1, service.concurrency.least)
    least = sequences * (1 + asked.tokens)
    if tokens is not None and tokens < least:
        message = f"`max_num_batched_tokens: {tokens}` is less than the guesses of {sequences} requests"
        notes = (f"{sequences} × (1 + {asked.tokens}) = {least} tokens are checked in one step",)
        helps = (
            Help(f"`max_num_batched_tokens: {least}`", (Edit((*where, "max_num_batched_tokens"), least),)),
            Help("remove `max_num_batched_tokens`", (Edit((*where, "max_num_batched_tokens"), None),)),
        )
        yield Diagnostic("E0235", message, file.at(*where, "max_num_batched_tokens"), notes, helps)
