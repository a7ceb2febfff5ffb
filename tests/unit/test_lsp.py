"""What an editor shows of a spec while it is written, asked over standard input and output of the real server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lsprotocol import types

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.lsp.worker import Question, Worker
from compiler.engines.vllm.options.catalog import load_flags
from tests.conftest import ROOT
from tests.unit.editor import Editor, underlined

pytestmark = pytest.mark.emitted
CODER = ROOT / "stacks" / "coder-96gb.yaml"
SPEC = CODER.read_text()


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "stacks", folder / "stacks")
    found = Editor(folder, folder, tmp_path_factory.mktemp("cache"))
    yield found
    assert found.close() == 0


@pytest.fixture
def uri(editor: Editor) -> Iterator[str]:
    """A spec that is open, as the disk has it."""
    opened = editor.open(editor.folder / "stacks" / CODER.name)
    yield opened
    editor.leave(opened)


def found(editor: Editor, uri: str, code: str) -> types.Diagnostic:
    """The one finding of a code."""
    (one,) = [each for each in editor.findings(uri) if each.code == code]
    return one


def test_findings_are_those_of_compile(editor: Editor, uri: str) -> None:
    command = [sys.executable, "-m", "stackc", "compile", "--check", "-v", f"stacks/{CODER.name}"]
    told = subprocess.run(command, cwd=editor.folder, capture_output=True, text=True, check=False).stderr
    shown = editor.findings(uri)
    assert shown
    for each in shown:
        assert f"warning[{each.code}]: {each.message.splitlines()[0]}\n" in told
        assert each.severity is types.DiagnosticSeverity.Warning
        assert each.code_description is not None
        page = Path(each.code_description.href.removeprefix("file://")).read_text()
        assert page.startswith(f"# {each.code}: ")
    assert told.count("warning[") == len(shown)


def test_the_text_in_the_editor_counts_and_a_fix_is_the_finding_s_edit(editor: Editor, uri: str) -> None:
    editor.write(uri, SPEC.replace("context: 32K", "context: 32k"))
    (wrong,) = editor.findings(uri)
    assert (wrong.code, wrong.severity) == ("E0204", types.DiagnosticSeverity.Error)
    assert underlined(editor.texts[uri], wrong) == "32k"
    assert wrong.message.splitlines()[-1] == "help: write `32K`"
    assert editor.fixes(uri, wrong) == {"write `32K`": SPEC}
    assert (editor.folder / "stacks" / CODER.name).read_text() == SPEC


def test_fixes_of_what_does_not_fit_compile(editor: Editor, uri: str) -> None:
    text = SPEC.replace("concurrency: 8", "concurrency: 64")
    editor.reopen(uri, text)
    short = found(editor, uri, "E0401")
    assert "GiB" in short.message
    fixes = editor.fixes(uri, short)
    assert len(fixes) > 1
    for fixed in fixes.values():
        editor.reopen(uri, fixed)
        assert {each.severity for each in editor.findings(uri)} == {types.DiagnosticSeverity.Warning}
        editor.reopen(uri, text)


def test_no_fix_is_made_of_an_older_text(editor: Editor, uri: str) -> None:
    editor.write(uri, SPEC.replace("context: 32K", "context: 32k"))
    wrong = found(editor, uri, "E0204")
    editor.write(uri, "# one line more\n" + editor.texts[uri])
    assert editor.fixes(uri, wrong) == {}


def test_hovers(editor: Editor, uri: str) -> None:
    editor.findings(uri)
    ledger = editor.hover(uri, "coder:\n", 1)
    assert ledger is not None
    assert ledger.startswith("**coder**: fits, TheBloke/deepseek-coder-33B-instruct-AWQ (awq)\n16K × 8 on gpu01\n")
    assert "| gpu01:0 | 16.77 | 38.88 | 3.13 | 58.79 | 60.66 | 5.12 |" in ledger
    assert "253952 bytes of KV cache a token" in str(editor.hover(uri, "context: 16K"))
    assert "terms must be accepted" in str(editor.hover(uri, "gated"))
    assert editor.hover(uri, "# a desktop", 3) is None
    assert editor.hover(uri, "16K") is None
    editor.write(uri, SPEC + "gateway: {")
    editor.findings(uri)
    assert str(editor.hover(uri, "coder:\n")) == f"{ledger}\n\n*As of the last text that compiled.*"
    assert str(editor.hover(uri, "context: 16K")).endswith("\n\n*As of the last text that compiled.*")


def test_a_candidate_of_a_rollout_has_a_ledger_of_its_own(editor: Editor) -> None:
    uri = editor.open(editor.folder / "stacks" / "team-96gb.yaml")
    editor.findings(uri)
    assert str(editor.hover(uri, "candidate:")).startswith("**general-candidate**: fits, ")
    editor.leave(uri)


OFFERED = [
    ("    gpus: {model: rtx-", set(GPUS)),
    ("engine: {vllm: ", {"0.32.0", "0.33.0"}),
    ("gated: ", {"allow", "deny"}),
    ("targets: [scripts, ", {"scripts", "systemd", "compose", "quadlet"}),
    ("    quantization: ", {"auto", "none", "awq", "gptq", "int8", "fp8", "compressed-tensors"}),
    ("    expert_parallel: ", {"true", "false"}),
    ("    node: ", {"gpu01", "gpu02"}),
]


@pytest.mark.parametrize(("before", "wanted"), OFFERED)
def test_values_are_offered(editor: Editor, uri: str, before: str, wanted: set[str]) -> None:
    more = "    expert_parallel: \n    node: \nnodes:\n  gpu02: {gpus: {model: a10}}\n"
    editor.write(uri, SPEC.replace("policy:", f"{more}policy:"))
    assert wanted <= set(editor.words(uri, before))


def test_models_of_the_locks_beside_it_are_offered(editor: Editor, uri: str) -> None:
    assert "TheBloke/Mistral-7B-Instruct-v0.2-AWQ" in editor.words(uri, "    model: mistralai/")
    chosen = editor.choose(uri, "    model: mistralai/Mistral-7B-Instruct-v0.2", "Qwen/Qwen2.5-7B-Instruct")
    assert chosen == SPEC.replace("mistralai/Mistral-7B-Instruct-v0.2", "Qwen/Qwen2.5-7B-Instruct")


def test_keys_that_are_not_there_yet_are_offered(editor: Editor, uri: str) -> None:
    editor.write(uri, SPEC.replace("    port: 8001\n", "    po\n"))
    offered = set(editor.words(uri, "concurrency: 4\n    po"))
    assert {"port", "served_name", "rollout"} <= offered
    assert not {"model", "context", "stack"} & offered
    assert editor.choose(uri, "concurrency: 4\n    po", "port") == SPEC.replace("    port: 8001\n", "    port: \n")
    editor.write(uri, SPEC + "gateway: {kind: nginx, ")
    assert {"port", "cors"} <= set(editor.words(uri, "gateway: {kind: nginx, "))
    options = {flag.name.removeprefix("--") for flag in load_flags("0.33.0").flags}
    assert set(editor.words(uri, "engine_args: {")) == options
    assert "enable_prefix_caching" in editor.words(uri, "engine_args: {enable_")
    assert editor.words(uri, "# a des") == []


BROKEN = [
    "",
    "{",
    "services: [",
    "a: b: c",
    "\t",
    'stack: "',
    "- - -",
    "stack: x\n  y: z\n",
    "? [",
    "\ud800",
    "stack: \x00",
]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_yaml_is_told_and_nothing_ends(editor: Editor, uri: str, text: str) -> None:
    editor.reopen(uri, text)
    assert {each.code for each in editor.findings(uri)} <= {"E0101", "E0103", "E0201", "E0202", "E0203"}
    assert editor.findings(uri)
    editor.reopen(uri, f"{text}\n{SPEC}")
    editor.hover(uri, "context")
    editor.words(uri, "gated: ")
    editor.reopen(uri, SPEC)
    assert len(editor.findings(uri)) > 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_places_are_counted_as_editors_do(editor: Editor, uri: str, newline: str) -> None:
    # One unit, two units, and what Python takes for the end of a line.
    right = SPEC.replace("licenses: [", 'licenses: ["é😀\u2028", ').replace("\n", newline)
    text = right.replace("gated: deny", "gatd: deny")
    editor.reopen(uri, text)
    wrong = found(editor, uri, "E0201")
    assert underlined(text, wrong) == "gatd"
    assert editor.fixes(uri, wrong) == {"did you mean `gated`?": right}
    assert editor.hover(uri, "trust_remote_code", 16) is not None
    assert editor.hover(uri, "trust_remote_code", 17) is None
    assert editor.choose(uri, "trust_remote_code: ", "allow") == text.replace("_code: deny", "_code: allowdeny")


def test_a_new_line_ends_as_the_others_do(editor: Editor, uri: str) -> None:
    text = SPEC.replace("    port: 8001\n", "    port: 8001\n    host: 0.0.0.0\n").replace("secrets: ", "# ")
    editor.reopen(uri, text.replace("\n", "\r\n"))
    fixes = editor.fixes(uri, found(editor, uri, "E0216"))
    written = fixes["`api_key: /etc/stackc/api-key` in `secrets` gives the servers a key"]
    assert written == f"{text}secrets: {{api_key: /etc/stackc/api-key}}\n".replace("\n", "\r\n")


def test_a_lock_that_comes_is_read(editor: Editor) -> None:
    assert editor.watched == ["workspace/didChangeWatchedFiles"]
    path = editor.folder / "stacks" / "later.yaml"
    uri = editor.open(path, SPEC.replace("stack: coder-96gb", "stack: later"))
    missing = found(editor, uri, "E0301")
    assert "there is no lock `stacks/later.lock.yaml`" in missing.message
    assert missing.range.start == types.Position(0, 0)
    lock = path.with_name("later.lock.yaml")
    shutil.copy(CODER.with_name("coder-96gb.lock.yaml"), lock)
    editor.tell_of(lock)
    assert {each.severity for each in editor.findings(uri)} == {types.DiagnosticSeverity.Warning}
    editor.leave(uri)
    assert editor.findings(uri) == []


def test_two_specs_are_two(editor: Editor, uri: str) -> None:
    other = editor.open(editor.folder / "stacks" / "tiny-cpu.yaml")
    editor.reopen(uri, SPEC.replace("context: 32K", "context: 32k"))
    assert [each.code for each in editor.findings(uri)] == ["E0204"]
    assert "E0204" not in {each.code for each in editor.findings(other)}
    assert "tiny" in str(editor.hover(other, "tiny:\n"))
    editor.leave(other)


def test_a_file_outside_the_workspace(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    uri = editor.open(path, SPEC.replace("stack: coder-96gb", "stack: mine"))
    assert str(path.with_name("mine.lock.yaml")) in found(editor, uri, "E0301").message
    editor.leave(uri)


OTHERS = {
    "compose.yaml": "services: {web: {image: nginx}}\n",
    "stacks/x.lock.yaml": "schema: 1\n",
    "stacks/card.yaml": "engine: 0.33.0\ngpu: a10\ncomponents: {}\n",
    "stackc.yaml": "warnings: {W0201: allow}\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_yaml_is_left_alone(editor: Editor, uri: str, name: str) -> None:
    other = editor.open(editor.folder / name, OTHERS[name])
    editor.reopen(uri, SPEC + "\n")
    editor.findings(uri)  # what was asked before is answered
    assert other not in editor.shown
    assert editor.words(other, OTHERS[name][:1]) == []
    assert editor.hover(other, OTHERS[name][:3]) is None
    editor.leave(other)


def test_settings_of_the_repository_count(editor: Editor, uri: str) -> None:
    settings = editor.folder / "stacks" / "stackc.yaml"
    shown = {each.code for each in editor.findings(uri)}
    settings.write_text("warnings: {W0201: allow, W0304: deny}\n")
    editor.save(uri)
    assert shown - {each.code for each in editor.findings(uri)} == {"W0201"}
    denied = found(editor, uri, "W0304")
    assert denied.severity is types.DiagnosticSeverity.Error
    assert "note: an error because of `warnings: {W0304: deny} in stackc.yaml`" in denied.message
    settings.write_text("warnings: {W9999: allow}\n")
    editor.save(uri)
    (unusable,) = editor.findings(uri)
    assert unusable.message.startswith("stackc.yaml: no warning has the code W9999")
    settings.unlink()


def test_what_another_file_says_is_told_with_a_way_there(editor: Editor, uri: str) -> None:
    card = editor.folder / "stacks" / "broken-card.yaml"
    card.write_text("engine: 0.33.0\ngpu: rtx-pro-6000\ncomponents: {no: 1}\n")
    editor.reopen(uri, SPEC.replace("{vllm: 0.33.0}", "{vllm: 0.33.0, calibration: broken-card.yaml}"))
    wrong = found(editor, uri, "E0212")
    (there,) = wrong.related_information or ()
    assert (there.location.uri, there.location.range.start.line) == (card.as_uri(), 2)
    assert editor.fixes(uri, wrong) == {"take `calibration` away: intervals are wider then": SPEC}


def large(count: int) -> str:
    """A spec that takes seconds to read."""
    services = "".join(
        f"  s{index}: {{model: Qwen/Qwen3-8B, context: 8K, port: {index + 1}}}\n" for index in range(count)
    )
    return f"stack: large\nengine: {{vllm: 0.33.0}}\nnodes: {{n: {{gpus: {{model: a10}}}}}}\nservices:\n{services}"


def test_the_server_answers_while_it_compiles(editor: Editor) -> None:
    uri = editor.open(editor.folder / "stacks" / "large.yaml", large(3000))
    assert editor.hover(uri, "context") is not None
    assert uri not in editor.shown
    editor.write(uri, "stack: large\n")
    assert {each.code for each in editor.findings(uri)} == {"E0202"}
    editor.leave(uri)


def test_a_stale_run_is_ended_and_a_lost_one_is_told(tmp_path: Path) -> None:
    async def ask() -> None:
        worker = Worker()
        small = Question(tmp_path, "small.yaml", "stack: small\n")
        stale = asyncio.create_task(worker.ask(Question(tmp_path, "large.yaml", large(9000))))
        while worker._process is None:
            await asyncio.sleep(0.01)
        first = worker._process
        stale.cancel()
        assert {each.code for each in (await worker.ask(small)).diagnostics} == {"E0202"}
        assert await first.wait() != 0
        second = worker._process
        assert second is not None
        second.kill()
        await second.wait()
        assert "ended without an answer" in (await worker.ask(small)).failure
        assert (await worker.ask(small)).failure == ""
        last = worker._process
        assert last is not None
        worker.stop()
        await last.wait()

    asyncio.run(ask())


def test_without_its_library_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['pygls'] = sys.modules['lsprotocol'] = None; sys.argv = ['stackc', 'lsp']; "
    code += "from compiler.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: the language server needs pygls: pip install 'stackc[lsp]'\n"


def test_an_editor_that_is_gone_ends_the_server() -> None:
    command = [sys.executable, "-m", "stackc", "lsp"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
