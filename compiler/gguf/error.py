"""The one way in which a GGUF file fails to be read."""

from __future__ import annotations


class GgufError(ValueError):
    """What llama.cpp would refuse, or what no model has.

    Attributes:
        what: is wrong, in words.
        where: a key, a tensor or a byte of the file; free of control characters.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{where}: {what}")
        self.what = what
        self.where = where
