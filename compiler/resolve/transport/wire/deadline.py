"""A deadline over all that a request does: resolving a name, connecting, TLS, headers, redirects, the body.

Time limits of the HTTP library start anew with every byte that comes, so that none of them ends an answer that drips.
A request therefore runs in a thread of its own, which is left to itself when its time is over.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from typing import Any, NoReturn, TypeVar

_Answer = TypeVar("_Answer")


class LateError(Exception):
    """The time of a request is over, or the run was interrupted."""


class Attempt:
    """One request that is under way; whoever makes it looks here whether anybody still waits for it.

    Attributes:
        received: bytes of the answer's body so far.
    """

    def __init__(self) -> None:
        self.received = 0
        self._lock = threading.Lock()
        self._is_over = False
        self._streams: list[Any] = []

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            LateError: nobody does.
        """
        if self._is_over:
            raise LateError

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Learn of new connections, as an extension of the HTTP library's requests.

        Only a step that begins is refused: what closes an answer that nobody waits for has to come to its end.
        """
        if event.endswith(".started") and not event.endswith(".response_closed.started"):
            self.check()
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self.uses(info.get("return_value"))

    def uses(self, stream: Any) -> None:
        """This connection is the request's own until `releases`."""
        with self._lock:
            self._streams.append(stream)

    def releases(self) -> None:
        """Its connections may serve others from now on."""
        with self._lock:
            self._streams.clear()

    def give_up(self) -> None:
        """End the request at its next step, and its connection now, so that no thread waits for bytes that drip."""
        with self._lock:
            self._is_over = True
            for stream in self._streams:
                with contextlib.suppress(Exception):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class Watch:
    """Requests that are under way, each in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited_for: set[Future[Any]] = set()
        self._is_stopped = False

    def within(self, seconds: float, request: Callable[[Attempt], _Answer]) -> _Answer:
        """The answer of a request, or what it raises.

        Raises:
            LateError: there is none after so many seconds, or the run was interrupted.
        """
        answer: Future[_Answer] = Future()
        attempt = Attempt()
        with self._lock:
            if self._is_stopped or seconds <= 0:
                raise LateError
            self._waited_for.add(answer)
        # A daemon: the program does not wait for it at its end, as it would for a pool's threads.
        threading.Thread(target=_fulfil, args=(answer, request, attempt), daemon=True).start()
        wait([answer], seconds)
        try:
            return answer.result(0) if answer.done() else _late()
        except LateError:
            attempt.give_up()
            raise
        finally:
            with self._lock:
                self._waited_for.discard(answer)

    def stop(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._is_stopped = True
            for answer in self._waited_for:
                with contextlib.suppress(InvalidStateError):
                    answer.set_exception(LateError())


def _late() -> NoReturn:
    raise LateError


def _fulfil(answer: Future[_Answer], request: Callable[[Attempt], _Answer], attempt: Attempt) -> None:
    try:
        result = request(attempt)
    except BaseException as error:
        # It belongs to whoever waits.
        with contextlib.suppress(InvalidStateError):
            answer.set_exception(error)
    else:
        with contextlib.suppress(InvalidStateError):
            answer.set_result(result)
