"""How long a run waits for a Hub that asks it to: bounded in all, and cut short when the user interrupts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Protocol

from compiler.resolve.limits import LONGEST_RUN, LONGEST_WAIT
from compiler.resolve.transport.wire.deadline import Watch

_RESET = re.compile(r";\s*t=(\d{1,6})\b", re.ASCII)
_SECONDS = re.compile(r"\d{1,6}", re.ASCII)


class Clock(Protocol):
    """Time that passes; tests make it pass at once."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    def sleep(self, seconds: float) -> None:
        """Return after some seconds, or as soon as `wake` is called."""

    def wake(self) -> None:
        """End every sleep, now and from now on."""


class RealClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def now(self) -> float:
        """Seconds of a clock that nobody sets."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after some seconds, or as soon as `wake` is called."""
        self._woken.wait(seconds)

    def wake(self) -> None:
        """End every sleep, now and from now on."""
        self._woken.set()


class Patience:
    """What may still be waited in this run. Waits of several threads at the same time count once.

    Attributes:
        clock: measures and passes the time.
        watch: ends requests whose time is over.
        longest: seconds of a run, waits included.
        is_over: the user interrupted the run; nothing is tried again.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        clock: Clock | None = None,
        budget: float = LONGEST_WAIT,
        longest: float = LONGEST_RUN,
    ) -> None:
        self.clock = clock or RealClock()
        self.watch = Watch()
        self.longest = longest
        self.is_over = False
        self._started = self.clock.now()
        self._report = report
        self._left = budget
        self._until = float("-inf")
        self._lock = threading.Lock()

    @property
    def rest(self) -> float:
        """Seconds after which this run asks nothing more."""
        return self._started + self.longest - self.clock.now()

    def wait(self, seconds: float) -> bool:
        """Wait as the Hub asks, or say that it is longer than this run waits."""
        now = self.clock.now()
        with self._lock:
            until = now + seconds
            more = max(0.0, until - max(now, self._until))
            if self.is_over or more > self._left:
                return False
            self._left -= more
            self._until = max(self._until, until)
        if more:
            self._report(f"the Hub limits the rate of requests; waiting {seconds:.0f} s, as it asks")
        self.clock.sleep(seconds)
        return not self.is_over

    def stop(self) -> None:
        """The user interrupted: end every wait."""
        self.is_over = True
        self.clock.wake()
        self.watch.stop()


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds after which a Hub that limits the rate wants to be asked again; None where it does not say."""
    stated = [float(match[1]) for match in _RESET.finditer(headers.get("RateLimit", ""))]
    after = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(after):
        stated.append(float(after))
    elif after and (seconds := _until_date(after, headers.get("Date", ""))) is not None:
        stated.append(seconds)
    # At the very second it says, the window may not be over; huggingface_hub adds one as well.
    return max(stated) + 1 if stated else None


def _until_date(after: str, date: str) -> float | None:
    """Seconds between two dates of the same server: the clock of this machine may be wrong."""
    try:
        return max(0.0, (parsedate_to_datetime(after) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
