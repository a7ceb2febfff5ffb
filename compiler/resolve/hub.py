"""The only door to the Hugging Face Hub. It asks for metadata, small files and headers, and never for weights."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

# A compiler has nothing to report about its user; the client reads this when it is imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import HfApi, constants, get_session, get_token, hf_raise_for_status
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented under this name

from compiler.lock.models import FULL_COMMIT, HUB
from compiler.resolve.answers import (
    AccessError,
    ListedFile,
    MalformedError,
    MissingError,
    Repository,
    SourceError,
    UnavailableError,
    UnknownNameError,
    plain,
)
from compiler.resolve.facts import LOOPBACK
from compiler.resolve.limits import LISTING, MAX_SMALL_FILE, PAUSE, TIMEOUT, TRIES

_Answer = TypeVar("_Answer")

# The client's own HTTP library, under whichever name this version of the client has it.
_TransportError: type[Exception] = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")

_REPOSITORY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_FILE_PATH = re.compile(r"[^\x00-\x1f\x7f-\x9f\\]+")
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<last>\d+)/(?:\d+|\*)", re.ASCII)
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 401, 403, 404, 429
_PARTIAL, _SERVER_ERROR = 206, 500
_CHUNK = 1 << 16


class Hub:
    """A Hub: Hugging Face's, a mirror, or a recording on this machine.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the saved login count as they do for huggingface_hub.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None, *, pause: float = PAUSE) -> None:
        chosen = endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        self._api = HfApi(endpoint=chosen.rstrip("/"), token=token)
        self.source = source_name(self._api.endpoint)
        self._client = _Client(self._api.endpoint, token, pause)

    def repository(self, name: str, revision: str | None = None) -> Repository:
        """All that the Hub lists about a repository, by one request.

        Raises:
            SourceError: it does not exist, is not readable, or the Hub did not answer.
        """
        path = f"/api/models/{name}" + (f"/revision/{revision}" if revision else "")
        what = self._client.question(name, path)
        info = self._client.ask(
            what, lambda: self._api.model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
        )
        try:
            return _repository(info, self.source)
        except (ValueError, TypeError, AttributeError) as error:
            raise what.malformed(error) from error

    def reader(self, repository: Repository) -> HubReader:
        """Reads a repository's files at the commit that it was listed at."""
        # The Hub resolves full hashes only.
        is_full = repository.commit is not None and FULL_COMMIT.fullmatch(repository.commit) is not None
        return HubReader(
            self._client, repository.name, str(repository.commit) if is_full else constants.DEFAULT_REVISION
        )

    def quantized_variants(self, name: str) -> tuple[str, ...]:
        """Repositories whose card says that they are quantized from this one, sorted."""
        return self._listing({"filter": f"base_model:quantized:{name}"}, name)

    def similar_names(self, name: str) -> tuple[str, ...]:
        """Names that the user may have meant: the publisher's repositories, then repositories of that name."""
        publisher, _, short = name.rpartition("/")
        found: list[str] = []
        for query in ({"author": publisher}, {"search": short}) if publisher else ({"search": short},):
            # A failure here would only hide the error that asked for help.
            with suppress(SourceError):
                found += self._listing(query, name)
        return tuple(dict.fromkeys(found))

    def _listing(self, query: dict[str, str], name: str) -> tuple[str, ...]:
        path = f"/api/models?{urlencode({**query, 'limit': LISTING})}"
        what = self._client.question(name, path)
        content = self._client.read(what)
        try:
            entries = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise what.malformed(error) from error
        if not isinstance(entries, list):
            raise what.malformed(ValueError("not a list"))
        names = (entry.get("id") for entry in entries if isinstance(entry, dict) and not _is_gguf_only(entry))
        return tuple(sorted({found for found in names if isinstance(found, str) and _REPOSITORY.fullmatch(found)}))


@dataclass(frozen=True, slots=True)
class HubReader:
    """Reads files of one repository at one commit."""

    client: _Client
    name: str
    commit: str

    def read(self, path: str) -> bytes | None:
        """A small file; None where it does not exist."""
        try:
            return self.client.read(self._question(path))
        except _AbsentError:
            return None

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        """Bytes from `start` up to `stop` or the file's end; None where it does not exist."""
        try:
            return self.client.read(self._question(path), (start, stop))
        except _AbsentError:
            return None

    def _question(self, path: str) -> _Question:
        return self.client.question(self.name, f"/{self.name}/resolve/{self.commit}/{quote(path)}")


@dataclass(frozen=True, slots=True)
class _Client:
    """Bounded requests through huggingface_hub's session, with every failure told in our own words."""

    endpoint: str
    token: str | None
    pause: float

    def question(self, name: str, path: str) -> _Question:
        """A question about a repository at a path of the Hub."""
        return _Question(shown_endpoint(self.endpoint), name, path)

    def ask(self, what: _Question, request: Callable[[], _Answer]) -> _Answer:
        """Make a request, again where trying again may help."""
        for attempt in range(1, TRIES + 1):
            try:
                return request()
            except SourceError:
                raise
            except Exception as error:
                if attempt == TRIES or not _is_passing(error):
                    raise _as_source_error(error, what, has_token=bool(self.token or get_token())) from error
            time.sleep(self.pause * attempt)
        raise AssertionError("the last attempt returns or raises")

    def read(self, what: _Question, span: tuple[int, int] | None = None) -> bytes:
        """The body of an answer, or the part of it from a start up to a stop."""

        def request() -> bytes:
            headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
            with get_session().stream(
                "GET",
                self.endpoint + what.path,
                headers={**build_hf_headers(token=self.token), **headers},
                timeout=TIMEOUT,
            ) as response:
                hf_raise_for_status(response)
                if span is None:
                    return _bounded(response, MAX_SMALL_FILE, what)
                _check_range(response, span[0], what)
                return _bounded(response, span[1] - span[0], what)

        return self.ask(what, request)


class _AbsentError(MissingError):
    """The repository exists, and this file of it does not."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked, for the notes of an error."""

    endpoint: str
    name: str
    path: str

    @property
    def note(self) -> str:
        return f"asked {self.endpoint} for {plain(self.path)}"

    def malformed(self, error: Exception) -> MalformedError:
        return MalformedError(
            f"the Hub's answer about `{plain(self.name)}` is malformed",
            (self.note, f"it is not usable: {plain(error)}"),
        )


def source_name(endpoint: str) -> str:
    """An endpoint as the lock records it: any Hub of this machine is `loopback`, whatever its port."""
    host = _parts(endpoint).hostname or ""
    return LOOPBACK if host == "localhost" or _is_loopback(host) else shown_endpoint(endpoint)


def shown_endpoint(endpoint: str) -> str:
    """An endpoint without the login data that it may hold."""
    parts = _parts(endpoint)
    return plain(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"))


def _parts(endpoint: str) -> SplitResult:
    try:
        return urlsplit(endpoint)
    except ValueError:  # the first request tells it in full
        return urlsplit("")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _repository(info: ModelInfo, source: str) -> Repository:
    card = vars(info.card_data) if info.card_data is not None else {}
    bases = card.get("base_model") or ()
    return Repository(
        name=_name(info.id),
        source=source,
        commit=info.sha if isinstance(info.sha, str) else None,
        gated=_gated(info.gated),
        license=_text(card.get("license")),
        license_name=_text(card.get("license_name")),
        base_models=tuple(str(base) for base in ([bases] if isinstance(bases, str) else bases)),
        pipeline_tag=_text(info.pipeline_tag),
        tags=tuple(str(tag) for tag in info.tags or ()),
        files=None if info.siblings is None else tuple(_listed(sibling) for sibling in info.siblings),
    )


def _name(name: object) -> str:
    if not isinstance(name, str) or _REPOSITORY.fullmatch(name) is None:
        raise ValueError(f"id {name!r}")
    return name


def _gated(value: object) -> Literal[False, "auto", "manual"]:
    if value in ("auto", "manual"):
        return "auto" if value == "auto" else "manual"
    if value:
        raise ValueError(f"gated {value!r}")
    return False


def _text(value: object) -> str | None:
    # A card may give a list of licences: none of them alone is the answer.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) and value else None


def _listed(sibling: Any) -> ListedFile:
    path, size = sibling.rfilename, sibling.size
    if not isinstance(path, str) or _FILE_PATH.fullmatch(path) is None:
        raise ValueError(f"file name {path!r}")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"size {size!r} of {path}")
    return ListedFile(path, size, sibling.lfs.sha256 if sibling.lfs is not None else None)


def _is_gguf_only(entry: dict[str, Any]) -> bool:
    tags = entry.get("tags")
    return isinstance(tags, list) and "gguf" in tags and "safetensors" not in tags


def _check_range(response: Any, start: int, what: _Question) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != _PARTIAL or match is None or int(match["start"]) != start:
        answered = plain(response.headers.get("Content-Range", "no Content-Range"))
        note = f"wanted bytes from {start}, and got {response.status_code} with {answered}"
        raise MalformedError("the Hub did not answer with the part of a file that was asked for", (what.note, note))


def _bounded(response: Any, limit: int, what: _Question) -> bytes:
    """The body. One longer than `limit` is an error, and is not read to its end."""
    body = bytearray()
    for chunk in response.iter_bytes(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise MalformedError("the Hub's answer is too long", (what.note, f"more than {limit} bytes came back"))
    return bytes(body)


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment. A rate limit takes minutes, so it is not waited for."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= _SERVER_ERROR
    return isinstance(error, _TransportError)


def _as_source_error(error: Exception, what: _Question, *, has_token: bool) -> SourceError:
    if isinstance(error, OfflineModeIsEnabled):
        helps = ("unset HF_HUB_OFFLINE to resolve models",)
        return UnavailableError("the Hub is not asked while HF_HUB_OFFLINE is set", (what.note,), helps)
    if isinstance(error, HFValidationError):
        return MissingError(f"`{plain(what.name)}` is not a repository's name", ("a name is `publisher/model`",))
    if isinstance(error, HfHubHTTPError):
        return _http_error(error, what, has_token=has_token)
    if isinstance(error, _TransportError):
        notes = (what.note, f"{type(error).__name__}: {plain(error)}")
        return UnavailableError("the Hub cannot be reached", notes, ("check the network, the proxy and HF_ENDPOINT",))
    if isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        return what.malformed(error)
    if type(error).__name__ == "InvalidURL":
        return UnavailableError("HF_ENDPOINT is not a URL", (what.note, plain(error)))
    raise error


def _http_error(error: HfHubHTTPError, what: _Question, *, has_token: bool) -> SourceError:
    name, status = plain(what.name), error.response.status_code
    notes = (what.note, f"it answered {status} {plain(error.server_message or error.response.reason_phrase)}".rstrip())
    if isinstance(error, RemoteEntryNotFoundError):
        return _AbsentError(f"`{name}` has no such file", notes)
    if isinstance(error, GatedRepoError | DisabledRepoError) or (
        status in (_UNAUTHORISED, _FORBIDDEN) and not isinstance(error, RepositoryNotFoundError)
    ):
        return AccessError(f"access to `{name}` is not granted", notes, _access_helps(name, has_token=has_token))
    if isinstance(error, RevisionNotFoundError):
        return MissingError(f"`{name}` has no such commit any more", notes, ("run `stackc lock --upgrade`",))
    if isinstance(error, RepositoryNotFoundError) or status == _NOT_FOUND:
        private = () if has_token else ("without a token, a private model looks the same as one that does not exist",)
        return UnknownNameError(f"the Hub has no model `{name}`", notes + private)
    if status == _TOO_MANY:
        return UnavailableError(f"the Hub refused to answer about `{name}`: too many requests", notes, _wait(error))
    return UnavailableError(f"the Hub failed to answer about `{name}`", notes, ("try again later",))


def _access_helps(name: str, *, has_token: bool) -> tuple[str, ...]:
    accept = f"accept the conditions on {HUB}/{name}"
    if has_token:
        return (f"{accept} with the account that HF_TOKEN belongs to",)
    return (f"{accept}, then set HF_TOKEN to a token of that account",)


def _wait(error: HfHubHTTPError) -> tuple[str, ...]:
    headers = error.response.headers
    reset = re.search(r";\s*t=(\d{1,6})", headers.get("RateLimit", "")) or re.fullmatch(
        r"(\d{1,6})", headers.get("Retry-After", "")
    )
    when = f"try again in {reset[1]} s" if reset else "try again in some minutes"
    return (when, "a token in HF_TOKEN has a higher limit")
