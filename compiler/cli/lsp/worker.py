"""Compiling for an editor, in a process of its own: it can be ended, and the server answers meanwhile.

Both sides speak in pickles, each after its length: the process is started here, and nobody else writes to its pipes.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics import Diagnostic
from compiler.plan.ir import Plan

# What nobody waits for any more is given so many seconds to end: most specs take less than a new process does.
_GRACE = 0.5
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A spec as an editor holds it: what messages call it, from which folder, and its text."""

    folder: Path
    name: str
    text: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder / self.name


@dataclass(frozen=True, slots=True)
class Answer:
    """What `stackc compile --locked` would say: findings as the repository takes them, and the plan of each node.

    Attributes:
        failure: why there are no findings; empty where there is an answer.
    """

    plans: tuple[Plan, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failure: str = ""


class Worker:
    """The process, started when something is asked. One question at a time; a stale one does not hold up the next."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._run: asyncio.Task[Answer] | None = None

    async def ask(self, question: Question) -> Answer:
        """Compile. Whoever is cancelled leaves the run behind, and the next question ends it."""
        async with self._turn:
            if self._run is not None and not self._run.done():
                await asyncio.wait({self._run}, timeout=_GRACE)
            if self._run is not None and not self._run.done():
                self.stop()
            self._run = asyncio.create_task(self._exchange(question))
            return await asyncio.shield(self._run)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        self._process = None

    async def _exchange(self, question: Question) -> Answer:
        if self._process is None:
            # -P: what lies in the working folder is no part of stackc.
            words = ("-P", "-c", f"from {__name__} import work; work()")
            self._process = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=PIPE, stdout=PIPE)
        process = self._process
        to, answers = process.stdin, process.stdout
        assert to is not None  # noqa: S101  both are pipes
        assert answers is not None  # noqa: S101
        try:
            to.write(_framed(question))
            await to.drain()
            length = int.from_bytes(await answers.readexactly(_LENGTH))
            found = pickle.loads(await answers.readexactly(length))  # noqa: S301  our own process wrote it
        except (asyncio.IncompleteReadError, OSError):
            if self._process is process:
                self.stop()
            return Answer(failure="the compiler ended without an answer; what it said is in the log of the server")
        assert isinstance(found, Answer)  # noqa: S101
        return found


def _framed(message: object) -> bytes:
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(_LENGTH) + content


def answer(question: Question) -> Answer:
    """Compile a text, and take what was found as its repository does."""
    import click  # noqa: PLC0415 - the server itself needs none of these

    from compiler.cli.report import unreadable  # noqa: PLC0415
    from compiler.cli.settings import levels_for  # noqa: PLC0415
    from compiler.pipeline import compile_stack  # noqa: PLC0415

    try:
        levels = levels_for(question.path)
    except click.UsageError as error:
        return Answer(failure=error.message)
    content = question.text.encode(errors="surrogatepass")
    try:
        compiled, found = compile_stack(question.path, question.name, content=content)
    except OSError as error:
        compiled, found = None, (unreadable(question.name, error),)
    return Answer(() if compiled is None else compiled.plans, levels.applied(found))


def work() -> None:
    """Answer questions until there are no more. What a print would say must not get between the answers."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while length := int.from_bytes(questions.read(_LENGTH)):
        question = pickle.loads(questions.read(length))  # noqa: S301  the server wrote it
        answers.write(_framed(answer(question)))
        answers.flush()
