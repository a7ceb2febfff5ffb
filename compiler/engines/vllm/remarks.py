"""What is told of a vLLM server that fits, and of whose model not everything is known."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Help
from compiler.engines.vllm.demand import Demand
from compiler.engines.vllm.judge.remote_code import code_is_unread, code_needed
from compiler.engines.vllm.judge.variant import own_variant
from compiler.engines.vllm.releases.release import Release
from compiler.spec.reading.load import SpecFile


def remarks(file: SpecFile, demand: Demand, release: Release) -> Iterator[Diagnostic]:
    """W0306 and W0302."""
    yield from _unread_code(file, demand, release)
    yield from _assumed(file, demand)


def _unread_code(file: SpecFile, demand: Demand, release: Release) -> Iterator[Diagnostic]:
    """W0306: servers without `--trust-remote-code`, where the lock is too old to say what a tokenizer needs."""
    spec, facts = file.spec.services[demand.service], demand.variant.facts
    if code_is_unread(facts) and code_needed(spec, facts, release) is None:
        message = f"the lock does not say whether the tokenizer of `{demand.variant.name}` needs code"
        notes = ("its configuration and its class need none, so the server runs none; a tokenizer may still ask",)
        help_ = Help(f"`stackc lock --upgrade {file.document.source.name}` looks")
        yield Diagnostic("W0306", message, file.at("services", demand.service, "model"), notes, (help_,))


def _assumed(file: SpecFile, demand: Demand) -> Iterator[Diagnostic]:
    """W0302: a model that is counted by an upper bound, because nobody wrote formulas for it."""
    architecture = own_variant(demand).architecture
    if architecture.assumed:
        message = f"`{demand.variant.name}` is counted as full attention in every layer: {architecture.name}"
        note = "stackc has no formulas for it; weights and KV cache are an upper bound, and the rest an estimate"
        yield Diagnostic("W0302", message, file.at("services", demand.service, "model"), (note,))
