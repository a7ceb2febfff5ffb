"""What a registry says of a tag: the digest of its manifest, computed from the manifest itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from compiler import __version__
from compiler.catalog.images import DIGEST
from compiler.resolve.answers import AccessError, MalformedError, MissingError, SourceError, UnavailableError, plain
from compiler.resolve.limits import PAUSE, SLOWEST, TRIES
from compiler.resolve.registry.http import Answer, Deadline, get
from compiler.resolve.registry.reference import Reference
from compiler.resolve.transport.patience import Patience, asked_wait

# An index first: it holds for every kind of machine, where a manifest is of one alone.
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
# Registries refuse larger manifests (distribution specification, "Pushing Manifests").
_MAX_MANIFEST = 4 << 20
_MAX_TOKEN = 1 << 20
_FINE, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 200, 401, 403, 404, 429, 500
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"\\]{0,2000})"', re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_BY_HAND = (
    "read the digest yourself, for instance with `docker buildx imagetools inspect IMAGE`, and write it into the spec",
)


class Registries:
    """All registries that one run asks, anonymously and within one deadline."""

    def __init__(self, report: Callable[[str], None], *, seconds: float = SLOWEST, pause: float = PAUSE) -> None:
        """Nothing is asked yet.

        Args:
            report: told when a registry makes this run wait.
            seconds: for everything together.
            pause: before a request that failed in passing is made again.
        """
        self._deadline = Deadline(seconds)
        self._patience = Patience(report, budget=seconds / 2)
        self._pause = pause

    def digest(self, reference: Reference) -> str:
        """The digest that the tag has now.

        Raises:
            SourceError: the registry did not answer with a manifest whose digest is right.
        """
        url = f"{reference.origin}/v2/{reference.repository}/manifests/{reference.tag}"
        headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS)), "User-Agent": f"stackc/{__version__}"}
        answer = self._asked(url, headers, _MAX_MANIFEST)
        if answer.status == _UNAUTHORISED:
            token = self._token(answer.headers.get("www-authenticate", ""), reference)
            answer = self._asked(url, {**headers, "Authorization": f"Bearer {token}"}, _MAX_MANIFEST)
        if answer.status != _FINE:
            raise _refusal(answer, reference)
        return _digest_of(answer, reference)

    def _asked(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """An answer, asked for again where that may help."""
        for attempt in range(1, TRIES + 1):
            try:
                answer = get(url, headers, self._deadline, limit)
            except UnavailableError:
                if attempt == TRIES or self._deadline.left <= 0:
                    raise
                self._patience.clock.sleep(self._pause * attempt)
                continue
            if attempt == TRIES or not self._may_help(answer, attempt):
                return answer
        raise AssertionError("unreachable")

    def _may_help(self, answer: Answer, attempt: int) -> bool:
        """Whether to ask again, after the wait that this takes."""
        if answer.status == _TOO_MANY:
            headers = {"Retry-After": answer.headers.get("retry-after", ""), "Date": answer.headers.get("date", "")}
            asked = asked_wait(headers)
            return asked is not None and asked < self._deadline.left and self._patience.wait(asked)
        if answer.status < _SERVER_ERROR:
            return False
        self._patience.clock.sleep(min(self._pause * attempt, self._deadline.left))
        return True

    def _token(self, challenge: str, reference: Reference) -> str:
        """A token for whoever asks, from where the registry sends us."""
        scheme, _, rest = challenge.partition(" ")
        stated = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        if scheme.lower() != "bearer" or not stated.get("realm"):
            raise _needs_login(reference, f"it answers 401 with {plain(challenge) or 'no challenge'}")
        asked = {"scope": f"repository:{reference.repository}:pull"}
        asked |= {"service": stated["service"]} if "service" in stated else {}
        joint = "&" if urlsplit(stated["realm"]).query else "?"
        url = f"{stated['realm']}{joint}{urlencode(asked)}"
        answer = self._asked(url, {"User-Agent": f"stackc/{__version__}"}, _MAX_TOKEN)
        if answer.status != _FINE:
            raise _refusal(answer, reference)
        data = _object(answer.body, reference)
        token = data.get("token") or data.get("access_token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise MalformedError("the registry gives no token", (f"asked for {plain(reference.written)}",))
        return token


def _digest_of(answer: Answer, reference: Reference) -> str:
    """SHA-256 of the manifest as it came; what the registry says of itself must agree."""
    digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    stated = answer.headers.get("docker-content-digest", digest)
    if stated != digest:
        notes = (f"it says {plain(stated)}", f"the manifest's is {digest}")
        message = f"the registry's digest of `{reference.written}` is not that of its manifest"
        raise MalformedError(message, notes, ("whoever is between here and the registry changed it; do not use it",))
    data = _object(answer.body, reference)
    kind = str(data.get("mediaType") or answer.headers.get("content-type", "")).partition(";")[0].strip()
    has_parts = isinstance(data.get("manifests"), list) if kind in _INDEXES else isinstance(data.get("layers"), list)
    if kind not in (*_INDEXES, *_MANIFESTS) or not has_parts or not DIGEST.fullmatch(digest):
        note = f"got {plain(kind) or 'no media type'} for {plain(reference.written)}"
        raise MalformedError("the registry's answer is no manifest of an image", (note,))
    return digest


def _object(body: bytes, reference: Reference) -> Mapping[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        note = f"asked {reference.host} for {plain(reference.written)}"
        raise MalformedError("the registry's answer is no JSON", (note,)) from error
    return data if isinstance(data, dict) else {}


def _refusal(answer: Answer, reference: Reference) -> SourceError:
    note = f"asked {reference.host} for {reference.repository}, {reference.tag}: {answer.status}"
    if answer.status == _NOT_FOUND:
        return MissingError(f"the registry has no image `{reference.written}`", (note,), ("correct its name",))
    if answer.status in (_UNAUTHORISED, _FORBIDDEN):
        return _needs_login(reference, note)
    if answer.status == _TOO_MANY:
        return UnavailableError("the registry limits the rate of requests", (note,), ("try again later",))
    return UnavailableError("the registry did not answer as it should", (note,), ("try again later",))


def _needs_login(reference: Reference, note: str) -> AccessError:
    return AccessError(f"the registry wants a login for `{reference.written}`, and none is sent", (note,), _BY_HAND)
