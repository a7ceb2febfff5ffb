"""One request through huggingface_hub's session, and the redirects that it meets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from huggingface_hub import get_session

from compiler.resolve.limits import MAX_REDIRECTS, MAX_WORDS
from compiler.resolve.transport.wire.body import TooLongError, read_body, read_start
from compiler.resolve.transport.wire.deadline import Attempt

_SCHEMES = ("http", "https")
_REDIRECTED, _FAILED = 300, 400
# They tell how a body came, and this one has come.
_OF_THE_WAY = ("content-encoding", "content-length", "transfer-encoding")


class RedirectError(ValueError):
    """An answer leads where no request of ours goes."""


@contextmanager
def opened(url: str, headers: Mapping[str, str], timeout: float, attempt: Attempt) -> Iterator[Any]:
    """The answer to a GET, after all redirects, with its body still to be read.

    The HTTP library sends the token to the endpoint's own scheme, host and port alone.

    Args:
        timeout: seconds without a byte.

    Raises:
        RedirectError: redirects have no end, or lead from https to http.
    """
    session = get_session()
    extensions = {"trace": attempt.trace}
    request: Any = session.build_request("GET", url, headers=headers, timeout=timeout, extensions=extensions)
    for _ in range(MAX_REDIRECTS + 1):
        attempt.check()
        response = session.send(request, stream=True, follow_redirects=False)
        attempt.uses(response.extensions.get("network_stream"))
        try:
            if response.next_request is None:
                _check_final(response)
                yield response
                return
            _check_redirect(request.url, response.next_request.url)
            request = response.next_request
            # Read to its end, or its connection could not be used again.
            with suppress(TooLongError):
                read_body(response, MAX_WORDS, attempt)
        finally:
            attempt.releases()
            response.close()
    raise RedirectError(f"more than {MAX_REDIRECTS} redirects")


def told_failure(response: Any, attempt: Attempt) -> Any:
    """The same answer with what of its body is worth telling, as huggingface_hub wants it for its errors."""
    if response.status_code < _FAILED:
        return response
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_THE_WAY]
    content = read_start(response, MAX_WORDS, attempt)
    return type(response)(response.status_code, headers=headers, content=content, request=response.request)


def _check_final(response: Any) -> None:
    if _REDIRECTED <= response.status_code < _FAILED:
        raise RedirectError(f"a redirect ({response.status_code}) to nowhere")


def _check_redirect(before: Any, after: Any) -> None:
    if after.scheme not in _SCHEMES:
        raise RedirectError(f"a redirect to {after.scheme}:")
    if before.scheme == "https" and after.scheme != "https":
        raise RedirectError(f"a redirect from https to http, to {after.host}")
