"""`stackc lock` from the outside: what it prints, how it exits, and what it leaves on disk, for every fault."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import close_session, constants

from compiler.cli.main import cli
from compiler.cli.progress import progress
from compiler.resolve.transport import client, patience
from tests.conftest import ROOT, interrupts
from tests.hub.builders import AWQ, COMMIT, FakeClock, quantized, repository
from tests.hub.recordings import Recording
from tests.hub.server import Fault, FaultKind, LoopbackHub, serve

TOKEN = "hf_thisIsNoRealToken"
SPEC = """\
stack: test
engine: {vllm: 0.33.0}
nodes: {gpu01: {gpus: {model: a10}}}
services:
  coder: {model: acme/base, quantization: auto, context: 4K, port: 8001}
  other: {model: acme/other, quantization: none, context: 4K, port: 8002}
policy: {publishers: [trusted]}
"""
BASE, OTHER = repository("acme/base"), repository("acme/other")
NEWER = repository("acme/base", commit="f" * 40, license="mit", contents={"tokenizer_config.json": b"{}"})
OLD_LOCK = "# not a lock that anybody wrote\n"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command in a folder with `test.yaml`, against a Hub, with a token in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_ENDPOINT", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(patience, "RealClock", FakeClock)
    (tmp_path / "test.yaml").write_text(SPEC)

    def invoke(hub: LoopbackHub | str, *options: str, token: str | None = TOKEN) -> Result:
        environment = {"HF_ENDPOINT": hub if isinstance(hub, str) else hub.url, "HF_TOKEN": token}
        result = CliRunner().invoke(cli, ["lock", *options, "test.yaml"], env=environment)
        everything = result.output + "".join(path.read_text() for path in tmp_path.glob("*.yaml"))
        assert TOKEN not in everything
        assert "\x1b" not in result.output
        return result

    yield invoke
    close_session()


def lock_of(folder: Path) -> Path:
    return folder / "test.lock.yaml"


INFO, CONFIG, HEADER = "/api/models/acme/base", "/cdn/acme/base/-/config", "/cdn/acme/base/-/model.safetensors"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(INFO, "gated"), ["error[E0312]", "it answered 403", "accept the conditions"]),
        (Fault(INFO, "disabled"), ["error[E0312]", "the Hub has disabled `acme/base`"]),
        (Fault(INFO, "unauthorised"), ["error[E0312]", "it answered 401", "check that the token is valid"]),
        (Fault(INFO, "rate_limit"), ["error[E0311]", "too many requests", "waiting 56 s", "try again in 56 s"]),
        (Fault(INFO, "server_error"), ["error[E0311]", "it answered 500", "try again later"]),
        (Fault(INFO, "cut"), ["error[E0311]", "cannot be reached", "check the network"]),
        (Fault(INFO, "reset"), ["error[E0311]", "cannot be reached", "check the network"]),
        (Fault(INFO, "slow"), ["error[E0311]", "ReadTimeout", "check the network"]),
        (Fault(INFO, "html"), ["error[E0311]", "malformed", "check HF_ENDPOINT"]),
        (Fault(INFO, "json", detail="[]"), ["error[E0311]", "malformed"]),
        (Fault(INFO, "json", detail="[" * 100_000), ["error[E0311]", "malformed"]),
        (Fault(INFO, "json", detail='{"id": "a\\u001b[31m/b"}'), ["error[E0311]", "malformed"]),
        (Fault(CONFIG, "cut"), ["error[E0311]", "cannot be reached", "resolve"]),
        (Fault(CONFIG, "json", detail="{"), ["error[E0311]", "acme/base/config.json` is not valid JSON"]),
        (Fault(HEADER, "ignore_range"), ["error[E0311]", "wanted bytes from 0, and got 200"]),
        (Fault(HEADER, "wrong_range"), ["error[E0311]", "wanted bytes from 0, and got 206 with bytes 4096"]),
        (Fault("filter=", "server_error"), ["error[E0311]", "asked http://127.0.0.1", "base_model"]),
        (Fault("/api/models/trusted", "server_error"), ["error[E0311]", "trusted/base-AWQ"]),
    ],
    ids=lambda value: f"{value.path}-{value.kind}" if isinstance(value, Fault) else "",
)
def test_faults(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, says: list[str]) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.3)
    lock_of(tmp_path).write_text(OLD_LOCK)
    listed = quantized("trusted/base-AWQ", "acme/base", AWQ)
    with serve([BASE, OTHER, listed], [fault]) as hub:
        result = run(hub)
    # Only what may pass by itself is worth asking again.
    assert result.exit_code == (1 if "E0312" in result.output else 3), result.output
    assert "test.yaml:5:18" in result.output
    for text in says:
        assert text in result.output
    assert lock_of(tmp_path).read_text() == OLD_LOCK


def test_a_header_of_a_hundred_megabytes_is_not_read(run: Run, tmp_path: Path) -> None:
    content = (100_000_000).to_bytes(8, "little") + b"{" * 200_000
    huge = repository("acme/base", contents={"model.safetensors": content})
    with serve([huge, OTHER]) as hub:
        result = run(hub)
        assert len(hub.asked("/cdn/acme/base/-/model.safetensors")) == 1
    assert result.exit_code == 3
    assert "a header of 100000000 bytes" in result.output
    assert not lock_of(tmp_path).exists()


@pytest.mark.parametrize(("token", "hint"), [(None, "without a token, a private model"), ("hf_wrong", "a wrong token")])
def test_models_that_are_missing_or_private(run: Run, token: str | None, hint: str) -> None:
    with serve([repository("acme/base", secret=TOKEN), repository("acme/bose"), OTHER]) as hub:
        result = run(hub, token=token)
        assert result.exit_code == 1
        assert "error[E0310]: the Hub has no model `acme/base`" in result.output
        assert hint in result.output
        assert "did you mean `acme/bose`?" in result.output
        assert run(hub).exit_code == 0


@pytest.mark.parametrize(
    ("token", "hint"), [(None, "then set HF_TOKEN"), ("hf_wrong", "with the account that HF_TOKEN belongs to")]
)
def test_gated_models(run: Run, token: str | None, hint: str) -> None:
    with serve([repository("acme/base", gated="manual", secret=TOKEN), OTHER]) as hub:
        result = run(hub, token=token)
        assert result.exit_code == 1
        assert "error[E0312]" in result.output
        assert hint in result.output
        assert run(hub).exit_code == 0


def test_no_network(run: Run) -> None:
    with serve([]) as hub:
        url = hub.url
    result = run(url.replace("http://", f"http://user:{TOKEN}@"))
    assert result.exit_code == 3
    assert "the Hub cannot be reached" in result.output


def test_offline(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve([BASE, OTHER]) as hub:
        assert run(hub).exit_code == 0
        written = lock_of(tmp_path).read_bytes()
        hub.requests.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert run(hub).exit_code == 0
        (tmp_path / "test.yaml").write_text(SPEC.replace("acme/base", "acme/unseen"))
        result = run(hub)
        assert hub.requests == []
    assert result.exit_code == 3
    assert "error[E0311]: `acme/unseen` is not known here, and HF_HUB_OFFLINE is set" in result.output
    assert lock_of(tmp_path).read_bytes() == written


class TestUpgrade:
    def locked(self, run: Run, *first: Recording) -> None:
        with serve([*(first or (BASE,)), OTHER]) as hub:
            assert run(hub).exit_code == 0

    def test_it_prints_what_moved(self, run: Run) -> None:
        self.locked(run)
        with serve([NEWER, OTHER]) as hub:
            result = run(hub, "--upgrade")
        assert result.exit_code == 0
        assert (
            "  acme/base: commit 0123456789ab → ffffffffffff, licence apache-2.0 → mit, "
            "chat template tokenizer_config.json → none\n" in result.output
        )
        assert "acme/other:" not in result.stdout

    def test_sizes_types_gates_and_variants(self, run: Run) -> None:
        self.locked(run, BASE, quantized("acme/base-AWQ", "acme/base", AWQ))
        shard = repository("x", {"model_type": "llama", "torch_dtype": "float16"}, sizes={"model.safetensors": None})
        moved = Recording(**{**vars(shard), "repo": "acme/base", "commit": "f" * 40, "gated": "manual"})
        contents = dict(moved.contents)
        del contents["model.safetensors"]
        moved = Recording(**{**vars(moved), "contents": contents})
        with serve([moved, OTHER, quantized("trusted/base-AWQ", "acme/base", AWQ)]) as hub:
            result = run(hub, "--upgrade", "--format", "json")
        (changes,) = json.loads(result.stdout)["changes"].values()
        facts = {change["model"]: change["facts"] for change in changes}
        assert facts["acme/base"]["weights"] == {"old": 1152, "new": None}
        assert facts["acme/base"]["gated"] == {"old": None, "new": "manual"}
        assert facts["acme/base"]["dtype"] == {"old": None, "new": "float16"}
        kinds = [(change["model"], change["kind"], change["was"]) for change in changes]
        assert kinds[1:] == [("trusted/base-AWQ", "renamed", "acme/base-AWQ")]
        assert result.stderr == ""

    def test_one_service_alone(self, run: Run) -> None:
        self.locked(run)
        with serve([NEWER, repository("acme/other", commit="e" * 40)], [Fault("/revision/", "server_error")]) as hub:
            assert run(hub, "--upgrade-service", "other").exit_code == 3  # the other's commit could not be read again
            hub.faults.clear()
            hub.repositories["acme/base"] = BASE
            result = run(hub, "--upgrade-service", "other")
            assert hub.asked(f"/acme/base/revision/{COMMIT}")
        assert "acme/other: commit 0123456789ab → eeeeeeeeeeee" in result.output
        assert "acme/base: " not in result.stdout

    def test_a_service_that_no_spec_has(self, run: Run) -> None:
        with serve([]) as hub:
            result = run(hub, "--upgrade-service", "nobody")
            assert hub.requests == []
        assert result.exit_code == 2
        assert "no such service: nobody (there are coder, other)" in result.output

    def test_a_removed_repository(self, run: Run, tmp_path: Path) -> None:
        self.locked(run)
        before = lock_of(tmp_path).read_bytes()
        with serve([OTHER]) as hub:
            result = run(hub, "--upgrade")
        assert result.exit_code == 1
        assert "error[E0310]: the Hub has no model `acme/base` any more" in result.output
        assert f"the lock has commit {COMMIT}: it was removed" in result.output
        assert lock_of(tmp_path).read_bytes() == before

    @pytest.mark.parametrize("options", [(), ("--upgrade",)])
    def test_a_renamed_repository(self, run: Run, options: tuple[str, ...]) -> None:
        self.locked(run)
        with serve([repository("acme/renamed", renamed_from=("acme/base",)), OTHER]) as hub:
            result = run(hub, *options)
        assert result.exit_code == 0, result.output
        assert "  acme/base is named acme/renamed now\n" in result.output

    def test_a_rewritten_history(self, run: Run) -> None:
        self.locked(run)
        with serve([NEWER, OTHER]) as hub:
            result = run(hub)
            assert result.exit_code == 1
            assert "error[E0310]: `acme/base` has no such commit any more" in result.output
            assert "history was rewritten" in result.output
            assert "run `stackc lock --upgrade`" in result.output
            assert run(hub, "--upgrade").exit_code == 0

    def test_a_gate_that_was_closed(self, run: Run) -> None:
        self.locked(run)
        closed = repository("acme/base", gated="manual", commit="f" * 40, secret="hf_another")
        with serve([closed, OTHER]) as hub:
            result = run(hub, "--upgrade")
        assert result.exit_code == 1
        assert "error[E0312]" in result.output
        assert "it was open to everybody when the lock was written" in result.output

    def test_another_commit_than_asked(self, run: Run) -> None:
        self.locked(run)
        answer = json.dumps({"id": "acme/base", "sha": "d" * 40, "siblings": []})
        with serve([BASE, OTHER], [Fault(INFO, "json", detail=answer)]) as hub:
            result = run(hub)
        assert result.exit_code == 3
        assert "the Hub answered about another commit of `acme/base`" in result.output


def test_an_interrupt_leaves_the_lock_and_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(SPEC)
    lock_of(tmp_path).write_text(OLD_LOCK)
    with serve([BASE, OTHER], [Fault(INFO, "rate_limit")]) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "XDG_CACHE_HOME": str(tmp_path)}
        command = [
            sys.executable,
            "-c",
            "from compiler.cli.main import main; main()",
            "lock",
            str(tmp_path / "test.yaml"),
        ]
        with (
            interrupts(ignored=False),
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
        ):
            deadline = time.monotonic() + 120
            while not hub.asked(INFO):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was left half-written" in errors
    assert "Traceback" not in errors
    assert TOKEN not in errors
    assert lock_of(tmp_path).read_text() == OLD_LOCK
    assert sorted(path.name for path in tmp_path.glob("*test*")) == ["test.lock.yaml", "test.yaml"]


def test_an_interrupt_that_the_caller_ignores_stays_ignored(tmp_path: Path) -> None:
    """As a shell starts a command in the background: Ctrl-C is meant for another one."""
    (tmp_path / "test.yaml").write_text(SPEC)
    with serve([BASE, OTHER], [Fault(INFO, "rate_limit")]) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path)}
        command = [sys.executable, "-c", "from compiler.cli.main import main; main()", "lock", tmp_path / "test.yaml"]
        with interrupts(ignored=True):
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while not hub.asked(INFO):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            status = Path(f"/proc/{process.pid}/status").read_text().split()
            assert int(status[status.index("SigIgn:") + 1], 16) >> (signal.SIGINT - 1) & 1
        finally:
            process.kill()
            process.wait()


def test_progress_is_plain_lines_in_ci_and_nothing_in_json(run: Run) -> None:
    with serve([BASE, OTHER]) as hub:
        assert {"reading acme/base", "reading acme/other"} <= set(run(hub).stderr.splitlines())
        result = run(hub, "--format", "json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["ok"] is True


def reading(result: Result) -> list[str]:
    return [line.removeprefix("reading ") for line in result.stderr.splitlines() if line.startswith("reading ")]


def test_a_log_of_ci_has_a_line_for_each_model_and_verbose_one_for_each_repository(run: Run) -> None:
    """Of a dozen services there were 83 lines, most about variants and about names that were only guessed."""
    names = [f"trusted/base-{index}-AWQ" for index in range(6)]
    variants = [quantized(name, "acme/base", AWQ) for name in names]
    with serve([BASE, OTHER, *variants]) as hub:
        told = [reading(run(hub, "--upgrade", *words)) for words in ((), ("-v",), ("-q",))]
    named = ["acme/base", "acme/other"]
    assert [sorted(lines) for lines in told] == [named, [*named, *names], []]


def test_what_a_lock_could_not_confirm_is_read_again_by_a_line_for_each_model(run: Run) -> None:
    variants = [quantized(f"trusted/base-{index}-AWQ", "acme/base", AWQ) for index in range(3)]
    with serve([BASE, OTHER, *variants]) as hub:
        assert run(hub).exit_code == 0
        lock = Path("test.lock.yaml")
        lock.write_text(re.sub(r"source: .*", "source: elsewhere", lock.read_text()))
        assert sorted(reading(run(hub))) == ["acme/base", "acme/other"]
    assert "trusted/base-2-AWQ" in lock.read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar_that_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress(stream=stream) as told:
        told.expect(3)
        told.expect(2)
        threads = [threading.Thread(target=told.say, args=(f"reading [red]acme/{index}",)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told.advance()
    text = stream.getvalue()
    assert "1/5" in text
    assert "[red]acme/" in text  # nothing of a name is markup
    assert text.endswith("\x1b[2K")  # the line is empty again


def test_a_terminal_that_cannot_go_back_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with progress(stream=stream) as told:
        told.expect(1)
        told.say("reading acme/base")
        told.advance()
    assert stream.getvalue() == "reading acme/base\n"


def test_a_bar_is_imported_for_terminals_only() -> None:
    script = "import sys, compiler.cli.run.lock; sys.exit('rich' in sys.modules or 'httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["server_error", "reset", "rate_limit"])
def test_what_passes_is_not_told_as_an_error(run: Run, kind: FaultKind) -> None:
    with serve([BASE, OTHER], [Fault(INFO, kind, times=1)]) as hub:
        assert run(hub).exit_code == 0
