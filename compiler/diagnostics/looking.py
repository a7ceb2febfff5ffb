"""How long changes that would help are looked for, and who is told of that and of other long work meanwhile."""

from __future__ import annotations

# Time is bounded by a number of trials and not by the clock, so that the same inputs have the same helps on every
# machine; a stack of a dozen services takes about two seconds for these.
MAX_TRIALS = 40


class Looking:
    """Tells nobody. Who waits for an answer overrides the methods."""

    def __init__(self, trials: int = MAX_TRIALS) -> None:
        """Look for changes.

        Args:
            trials: how often a stack is solved, at most, for the changes that one problem is answered with; 0 for the
                reasons alone, which are there at once. A kind of change that was begun is ended.
        """
        self.trials = trials

    def tried(self) -> None:
        """One more was."""

    def worked(self, what: str, done: int, count: int) -> None:
        """One more of many things is done.

        Args:
            what: is done with them, as `rendering`.
        """

    def done(self) -> None:
        """No more are."""


LOOKING = Looking()
"""As commands do that nobody tells otherwise."""
