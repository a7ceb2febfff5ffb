"""Bounded requests through huggingface_hub's session, tried again where that helps."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

# A compiler has nothing to report about its user; the client reads this when it is imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import get_session, get_token, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented under this name

from compiler.resolve.answers import MalformedError, SourceError, UnavailableError, plain
from compiler.resolve.failures import Question, as_source_error, is_passing, rate_limit_wait
from compiler.resolve.limits import MAX_SMALL_FILE, SLOWEST, TIMEOUT, TRIES
from compiler.resolve.patience import Patience

_Answer = TypeVar("_Answer")

_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<last>\d+)/(?:\d+|\*)", re.ASCII)
_PARTIAL = 206
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one endpoint, with every failure told in our own words.

    Attributes:
        token: None takes that of the environment.
        pause: seconds before a request that failed in passing is made again.
    """

    endpoint: str
    token: str | None
    pause: float
    patience: Patience

    def question(self, name: str, path: str) -> Question:
        """A question about a repository at a path of the Hub."""
        return Question(shown_endpoint(self.endpoint), name, path)

    def read(self, what: Question, span: tuple[int, int] | None = None) -> bytes:
        """The body of an answer, or the part of it from a start up to a stop."""
        return self._ask(what, lambda: self._get(what, span))

    def _ask(self, what: Question, request: Callable[[], _Answer]) -> _Answer:
        """Make a request, again where waiting or trying again may help."""
        failures = 0
        while True:
            try:
                return request()
            except SourceError:
                raise
            except Exception as error:
                failures += is_passing(error)
                if not self._may_retry(error, failures):
                    raise as_source_error(error, what, has_token=bool(self.token or get_token())) from error

    def _may_retry(self, error: Exception, failures: int) -> bool:
        """Whether to make the request again, after the wait that this takes."""
        asked = rate_limit_wait(error)
        if asked is not None:
            return self.patience.wait(asked)
        if not is_passing(error) or failures >= TRIES or self.patience.is_over:
            return False
        self.patience.clock.sleep(self.pause * failures)
        return not self.patience.is_over

    def _get(self, what: Question, span: tuple[int, int] | None) -> bytes:
        headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        with get_session().stream(
            "GET",
            self.endpoint + what.path,
            headers={**build_hf_headers(token=self.token), **headers},
            timeout=TIMEOUT,
        ) as response:
            hf_raise_for_status(response)
            if span is None:
                return self._bounded(response, MAX_SMALL_FILE, what)
            _check_range(response, span[0], what)
            return self._bounded(response, span[1] - span[0], what)

    def _bounded(self, response: Any, limit: int, what: Question) -> bytes:
        """The body. One longer than `limit`, or slower than any Hub should be, is an error."""
        body = bytearray()
        started = self.patience.clock.now()
        for chunk in response.iter_bytes(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise MalformedError("the Hub's answer is too long", (what.note, f"more than {limit} bytes came back"))
            if self.patience.clock.now() - started > SLOWEST:
                note = f"{len(body)} bytes came back in {SLOWEST:.0f} s"
                raise UnavailableError("the Hub answers too slowly", (what.note, note), ("try again later",))
        return bytes(body)


def shown_endpoint(endpoint: str) -> str:
    """An endpoint without the login data that it may hold."""
    parts = url_parts(endpoint)
    return plain(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"))


def url_parts(endpoint: str) -> SplitResult:
    """Parts of an endpoint; empty ones where it is no URL, which the first request tells in full."""
    try:
        return urlsplit(endpoint)
    except ValueError:
        return urlsplit("")


def _check_range(response: Any, start: int, what: Question) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != _PARTIAL or match is None or int(match["start"]) != start:
        answered = plain(response.headers.get("Content-Range", "no Content-Range"))
        note = f"wanted bytes from {start}, and got {response.status_code} with {answered}"
        raise MalformedError("the Hub did not answer with the part of a file that was asked for", (what.note, note))
