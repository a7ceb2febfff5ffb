"""The name of an image, and where it is asked for."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HUB, _HUB_REGISTRY = "docker.io", "registry-1.docker.io"
# Of the distribution specification.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})(?::\d{1,5})?", re.ASCII)


class InvalidReferenceError(ValueError):
    """No registry could be asked for it; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image by tag.

    Attributes:
        written: as spec and plan have it.
        host: the registry that answers, with a port if it is not the usual one.
        repository: as that registry knows it.
    """

    written: str
    host: str
    repository: str
    tag: str

    @property
    def origin(self) -> str:
        """Where requests go. Only a registry of this machine is asked without TLS."""
        return f"{'http' if is_loopback(self.host) else 'https'}://{self.host}"


def parse_reference(written: str) -> Reference:
    """Read `[host/]repository:tag` as container engines do.

    Raises:
        InvalidReferenceError: it is no such name, or has no tag.
    """
    first, slash, rest = written.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if has_host else (_HUB, written)
    repository, _, tag = path.partition(":")
    if host in (_HUB, f"index.{_HUB}"):
        host = _HUB_REGISTRY
        repository = repository if "/" in repository else f"library/{repository}"
    if not tag:
        raise InvalidReferenceError(f"`{written}` has no tag: name the release that you mean")
    if not (_HOST.fullmatch(host) and _REPOSITORY.fullmatch(repository) and _TAG.fullmatch(tag)):
        raise InvalidReferenceError(f"`{written}` is no name of an image")
    return Reference(written, host, repository, tag)


def is_loopback(host: str) -> bool:
    """Whether a host, which may have a port, is this machine."""
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"
