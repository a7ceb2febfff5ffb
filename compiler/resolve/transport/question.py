"""One request to the Hub as messages tell it, and the failures that need no request to be known."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.resolve.answers import MalformedError, MissingError, plain


class AbsentError(MissingError):
    """The repository exists, and this file of it does not."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, for the notes of an error.

    Attributes:
        endpoint: of the Hub, without login data.
        name: of the repository.
        path: with the query, below the endpoint.
    """

    endpoint: str
    name: str
    path: str

    @property
    def note(self) -> str:
        """The question as a note."""
        return f"asked {self.endpoint} for {plain(self.path)}"

    def malformed(self, error: Exception) -> MalformedError:
        """An answer that is not what it should be."""
        return MalformedError(
            f"the Hub's answer about `{plain(self.name)}` is malformed",
            (self.note, f"it is not usable: {plain(error)}"),
            ("try again; if it persists, check HF_ENDPOINT and the proxy between",),
        )


def invalid_name(name: str) -> MissingError:
    """No repository can be called so."""
    return MissingError(f"`{plain(name)}` is not a repository's name", ("a name is `publisher/model`",))
