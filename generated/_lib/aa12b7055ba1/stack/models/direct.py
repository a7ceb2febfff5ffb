"""Files of a model from the Hub without `hf`, for machines on which nobody installed anything with pip.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Only what the plan lists by name is fetched so. A file that is cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from stack import EXIT_SNAPSHOT, JsonObject, StackError, secret_file
from stack.models.model import CHUNK, hf_home, inside, repository_folder

EXIT_DOWNLOAD = 1
HUB = "https://huggingface.co"
# A connection that says nothing for so long is dead; a new one goes on from there.
SILENT_SECONDS = 60
ATTEMPTS = 5
PROGRESS_SECONDS = 30
GIB = 2**30
MAX_ANSWER = 4 * 2**20


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The Hub sends whoever asks for a large file to another host, which must not see the token."""

    def redirect_request(  # noqa: PLR0917 (as it is called)
        self, request: urllib.request.Request, answer: IO[bytes], code: int, message: str, headers: Message, url: str
    ) -> urllib.request.Request | None:
        """The next request; its scheme is as safe as that of the last one."""
        following = super().redirect_request(request, answer, code, message, headers, url)
        if following is None:
            return None
        before, after = urlsplit(request.full_url), urlsplit(url)
        if before.scheme == "https" and after.scheme != "https":
            raise urllib.error.URLError(f"it leads from https to {after.scheme}")
        if (before.scheme, before.netloc) != (after.scheme, after.netloc):
            following.remove_header("Authorization")
        return following


def fetch_files(plan: JsonObject, model: JsonObject, commit: str) -> None:
    """Bring the listed files that are not there yet into the cache, as `hf` would lay them."""
    for file in model["files"]:
        blob = inside(model, repository_folder(model) / "blobs" / (file["sha256"] or _name_of(commit, file)))
        if not blob.exists() or blob.stat().st_size != file["size"]:
            blob.parent.mkdir(parents=True, exist_ok=True)
            _fetch(plan, model, commit, file, blob)
        link = inside(model, repository_folder(model) / "snapshots" / commit / file["path"])
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() or link.exists():
            link.unlink()
        link.symlink_to(os.path.relpath(blob, link.parent))


def _name_of(commit: str, file: JsonObject) -> str:
    """Of a file whose hash nobody knows."""
    return f"{commit}-{re.sub(r'[^A-Za-z0-9._-]', '-', file['path'])}"


def commit_of_main(plan: JsonObject, model: JsonObject) -> str:
    """The commit that the Hub now has as `main`."""
    url = f"{_hub()}/api/models/{quote(model['repository'])}/revision/main"
    try:
        with _open(plan, url, 0) as answer:
            commit = json.loads(answer.read(MAX_ANSWER)).get("sha")
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        raise _failure(model, "main", error) from error
    if not isinstance(commit, str) or re.fullmatch("[0-9a-f]{40}", commit) is None:
        raise StackError(EXIT_DOWNLOAD, f"the Hub does not say what `main` of {model['repository']} is")
    return commit


def _fetch(plan: JsonObject, model: JsonObject, commit: str, file: JsonObject, blob: Path) -> None:
    """One file, in as many connections as it takes; one that brings nothing counts as a failure."""
    url = f"{_hub()}/{quote(model['repository'])}/resolve/{commit}/{quote(file['path'])}"
    fresh = blob.with_name(f"{blob.name}.stackc.partial")
    failures = 0
    while True:
        start = fresh.stat().st_size if fresh.exists() else 0
        try:
            if start != file["size"]:
                _append(plan, url, fresh, start if start < (file["size"] or start) else 0, file["size"])
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            is_final = isinstance(error, urllib.error.HTTPError) and error.code not in (408, 429, 500, 502, 503, 504)
            failures = 0 if fresh.exists() and fresh.stat().st_size > start else failures + 1
            if is_final or failures >= ATTEMPTS:
                raise _failure(model, commit, error) from error
            time.sleep(min(2**failures, SILENT_SECONDS))
        else:
            os.replace(fresh, blob)
            return


def _append(plan: JsonObject, url: str, fresh: Path, start: int, size: int | None) -> None:
    """The rest of a file. A server that gives it whole begins it anew; one that gives another file is not read."""
    with _open(plan, url, start) as answer, open(fresh, "r+b" if start else "wb", opener=_no_link) as file:
        begin = start if answer.status == 206 else 0
        length = int(answer.headers["Content-Length"] or -1)
        if size is not None and length >= 0 and begin + length != size:
            raise StackError(
                EXIT_SNAPSHOT, f"{url} has {begin + length} bytes, the plan {size}: lock and compile again"
            )
        file.seek(begin)
        file.truncate()
        copied = _copy(answer, file, fresh.name)
    if copied < length:
        raise ConnectionError(f"the connection ended after {begin + copied} of {begin + length} bytes")


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _copy(answer: HTTPResponse, file: IO[bytes], name: str) -> int:
    copied, told = 0, time.monotonic()
    for chunk in iter(lambda: answer.read(CHUNK), b""):
        file.write(chunk)
        copied += len(chunk)
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"{name}: {file.tell() / GIB:.2f} GiB are here", file=sys.stderr, flush=True)
    return copied


def _open(plan: JsonObject, url: str, start: int) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "stackc", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    token = _token(plan)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    answer: HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=SILENT_SECONDS)
    return answer


def _token(plan: JsonObject) -> str:
    """The Hub's, from where `hf` would take it."""
    given = os.environ.get("HF_TOKEN")
    file = secret_file(plan, "hf_token") or Path(os.environ.get("HF_TOKEN_PATH") or hf_home() / "token")
    try:
        return given or file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _failure(model: JsonObject, revision: str, error: Exception) -> StackError:
    name, code = model["repository"], error.code if isinstance(error, urllib.error.HTTPError) else None
    if code == 404:
        message = f"{name} has not all that is planned at {revision} on the Hub any more: lock and compile again"
        return StackError(EXIT_SNAPSHOT, message)
    if code in (401, 403):
        message = f"the Hub does not give out {name}: it is gated, private or gone, or the token may not read it"
        return StackError(EXIT_DOWNLOAD, message)
    return StackError(
        EXIT_DOWNLOAD, f"could not download {name} at {revision}: {error}: run prefetch again, it goes on"
    )
