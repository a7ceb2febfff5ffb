"""Names of hosts from which a server may fetch media: public ones, as vLLM compares them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.hosts import address_of

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Names that are no public host: RFC 6761, 6762, 7686, 8375 and 9476, ICANN's .internal, and what networks call
# themselves (RFC 6762, appendix G).
_PRIVATE_ENDINGS = (
    "alt", "corp", "example", "home", "home.arpa", "internal", "intranet", "invalid", "lan", "local", "localdomain",
    "localhost", "onion", "private", "svc", "test",
)  # fmt: skip
# Public names that resolve to whatever address stands in them, or to 127.0.0.1.
_ANY_ADDRESS = ("localtest.me", "lvh.me", "nip.io", "sslip.io", "vcap.me", "xip.io")


def not_a_host(domain: str) -> str | None:
    """Why no URL of a public host has this name, as a half-sentence."""
    if (reason := _not_a_name(domain)) is not None:
        return reason
    labels = domain.split(".")
    if len(labels) == 1:
        return "a name without a dot is a machine of a private network"
    ending = _ending(domain, _PRIVATE_ENDINGS)
    if ending is not None:
        return f"names that end in `.{ending}` are of this machine or of a private network"
    ending = _ending(domain, _ANY_ADDRESS)
    return f"names below `{ending}` resolve to the address that stands in them, or to this machine" if ending else None


def _not_a_name(domain: str) -> str | None:
    if "://" in domain or "/" in domain or "@" in domain:
        return "it is a host name alone, without scheme, login or path"
    if "*" in domain:
        return "vLLM knows no wildcards: name each host"
    if _is_address(domain):
        return "it is an address: a host has a name, which its certificate is for"
    if ":" in domain:
        return "it is a host name alone, without a port"
    if domain != domain.lower():
        return "vLLM compares in lower case, so it would never match"
    if domain.endswith(".") or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        return "it is no host name: letters, digits and hyphens between dots, other alphabets as `xn--…`"
    return None


def _is_address(text: str) -> bool:
    """Whether it is an IP address, also as old resolvers read one: 127.1, 2130706433, 0x7f.1."""
    bare = text.lower().strip("[]")
    return address_of(bare) is not None or re.fullmatch(r"\d+|0x[0-9a-f]*", bare.rpartition(".")[2]) is not None


def _ending(domain: str, endings: Iterable[str]) -> str | None:
    return next((ending for ending in endings if domain == ending or domain.endswith(f".{ending}")), None)
