"""An editor: pygls' own client, on standard input and output of a real `stackc lsp`."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.client import LanguageClient

T = TypeVar("T")

# Far more than any answer takes: who waits so long has none.
PATIENCE = 60


class Editor:
    """Open files by their paths; every question is answered or fails the test."""

    def __init__(self, folder: Path, root: Path | None, cache: Path) -> None:
        self.folder = folder
        self.versions: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.shown: dict[str, types.PublishDiagnosticsParams] = {}
        self.watched: list[str] = []
        self._closed: set[str] = set()
        self._runner = asyncio.Runner()
        self._client = LanguageClient("editor", "1")

        @self._client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def show(params: types.PublishDiagnosticsParams) -> None:
            self.shown[params.uri] = params

        @self._client.feature(types.CLIENT_REGISTER_CAPABILITY)
        def watch(params: types.RegistrationParams) -> None:
            self.watched += [each.method for each in params.registrations]

        self._wait(self._start(root, cache))

    async def _start(self, root: Path | None, cache: Path) -> None:
        words = (sys.executable, "-m", "stackc", "lsp", "--stdio")
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        await self._client.start_io(*words, cwd=self.folder, env=environment)
        watching = types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True)
        able = types.ClientCapabilities(types.WorkspaceClientCapabilities(did_change_watched_files=watching))
        uri = None if root is None else root.as_uri()
        await self._client.initialize_async(types.InitializeParams(able, root_uri=uri))
        self._client.initialized(types.InitializedParams())

    def close(self) -> int:
        """End the server as editors do; its exit code."""
        code = self._wait(self._end())
        self._runner.close()
        return code

    async def _end(self) -> int:
        await self._client.shutdown_async(None)
        self._client.exit(None)
        assert self._client._server is not None
        code = await self._client._server.wait()
        await self._client.stop()
        return code

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(asked, PATIENCE))

    def open(self, path: Path, text: str | None = None) -> str:
        """Open a file, perhaps with another text than the disk has; its URI."""
        uri = path.as_uri()
        text = path.read_bytes().decode() if text is None else text
        self._closed.discard(uri)
        self.versions[uri], self.texts[uri] = self.versions.get(uri, 0) + 1, text
        item = types.TextDocumentItem(uri, "yaml", self.versions[uri], text)
        self._client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def write(self, uri: str, text: str) -> None:
        """Have another text in the file, without saving it."""
        self.versions[uri] += 1
        self.texts[uri] = text
        document = types.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        whole = types.TextDocumentContentChangeWholeDocument(text)
        self._client.text_document_did_change(types.DidChangeTextDocumentParams(document, [whole]))

    def reopen(self, uri: str, text: str) -> None:
        """The same at once: a file that is opened is not waited for until its writer pauses."""
        self.leave(uri)
        self.open(Path(uri.removeprefix("file://")), text)

    def save(self, uri: str) -> None:
        """Tell that a file was saved."""
        self.shown.clear()
        document = types.TextDocumentIdentifier(uri)
        self._client.text_document_did_save(types.DidSaveTextDocumentParams(document))

    def tell_of(self, path: Path) -> None:
        """Tell that a file beside changed."""
        self.shown.clear()
        event = types.FileEvent(path.as_uri(), types.FileChangeType.Changed)
        self._client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))

    def leave(self, uri: str) -> None:
        """Close a file."""
        self._closed.add(uri)
        self._client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def findings(self, uri: str) -> list[types.Diagnostic]:
        """What is shown of a file's present text."""
        return list(self._wait(self._findings(uri)))

    async def _findings(self, uri: str) -> list[types.Diagnostic]:
        wanted = None if uri in self._closed else self.versions[uri]
        while uri not in self.shown or self.shown[uri].version != wanted:
            await asyncio.sleep(0.01)
        return list(self.shown[uri].diagnostics)

    def at(self, uri: str, words: str, after: int = 0) -> types.Position:
        """The position of some words of the text, in UTF-16."""
        before = self.texts[uri][: self.texts[uri].index(words) + after].replace("\r\n", "\n").replace("\r", "\n")
        line = before.rpartition("\n")[2]
        return types.Position(before.count("\n"), len(line.encode("utf-16-le")) // 2)

    def hover(self, uri: str, words: str, after: int = 0) -> str | None:
        """What is told about some words."""
        where = types.HoverParams(types.TextDocumentIdentifier(uri), self.at(uri, words, after))
        found = self._wait(self._client.text_document_hover_async(where))
        if found is None:
            return None
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    def words(self, uri: str, before: str) -> list[str]:
        """What is offered right after some words."""
        where = types.CompletionParams(types.TextDocumentIdentifier(uri), self.at(uri, before, len(before)))
        found = self._wait(self._client.text_document_completion_async(where))
        assert isinstance(found, list)
        return [item.label for item in found]

    def choose(self, uri: str, before: str, label: str) -> str:
        """The text after a word that is offered was chosen."""
        where = types.CompletionParams(types.TextDocumentIdentifier(uri), self.at(uri, before, len(before)))
        found = self._wait(self._client.text_document_completion_async(where))
        assert isinstance(found, list)
        (edit,) = [item.text_edit for item in found if item.label == label]
        assert isinstance(edit, types.TextEdit)
        return changed(self.texts[uri], edit)

    def fixes(self, uri: str, finding: types.Diagnostic) -> dict[str, str]:
        """The text after each fix of a finding, by the fix's title."""
        where = types.CodeActionParams(
            types.TextDocumentIdentifier(uri), finding.range, types.CodeActionContext([finding])
        )
        found = self._wait(self._client.text_document_code_action_async(where))
        texts = {}
        for action in found or ():
            assert isinstance(action, types.CodeAction)
            assert action.edit is not None
            assert action.edit.changes is not None
            (edit,) = action.edit.changes[uri]
            texts[action.title] = changed(self.texts[uri], edit)
        return texts


def underlined(text: str, found: types.Diagnostic) -> str:
    """The part of a text that a finding is about."""
    return text[offset(text, found.range.start) : offset(text, found.range.end)]


def changed(text: str, edit: types.TextEdit) -> str:
    """The text with an edit in it, as editors read positions: lines by \\n and \\r\\n, characters in UTF-16."""
    return text[: offset(text, edit.range.start)] + edit.new_text + text[offset(text, edit.range.end) :]


def offset(text: str, position: types.Position) -> int:
    """Of a position in a text."""
    start = [0, *(end.end() for end in re.finditer(r"\r\n|\r|\n", text))][position.line]
    units = text[start:].encode("utf-16-le")[: 2 * position.character]
    return start + len(units.decode("utf-16-le"))
