"""The server: which documents are specs, when they are compiled, and what is answered about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from compiler import __version__
from compiler.calibration.file import is_calibration
from compiler.checks.read import LOCK_SUFFIX
from compiler.cli.lsp.answers import Word, hover, words
from compiler.cli.lsp.text import Spot, Text, difference, keys_of, rewritten, spot_at
from compiler.cli.lsp.worker import Answer, Question, Worker
from compiler.cli.settings import NAME as SETTINGS
from compiler.diagnostics import Diagnostic, Help, Severity
from compiler.diagnostics.render import visible
from compiler.plan.ir import Plan
from compiler.schemas.documents import MODELINE

# Who goes on writing is quicker than this.
PAUSE_SECONDS = 0.3
_SCHEMA_LINE = re.compile(re.escape(MODELINE) + r"\S*\bspec\b\S*\.json")
# What decides on a spec beside itself.
_WATCHED = ("**/*.lock.yaml", f"**/{SETTINGS}", "**/pyproject.toml")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an open spec.

    Attributes:
        question: its text that was compiled last.
        plans: of the last text that compiled.
    """

    question: Question
    answer: Answer
    plans: tuple[Plan, ...]


class Server(LanguageServer):
    """Open specs, and the process that compiles them."""

    def __init__(self) -> None:
        # Whole texts: parts of one are given by lines, of which pygls counts more than editors do.
        super().__init__("stackc", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self.worker = Worker()
        self.known: dict[str, Known] = {}
        self.runs: dict[str, asyncio.Task[None]] = {}

    def document(self, uri: str) -> tuple[TextDocument, Text]:
        """A document as it is now."""
        document = self.workspace.get_text_document(uri)
        return document, self.text(document.source)

    def text(self, source: str) -> Text:
        """A text with positions as this editor counts them."""
        return Text(source, self.workspace.position_codec)

    def plans(self, uri: str) -> tuple[Plan, ...]:
        """Of the last text of a document that compiled."""
        return self.known[uri].plans if uri in self.known else ()

    def check_soon(self, uri: str, pause: float) -> None:
        """Compile a document after a pause, instead of what was asked of it before."""
        self.forget(uri)
        self.runs[uri] = asyncio.get_running_loop().create_task(self._check(uri, pause))

    def check_all(self) -> None:
        """Compile every open document again: something beside them changed."""
        for uri in self.workspace.text_documents:
            self.check_soon(uri, PAUSE_SECONDS)

    def forget(self, uri: str) -> None:
        """What was asked of a document is not waited for any more."""
        if (run := self.runs.pop(uri, None)) is not None:
            run.cancel()

    async def _check(self, uri: str, pause: float) -> None:
        await asyncio.sleep(pause)
        document, text = self.document(uri)
        version, found = document.version, list[types.Diagnostic]()
        if is_spec(document):
            question = self._question(Path(document.path), document.source)
            answer = await self.worker.ask(question)
            self.known[uri] = Known(question, answer, answer.plans or self.plans(uri))
            found = [*self._findings(text, self.known[uri])]
        elif self.known.pop(uri, None) is None:
            return
        self.publish(uri, found, version)

    def publish(self, uri: str, found: list[types.Diagnostic], version: int | None = None) -> None:
        """Show findings in place of those that are shown."""
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, version))

    def _question(self, path: Path, source: str) -> Question:
        """Messages call a file by its path from the workspace, where it lies in one."""
        uris = [self.workspace.root_uri, *(folder.uri for folder in self.workspace.folders.values())]
        roots = [Path(root) for root in (to_fs_path(uri) for uri in uris if uri) if root]
        root = next((root for root in roots if path.is_relative_to(root)), Path("/"))
        return Question(root, str(path if root == Path("/") else path.relative_to(root)), source)

    def _findings(self, text: Text, known: Known) -> Iterator[types.Diagnostic]:
        if known.answer.failure:
            yield types.Diagnostic(text.first_line, visible(known.answer.failure), _ERROR, source="stackc")
        for found in known.answer.diagnostics:
            if found.allowed_by is None:
                yield self.finding(text, known.question, found)

    def finding(self, text: Text, question: Question, found: Diagnostic) -> types.Diagnostic:
        """A finding on its place; what is in another file is told at the top, with a way there."""
        span = found.label.span if found.label is not None else None
        is_here = span is not None and span.source.name == question.name
        there = None
        if span is not None and not is_here:
            uri = (question.folder / span.source.name).as_uri()
            location = types.Location(uri, self.text(span.source.text).range_of(span))
            there = [types.DiagnosticRelatedInformation(location, visible(found.message))]
        return types.Diagnostic(
            range=text.range_of(span) if span is not None and is_here else text.first_line,
            message="\n".join(map(visible, _lines(found))),
            severity=_ERROR if found.severity is Severity.ERROR else types.DiagnosticSeverity.Warning,
            code=found.code,
            code_description=types.CodeDescription(_page(found.code)),
            source="stackc",
            related_information=there,
        )

    def shutdown(self) -> None:
        """End the compiler too."""
        self.worker.stop()
        super().shutdown()  # type: ignore[no-untyped-call]  # of pygls


_ERROR = types.DiagnosticSeverity.Error


def is_spec(document: TextDocument) -> bool:
    """Whether it is a YAML file in a folder `stacks`, or names the schema of specs; not what lies beside specs."""
    path = Path(document.path)
    if not document.uri.startswith("file:") or path.name.endswith(LOCK_SUFFIX) or path.name == SETTINGS:
        return False
    if _SCHEMA_LINE.match(document.source):
        return True
    return path.parent.name == "stacks" and path.suffix == ".yaml" and not is_calibration(document.source)


def _lines(found: Diagnostic) -> Iterator[str]:
    yield found.message
    if found.label is not None and found.label.text:
        yield found.label.text
    yield from (f"note: {note}" for note in found.notes)
    if found.denied_by is not None:
        yield f"note: an error because of `{found.denied_by}`"
    yield from (f"help: {help_.text}" for help_ in found.helps)


def _page(code: str) -> str:
    return Path(str(files("compiler.diagnostics") / "pages" / f"{code}.md")).as_uri()


def initialized(server: Server, _: types.InitializedParams) -> None:
    """Have the editor say when a lock or the settings change, if it can."""
    able = server.client_capabilities.workspace
    watching = able.did_change_watched_files if able is not None else None
    if watching is not None and watching.dynamic_registration:
        watched = types.DidChangeWatchedFilesRegistrationOptions([*map(types.FileSystemWatcher, _WATCHED)])
        asked = types.Registration("beside", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, watched)
        server.client_register_capability(types.RegistrationParams([asked]))


def opened(server: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Compile at once."""
    server.check_soon(params.text_document.uri, 0)


def changed(server: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Compile when the writer pauses."""
    server.check_soon(params.text_document.uri, PAUSE_SECONDS)


def saved(server: Server, _: types.DidSaveTextDocumentParams | types.DidChangeWatchedFilesParams) -> None:
    """Compile all: what was saved may be a lock or a calibration."""
    server.check_all()


def closed(server: Server, params: types.DidCloseTextDocumentParams) -> None:
    """Show nothing of it any more."""
    uri = params.text_document.uri
    server.forget(uri)
    if server.known.pop(uri, None) is not None:
        server.publish(uri, [])


def hovered(server: Server, params: types.HoverParams) -> types.Hover | None:
    """About the key under the cursor."""
    document, text = server.document(params.text_document.uri)
    at = text.offset(params.position)
    key = next((key for key in keys_of(text.text) if key.start <= at < key.end), None)
    if key is None or not is_spec(document):
        return None
    known = server.known.get(document.uri)
    about = hover(key.path, server.plans(document.uri), is_old=known is not None and not known.answer.plans)
    if about is None:
        return None
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, about), text.range(key.start, key.end))


def completed(server: Server, params: types.CompletionParams) -> list[types.CompletionItem]:
    """Keys and values, in place of the word before the cursor; the editor knows which of them are like it."""
    document, text = server.document(params.text_document.uri)
    at = text.offset(params.position)
    spot = spot_at(text.text, at)
    if spot is None or not is_spec(document):
        return []
    found = words(spot, keys_of(text.text), Path(document.path).parent, server.plans(document.uri))
    return [_item(word, spot, text.range(spot.start, at), is_snake="_" in text.text[spot.start : at]) for word in found]


def _item(word: Word, spot: Spot, place: types.Range, *, is_snake: bool) -> types.CompletionItem:
    """Options of the engine have dashes or underscores, as the writer began."""
    written = word.text.replace("-", "_") if spot.is_key and is_snake else word.text
    edit = types.TextEdit(place, f"{written}: " if spot.is_key else written)
    kind = types.CompletionItemKind.Property if spot.is_key else types.CompletionItemKind.Value
    return types.CompletionItem(written, kind=kind, documentation=word.about or None, text_edit=edit)


def actions(server: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """The helps with edits of what was found at the cursor, while the text is that in which it was found."""
    document, text = server.document(params.text_document.uri)
    known, only = server.known.get(document.uri), params.context.only
    if known is None or known.question.text != document.source:
        return []
    if only and not any(types.CodeActionKind.QuickFix.value.startswith(kind) for kind in only):
        return []
    found = ((each, server.finding(text, known.question, each)) for each in known.answer.diagnostics)
    near = [(each, shown) for each, shown in found if _meet(shown.range, params.range)]
    fixes = [_fix(document, text, shown, help_) for each, shown in near for help_ in each.helps if help_.edits]
    return [fix for fix in fixes if fix is not None]


def _meet(one: types.Range, other: types.Range) -> bool:
    return one.start <= other.end and other.start <= one.end


def _fix(document: TextDocument, text: Text, shown: types.Diagnostic, help_: Help) -> types.CodeAction | None:
    wanted = rewritten(text.text, help_.edits)
    if wanted is None:
        return None
    start, end, new = difference(text.text, wanted)
    edit = types.TextEdit(text.range(start, end), new.replace("\n", "\r\n") if "\r\n" in document.source else new)
    return types.CodeAction(
        visible(help_.text),
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[shown],
        edit=types.WorkspaceEdit(changes={document.uri: [edit]}),
    )


_ANSWERS: tuple[tuple[str, object, Callable[..., object]], ...] = (
    (types.INITIALIZED, None, initialized),
    (types.TEXT_DOCUMENT_DID_OPEN, None, opened),
    (types.TEXT_DOCUMENT_DID_CHANGE, None, changed),
    (types.TEXT_DOCUMENT_DID_SAVE, None, saved),
    (types.WORKSPACE_DID_CHANGE_WATCHED_FILES, None, saved),
    (types.TEXT_DOCUMENT_DID_CLOSE, None, closed),
    (types.TEXT_DOCUMENT_HOVER, None, hovered),
    (types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions([" ", "{", "["]), completed),
    (types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions([types.CodeActionKind.QuickFix]), actions),
)


def serve() -> None:
    """Answer until the editor is gone."""
    server = Server()
    for name, options, answer in _ANSWERS:
        server.feature(name, options)(answer)
    server.thread()(actions)  # a large spec is read again for each edit
    server.start_io()
