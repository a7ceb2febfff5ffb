"""Bounded requests through huggingface_hub's session, tried again where that helps."""

from __future__ import annotations

import re
import threading
import time
from functools import cached_property
from typing import Any

from huggingface_hub import constants, get_token, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented under this name

from compiler.resolve.answers import (
    AccessError,
    ClearTextError,
    MalformedError,
    SourceError,
    TooLargeError,
    UnavailableError,
    plain,
)
from compiler.resolve.limits import REQUESTS_AT_ONCE, SLOWEST, TIMEOUT, TRIES
from compiler.resolve.transport.endpoint import is_private, shown_endpoint
from compiler.resolve.transport.failures import as_source_error, is_passing, rate_limit_wait
from compiler.resolve.transport.patience import Patience
from compiler.resolve.transport.question import Question
from compiler.resolve.transport.wire.body import ENCODING, TooLongError, read_body
from compiler.resolve.transport.wire.deadline import Attempt, LateError
from compiler.resolve.transport.wire.request import opened, told_failure

_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d{1,18})-(?P<last>\d{1,18})/(?:\d{1,18}|\*)", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_PARTIAL = 206


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
        self._given_token = token
        self._pause = pause
        self._patience = patience
        self._slots = threading.BoundedSemaphore(REQUESTS_AT_ONCE)

    def question(self, name: str, path: str) -> Question:
        """A question about a repository at a path of the Hub."""
        return Question(shown_endpoint(self._endpoint), name, path)

    def read(self, what: Question, limit: int) -> bytes:
        """The body of an answer, which is no longer than `limit`."""
        try:
            return self._ask(what, None, limit)
        except TooLongError as error:
            raise TooLargeError(
                f"the Hub's answer about `{plain(what.name)}` is too long", _beyond(what, limit)
            ) from error

    def read_range(self, what: Question, start: int, stop: int) -> bytes:
        """The part of a file from a start up to a stop, or to its end."""
        try:
            return self._ask(what, (start, stop), stop - start)
        except TooLongError as error:
            raise MalformedError("the Hub's answer is too long", _beyond(what, stop - start)) from error

    def _ask(self, what: Question, span: tuple[int, int] | None, limit: int) -> bytes:
        """Make a request, again where waiting or trying again may help. All tries have one deadline."""
        failures, left = 0, SLOWEST
        with self._slots:
            while True:
                started = time.monotonic()
                try:
                    seconds = min(left, self._patience.rest)
                    return self._patience.watch.within(seconds, lambda attempt: self._get(what, span, limit, attempt))
                except LateError as error:
                    raise self._late(what) from error
                except (SourceError, TooLongError):
                    raise
                except Exception as error:
                    left -= time.monotonic() - started
                    failures += is_passing(error)
                    if not self._may_retry(error, failures):
                        raise as_source_error(error, what, has_token=self._token is not None) from error

    def _late(self, what: Question) -> UnavailableError:
        if self._patience.is_over:
            return UnavailableError("the run was interrupted", (what.note,))
        if self._patience.rest <= 0:
            note = f"this run has asked for {self._patience.longest:.0f} s in all, and no run takes longer"
        else:
            note = f"{SLOWEST:.0f} s brought no whole answer; connecting, redirects and tries again count"
        return UnavailableError("the Hub answers too slowly", (what.note, note), ("try again later",))

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
    def _token(self) -> str | None:
        """The token may lie in a file, so that it is looked up once."""
        saved = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        return self._given_token or saved or None

    @cached_property
    def _headers(self) -> dict[str, str]:
        """Those of every request."""
        token = self._token
        # The HTTP library would refuse it as well, and quote it in its message.
        if token is not None and _TOKEN.fullmatch(token) is None:
            note = "it has spaces, control characters or letters that no token has"
            raise AccessError("the token cannot be sent", (note,), ("copy HF_TOKEN again, or log in again",))
        if token is not None and not is_private(self._endpoint):
            raise _in_the_clear(self._endpoint)
        return build_hf_headers(token=token if token is not None else False)

    def _get(self, what: Question, span: tuple[int, int] | None, limit: int, attempt: Attempt) -> bytes:
        # A range counts bytes as they are stored.
        part = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        headers = {**self._headers, "Accept-Encoding": ENCODING if span is None else "identity", **part}
        with opened(self._endpoint + what.path, headers, TIMEOUT, attempt) as response:
            hf_raise_for_status(told_failure(response, attempt))
            if span is not None:
                _check_range(response, span[0], what)
            return read_body(response, limit, attempt)


def _in_the_clear(endpoint: str) -> ClearTextError:
    return ClearTextError(
        "the token is not sent over plain http",
        (f"HF_ENDPOINT is {shown_endpoint(endpoint)}, and everybody on the way could read the token",),
        (
            "set HF_ENDPOINT to an https:// address",
            "or ask without a token: unset HF_TOKEN, and set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 where you have logged in",
        ),
    )


def _beyond(what: Question, limit: int) -> tuple[str, str]:
    return what.note, f"more than {limit} bytes came back, and no more are read"


def _check_range(response: Any, start: int, what: Question) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != _PARTIAL or match is None or int(match["start"]) != start:
        answered = plain(response.headers.get("Content-Range", "no Content-Range"))
        note = f"wanted bytes from {start}, and got {response.status_code} with {answered}"
        raise MalformedError("the Hub did not answer with the part of a file that was asked for", (what.note, note))
