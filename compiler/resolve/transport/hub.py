"""The only door to the Hugging Face Hub. It asks for metadata, small files and headers, and never for weights."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from huggingface_hub import constants

from compiler.lock.models import FULL_COMMIT
from compiler.lock.names import CONTROL, is_branch, is_repository
from compiler.resolve.answers import ListedFile, Repository, SourceError, TooLargeError, plain
from compiler.resolve.limits import LIGHT, LISTING, MAX_ABOUT, MAX_FILES, MAX_LISTING, PAUSE, most_of
from compiler.resolve.strangers import load_json, values_in
from compiler.resolve.transport.endpoint import source_name
from compiler.resolve.transport.patience import Clock, Patience
from compiler.resolve.transport.progress import Progress, Silence
from compiler.resolve.transport.question import AbsentError, Question, invalid_name
from compiler.resolve.transport.room import VALUE_BYTES, Allowance, Room

if TYPE_CHECKING:
    from compiler.resolve.transport.client import Client

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_PATH = 1024
# What a decoder, and reading fields that are not there, raises on JSON of another form.
_UNUSABLE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class Hub:
    """A Hub: Hugging Face's, a mirror, or a recording on this machine.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the saved login count as they do for huggingface_hub.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        pause: float = PAUSE,
        progress: Progress | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a Hub that has asked nothing yet.

        Args:
            endpoint: None takes HF_ENDPOINT, or Hugging Face's.
            token: None takes HF_TOKEN or the saved login.
            pause: seconds before a request that failed in passing is made again.
            progress: is told what takes time; None for nobody.
            clock: passes the time of waits.
        """
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self.source = source_name(self.endpoint)
        self.progress = progress or Silence()
        self._patience = Patience(self.progress.say, clock)
        self._token = token
        self._pause = pause

    @cached_property
    def _client(self) -> Client:
        # A lock that answers everything needs no HTTP library, which takes a while to import.
        from compiler.resolve.transport.client import Client  # noqa: PLC0415

        return Client(self.endpoint, self._token, self._pause, self._patience)

    @property
    def is_offline(self) -> bool:
        """Whether the user forbids requests, by HF_HUB_OFFLINE."""
        return constants.is_offline_mode()

    def stop(self) -> None:
        """End waits and tries that are under way in other threads."""
        self._patience.stop()

    def repository(self, name: str, revision: str | None = None, *, branch: str | None = None) -> Repository:
        """All that the Hub lists about a repository at a commit or a branch, by one request.

        Args:
            name: as `publisher/model`.
            revision: a commit or branch; None is the head of `main`.
            branch: the one that the answer is about, where it is not `main`.

        Raises:
            SourceError: it does not exist, is not readable, or the Hub did not answer.
        """
        if not is_repository(name):
            raise invalid_name(name)
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = self._client.question(name, f"/api/models/{name}{at}?blobs=true")
        answer = self._json(what, MAX_ABOUT)
        if not isinstance(answer, dict):
            raise what.malformed(ValueError("not an object"))
        try:
            return _repository(answer, self.source, branch)
        except _UNUSABLE as error:
            raise what.malformed(error) from error

    def reader(self, repository: Repository, allowance: Allowance | None = None) -> HubReader:
        """Reads a repository's files at the commit that it was listed at, within what it may take."""
        # The Hub resolves full hashes only.
        is_full = repository.commit is not None and FULL_COMMIT.fullmatch(repository.commit) is not None
        head = repository.branch or constants.DEFAULT_REVISION
        revision = str(repository.commit) if is_full else head
        sizes = {file.path: file.size for file in repository.files or ()}
        return HubReader(
            self._client, repository.name, revision, sizes, allowance or Allowance(Room(), repository.name)
        )

    def branches(self, name: str) -> tuple[str, ...]:
        """Branches of a repository beside `main`, sorted."""
        what = self._client.question(name, f"/api/models/{name}/refs")
        answer = self._json(what, MAX_ABOUT)
        branches = answer.get("branches") if isinstance(answer, dict) else None
        if not isinstance(branches, list):
            raise what.malformed(ValueError("no list of branches"))
        names = [branch.get("name") for branch in branches if isinstance(branch, dict)]
        return tuple(sorted(branch for branch in names if isinstance(branch, str) and is_branch(branch)))

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
        entries = self._json(what, MAX_LISTING)
        if not isinstance(entries, list):
            raise what.malformed(ValueError("not a list"))
        names = (entry.get("id") for entry in entries if isinstance(entry, dict) and not _is_gguf_only(entry))
        return tuple(sorted({found for found in names if isinstance(found, str) and is_repository(found)}))

    def _json(self, what: Question, limit: int) -> Any:
        content = self._client.read(what, limit)
        try:
            return load_json(content, what.name)
        except (ValueError, RecursionError) as error:
            raise what.malformed(error) from error


@dataclass(frozen=True, slots=True)
class HubReader:
    """Reads files of one repository at one commit."""

    client: Client
    name: str
    revision: str
    sizes: Mapping[str, int | None]
    allowance: Allowance

    def read(self, path: str) -> bytes | None:
        """A small file; None where it does not exist.

        Raises:
            TooLargeError: it is larger than any such file.
        """
        most, listed = most_of(path), self.sizes.get(path)
        if listed is not None and listed > most:
            note = f"the Hub lists {listed} bytes, and no more than {most} are read"
            raise TooLargeError(f"`{self.name}/{plain(path)}` is larger than any such file", (note,))
        # Where the Hub does not say how long it is, it may be as long as it likes.
        self.take(LIGHT if listed is None else listed)
        try:
            content = self.client.read(self._question(path), most if listed is None else min(most, max(listed, LIGHT)))
        except AbsentError:
            return None
        self.take(max(0, len(content) - (listed or 0)) + VALUE_BYTES * values_in(content))
        return content

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        """Bytes from `start` up to `stop` or the file's end; None where it does not exist."""
        try:
            return self.client.read_range(self._question(path), start, stop)
        except AbsentError:
            return None

    def take(self, size: int) -> None:
        """Account for bytes that will be held until the facts are read."""
        self.allowance.take(size)

    def _question(self, path: str) -> Question:
        return self.client.question(self.name, f"/{self.name}/resolve/{quote(self.revision, safe='')}/{quote(path)}")


def _repository(info: Mapping[str, Any], source: str, branch: str | None) -> Repository:
    card = info.get("cardData")
    card = card if isinstance(card, dict) else {}
    siblings = info.get("siblings")
    if isinstance(siblings, list) and len(siblings) > MAX_FILES:
        note = f"it lists {len(siblings)} files, and no more than {MAX_FILES} are looked at"
        raise TooLargeError(f"`{plain(info['id'])}` is larger than any model", (note,))
    return Repository(
        name=_name(info["id"]),
        source=source,
        branch=branch,
        commit=_text(info.get("sha")),
        gated=_gated(info.get("gated")),
        license=_text(_only(card.get("license"))),
        license_name=_text(card.get("license_name")),
        base_models=_texts(card.get("base_model")),
        pipeline_tag=_text(info.get("pipeline_tag")),
        tags=_texts(info.get("tags")),
        files=None if siblings is None else tuple(_listed(sibling) for sibling in siblings),
    )


def _name(name: object) -> str:
    if not isinstance(name, str) or not is_repository(name):
        raise ValueError(f"id {name!r}")
    return name


def _gated(value: object) -> Literal[False, "auto", "manual"]:
    if value in ("auto", "manual"):
        return "auto" if value == "auto" else "manual"
    if value:
        raise ValueError(f"gated {value!r}")
    return False


def _only(value: object) -> object:
    # A card may give a list of licences: none of several alone is the answer.
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str) and item)


def _listed(sibling: Mapping[str, Any]) -> ListedFile:
    path, size, large = sibling["rfilename"], sibling.get("size"), sibling.get("lfs")
    if not isinstance(path, str) or not 0 < len(path) <= _LONGEST_PATH or "\\" in path or CONTROL.search(path):
        raise ValueError(f"file name {path!r}")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"size {size!r} of {path}")
    return ListedFile(path, size, _sha256(large["sha256"]) if large else None)


def _sha256(value: object) -> str:
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise ValueError(f"sha256 {value!r}")
    return value


def _is_gguf_only(entry: dict[str, Any]) -> bool:
    tags = entry.get("tags")
    return isinstance(tags, list) and "gguf" in tags and "safetensors" not in tags
