"""Completion in bash, which cuts words at `=` and `:` before it asks, and puts in the answer behind the cut."""

from __future__ import annotations

from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

_CUTS = ("=", ":")


class WholeWords(BashComplete):
    """click's own completion, asked for words as they were typed: `W0201=allow`, `stacks/x.yaml:chat`."""

    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before, and the one that is typed. An option and its value are two words, as click has them."""
        before, last = super().get_completion_args()
        words = [""]
        for word in (*before, last):
            is_value = word == "=" and words[-1].startswith("-")
            is_glued = word in _CUTS or words[-1][-1:] in _CUTS
            words[-1:] = [words[-1], ""] if is_value else [words[-1] + word] if is_glued else [*words[-1:], word]
        whole = words.pop()
        # Bash replaces what stands behind the cut, and nothing of the cut itself.
        self._kept = whole if last in _CUTS else whole.removesuffix(last)
        return [word for word in words if word], whole

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """The part that bash puts in."""
        return f"{item.type},{item.value.removeprefix(self._kept)}"


def register() -> None:
    """Have click ask this class in bash."""
    add_completion_class(WholeWords)
