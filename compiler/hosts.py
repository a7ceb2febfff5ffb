"""What a host of a spec or a URL stands for: this machine, every interface of it, or another place."""

from __future__ import annotations

import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(\[[0-9a-f:.]*\]|[^/?#:@\[\]]+)(?::\d+)?(?:[/?#].*)?", re.I)


def address_of(host: str) -> Address | None:
    """A host as an address; None if it is a name. An IPv4 address in IPv6's clothes is the IPv4 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host. A name other than `localhost` may be any address."""
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_wildcard(host: str) -> bool:
    """Whether the host means every interface."""
    address = address_of(host)
    return address is not None and address.is_unspecified


def host_of(endpoint: str) -> str | None:
    """The host of a URL, or of `host:port`; None where there is none."""
    found = _HOST.fullmatch(endpoint)
    return found[1].strip("[]") if found is not None else None
