"""The builds of llama.cpp whose memory is known, a module each."""

from __future__ import annotations

from compiler.engines.llama_cpp.releases import b10434, b11434
from compiler.engines.llama_cpp.releases.rules import Release

RELEASES = {release.build: release for release in (b10434.RELEASE, b11434.RELEASE)}
"""By the name of the build, oldest first."""

SERVED = ("b10434",)
"""Those whose options and metrics were read of the program itself; of the others only memory is known."""


class UnknownReleaseError(ValueError):
    """A build that nothing is known of."""


def release_named(build: str) -> Release:
    """The release of a build such as `b10434`.

    Raises:
        UnknownReleaseError: another build: nearby builds differ by megabytes, so none stands in for another.
    """
    if build not in RELEASES:
        raise UnknownReleaseError(f"llama.cpp `{build[:40]}` is not known: {', '.join(RELEASES)} are")
    return RELEASES[build]
