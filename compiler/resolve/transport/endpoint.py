"""What an endpoint is called: in messages without its login data, in the lock by a name that outlives its port."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from compiler.resolve.answers import plain

# Facts of a Hub of this machine, which replays recordings.
LOOPBACK = "loopback"


def shown_endpoint(endpoint: str) -> str:
    """An endpoint without the login data that it may hold."""
    parts = _parts(endpoint)
    return plain(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"))


def source_name(endpoint: str) -> str:
    """An endpoint as the lock records it: any Hub of this machine is `loopback`, whatever its port."""
    host = _parts(endpoint).hostname or ""
    return LOOPBACK if host == "localhost" or _is_loopback(host) else shown_endpoint(endpoint)


def is_private(endpoint: str) -> bool:
    """Whether nobody on the way reads what is sent there: it is encrypted, or never leaves this machine."""
    parts = _parts(endpoint)
    return parts.scheme.lower() == "https" or source_name(endpoint) == LOOPBACK


def _parts(endpoint: str) -> SplitResult:
    """Parts of an endpoint; empty ones where it is no URL, which the first request tells in full."""
    try:
        return urlsplit(endpoint)
    except ValueError:
        return urlsplit("")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
