"""Findings about a question of the command line: they point at its words, for there is no file to point at."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.diagnostics import Diagnostic, Label, Position, SourceText, Span

NAME = "command line"
_KEY = re.compile(r'\s*"(\w+)": ')


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command as it could be typed in full.

    Attributes:
        source: its one line.
        words: for each key of the question the columns of the word that says it, from 0, the end exclusive.
    """

    source: SourceText
    words: Mapping[str, tuple[int, int]]

    def quoting(self, diagnostic: Diagnostic) -> Diagnostic:
        """The finding, on the word that its place in the question comes from."""
        if diagnostic.label is None:
            return diagnostic
        start, end = self.words[self._key(diagnostic.label.span)]
        span = Span(self.source, Position(1, start + 1), Position(1, end + 1))
        return replace(diagnostic, label=Label(span, diagnostic.label.text))

    def _key(self, span: Span) -> str:
        """Which of the words: the key on the line of the question, else what was asked about."""
        line = span.source.line(span.start.line)
        key = found[1] if (found := _KEY.match(line)) else ""
        if key in ("node", "nodes", "gpus"):
            return "gpu"
        before = span.source.text.splitlines()[: span.start.line]
        is_card = key == "model" and not any('"services"' in each for each in before)
        return "gpu" if is_card else key if key in self.words else "model"


def command_line(model: str, options: Mapping[str, tuple[str, object]]) -> CommandLine:
    """`stackc fit MODEL` with options.

    Args:
        model: as it was typed.
        options: the option and its value, by the key of the question.
    """
    text, words = "stackc fit ", {}
    for key, (option, value) in {"model": ("", model), **options}.items():
        text += f"{option} " if option else ""
        word = shlex.quote(str(value))
        words[key] = (len(text), len(text) + len(word))
        text += f"{word} "
    return CommandLine(SourceText(NAME, text.rstrip()), words)
