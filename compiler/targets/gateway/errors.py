"""What nginx itself answers with, in the form of OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NginxError:
    """What nginx itself answers with a status: `body` has the form of OpenAI's API."""

    status: int
    body: dict[str, Any]


ERRORS = {
    400: ("the request is not valid HTTP", "bad_request"),
    401: ("no valid key: send `Authorization: Bearer KEY`", "invalid_api_key"),
    403: (
        "no page of this website may ask here: `gateway.cors` of the spec names those that may",
        "origin_not_allowed",
    ),
    404: ("there is no such path here", "path_not_found"),
    405: ("the path does not take this method: the Allow header says which", "method_not_allowed"),
    408: ("the request came too slowly", "request_timeout"),
    411: ("the body has no length: send a Content-Length", "length_required"),
    412: ("the request has a condition that does not hold", "bad_request"),
    413: ("the body is larger than this gateway takes", "body_too_large"),
    414: ("the address is too long", "uri_too_long"),
    415: ("the body must be JSON: send `Content-Type: application/json`", "unsupported_media_type"),
    429: ("too many requests: wait and try again", "rate_limit_exceeded"),
    431: ("the headers are too large", "headers_too_large"),
    500: ("the gateway failed: its log says why", "gateway_error"),
    501: ("the body comes in a way that this gateway does not read", "not_implemented"),
    502: ("the server gave no answer that could be read", "server_error"),
    503: ("the server is not reachable", "server_unavailable"),
    504: ("the server was silent for too long", "server_timeout"),
    505: ("the version of HTTP is not one that this gateway speaks", "http_version_not_supported"),
    507: ("the gateway has no room for the request", "gateway_error"),
}
"""All that nginx itself can answer with; what concerns a server is mostly said in route.js, with the server's name."""


def error_body(status: int, message: str, code: str) -> dict[str, Any]:
    """An error in the form of OpenAI's API."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def nginx_errors() -> tuple[NginxError, ...]:
    """One for each status that nginx may say by itself."""
    return tuple(NginxError(status, error_body(status, *words)) for status, words in ERRORS.items())
