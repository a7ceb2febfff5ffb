"""The guide for users of Ollama as its reader does it: its spec and commands, beside a model of that shape."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from benchmarks.ggufs.shapes import shaped_model
from compiler.cli.main import cli
from tests.conftest import ROOT
from tests.docs.blocks import blocks_of
from tests.gguf.writer import write

PAGE = ROOT / "docs" / "how-to" / "ollama.md"
FILE = "qwen3-8b/qwen3-8b-Q4_K_M.gguf"
_Q4_K_M = 15


def steps() -> list[tuple[str, str]]:
    """Each command of the page, and the output that stands below it."""
    return [step for block in blocks_of(PAGE) if block.language == "console" for step in block.commands()]


def played(folder: Path) -> Iterator[str]:
    """What each command prints."""
    _write_model(folder / FILE)
    (spec,) = (block.text for block in blocks_of(PAGE) if block.language == "yaml")
    (folder / "stacks").mkdir()
    (folder / "stacks" / "home.yaml").write_text(spec)
    with contextlib.chdir(folder):
        for command, _ in steps():
            yield _answer(command)


def _write_model(path: Path) -> None:
    """A header like Qwen3-8B's in front of a hole."""
    model = shaped_model("qwen3-8b")
    assert model is not None
    path.parent.mkdir()
    texts = {"general.name": "Qwen3 8B", "tokenizer.ggml.model": "gpt2", "tokenizer.chat_template": "{{ messages }}"}
    numbers = {"general.file_type": _Q4_K_M}
    tokens = ["t"] * int(str(model.keys["qwen3.vocab_size"]))
    write(path, {**model.keys, **texts, **numbers, "tokenizer.ggml.tokens": tokens}, model.tensors)


def _answer(command: str) -> str:
    program, *words = shlex.split(command)
    if program != "stackc":
        return subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout
    result = CliRunner().invoke(cli, words, env={"COLUMNS": None, "FORCE_COLOR": None})
    return "".join(f"{line.rstrip()}\n" for line in result.output.rstrip().splitlines())
