"""Objectives must be ones that the service can have, for requests that it takes."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.objectives import ObjectivesSpec
from compiler.spec.reading.load import SpecFile


def check_objectives(file: SpecFile) -> Iterator[Diagnostic]:
    """Of services that write text token by token, and for requests within the context."""
    for name, service in file.spec.services.items():
        if service.objectives is None:
            continue
        where = ("services", name, "objectives")
        if service.pools:
            message = f"service `{name}` has the task `{service.task}`, which has no tokens to wait for"
            help_ = Help("remove `objectives`", (Edit(where, None),))
            yield Diagnostic("E0219", message, file.at_key(*where), helps=(help_,))
        elif (most := service.context.max) is not None and service.objectives.tokens > most:
            yield _too_long(file, name, service.objectives, most)


def _too_long(file: SpecFile, name: str, asked: ObjectivesSpec, most: int) -> Diagnostic:
    message = f"the objectives of service `{name}` are for requests that it does not take"
    sum_ = f"{asked.prompt_tokens} + {asked.answer_tokens} = {asked.tokens} tokens"
    answer = min(asked.answer_tokens, most // 2)
    where = ("services", name, "objectives")
    edits = (Edit((*where, "prompt_tokens"), most - answer), Edit((*where, "answer_tokens"), answer))
    help_ = Help(f"`prompt_tokens: {most - answer}` and `answer_tokens: {answer}`, which fill its context", edits)
    return Diagnostic("E0405", message, file.at_key(*where), (f"{sum_}, its context {most}",), (help_,))
