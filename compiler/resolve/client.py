"""Bounded requests through huggingface_hub's session, tried again where that helps."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from huggingface_hub import get_session, get_token, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented under this name

from compiler.resolve.answers import AccessError, MalformedError, SourceError, UnavailableError, plain
from compiler.resolve.endpoint import shown_endpoint
from compiler.resolve.failures import as_source_error, is_passing, rate_limit_wait
from compiler.resolve.limits import MAX_SMALL_FILE, REQUESTS_AT_ONCE, SLOWEST, TIMEOUT, TRIES
from compiler.resolve.patience import Patience
from compiler.resolve.question import Question

_Answer = TypeVar("_Answer")

_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<last>\d+)/(?:\d+|\*)", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_PARTIAL = 206
_CHUNK = 1 << 16


class Client:
    """Asks one endpoint, with every failure told in our own words."""

    def __init__(self, endpoint: str, token: str | None, pause: float, patience: Patience) -> None:
        """Make a client that has asked nothing yet.

        Args:
            endpoint: without a slash at its end.
            token: None takes that of the environment.
            pause: seconds before a request that failed in passing is made again.
            patience: what may be waited in all.
        """
        self._endpoint = endpoint
        self._token = token
        self._pause = pause
        self._patience = patience
        self._slots = threading.BoundedSemaphore(REQUESTS_AT_ONCE)

    def question(self, name: str, path: str) -> Question:
        """A question about a repository at a path of the Hub."""
        return Question(shown_endpoint(self._endpoint), name, path)

    def read(self, what: Question, span: tuple[int, int] | None = None) -> bytes:
        """The body of an answer, or the part of it from a start up to a stop."""
        return self._ask(what, lambda: self._get(what, span))

    def _ask(self, what: Question, request: Callable[[], _Answer]) -> _Answer:
        """Make a request, again where waiting or trying again may help."""
        failures = 0
        while True:
            if self._patience.is_over:
                raise UnavailableError("the run was interrupted", (what.note,))
            try:
                return request()
            except SourceError:
                raise
            except Exception as error:
                failures += is_passing(error)
                if not self._may_retry(error, failures):
                    raise as_source_error(error, what, has_token=bool(self._token or get_token())) from error

    def _may_retry(self, error: Exception, failures: int) -> bool:
        """Whether to make the request again, after the wait that this takes."""
        asked = rate_limit_wait(error)
        if asked is not None:
            return self._patience.wait(asked)
        if not is_passing(error) or failures >= TRIES or self._patience.is_over:
            return False
        self._patience.clock.sleep(self._pause * failures)
        return not self._patience.is_over

    @cached_property
    def _headers(self) -> dict[str, str]:
        """Those of every request. The token may lie in a file, so that it is looked up once."""
        token = self._token or get_token()
        # The HTTP library would refuse it as well, and quote it in its message.
        if token and _TOKEN.fullmatch(token) is None:
            note = "it has spaces, control characters or letters that no token has"
            raise AccessError("the token cannot be sent", (note,), ("copy HF_TOKEN again, or log in again",))
        return build_hf_headers(token=token or None)

    def _get(self, what: Question, span: tuple[int, int] | None) -> bytes:
        # A range counts bytes as they are stored.
        part = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}", "Accept-Encoding": "identity"}
        headers = {**self._headers, **part}
        url = self._endpoint + what.path
        with self._slots, get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            hf_raise_for_status(response)
            if span is None:
                return self._bounded(response, MAX_SMALL_FILE, what)
            _check_range(response, span[0], what)
            return self._bounded(response, span[1] - span[0], what)

    def _bounded(self, response: Any, limit: int, what: Question) -> bytes:
        """The body. One longer than `limit`, or slower than any Hub should be, is an error."""
        body = bytearray()
        started = self._patience.clock.now()
        for chunk in response.iter_bytes(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise MalformedError("the Hub's answer is too long", (what.note, f"more than {limit} bytes came back"))
            if self._patience.is_over or self._patience.clock.now() - started > SLOWEST:
                note = f"{len(body)} bytes came back in {SLOWEST:.0f} s"
                raise UnavailableError("the Hub answers too slowly", (what.note, note), ("try again later",))
        return bytes(body)


def _check_range(response: Any, start: int, what: Question) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != _PARTIAL or match is None or int(match["start"]) != start:
        answered = plain(response.headers.get("Content-Range", "no Content-Range"))
        note = f"wanted bytes from {start}, and got {response.status_code} with {answered}"
        raise MalformedError("the Hub did not answer with the part of a file that was asked for", (what.note, note))
