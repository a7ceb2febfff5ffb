"""Warnings that a run or a policy does not take: nothing is written, and the message says why."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.cli.main import cli
from compiler.diagnostics import CODES, Diagnostic, Severity
from compiler.diagnostics.levels import WARNING, denying
from tests.conftest import ROOT
from tests.hub.server import serve

WARNINGS = [code for code, each in CODES.items() if each.severity is Severity.WARNING]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("coder-5090.yaml", "coder-5090.lock.yaml"):
        shutil.copy(ROOT / "stacks" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "coder-5090.yaml"


def stackc(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_a_denied_warning_stops_the_run_before_anything_is_written(spec: Path) -> None:
    assert stackc("compile", spec.name).exit_code == 0
    shutil.rmtree("generated")
    result = stackc("compile", spec.name, "--deny", "W0201", "--deny", "w0301")
    assert result.exit_code == 1
    assert "error[W0301]" in result.output
    assert "an error because of `--deny W0301`" in result.output
    assert "warning[W0304]" in result.output, "one that is not denied stays what it is"
    assert not Path("generated").exists()


def test_programs_are_told_who_denied_it(spec: Path) -> None:
    data = json.loads(stackc("compile", spec.name, "--deny", "W0304", "--format", "json").output)
    levels = {each["code"]: (each["severity"], each["denied_by"]) for each in data["diagnostics"]}
    assert levels["W0304"] == ("error", "--deny W0304")
    assert levels["W0301"] == ("warning", None)
    assert data["ok"] is False


def test_a_repair_that_is_offered_denies_the_same(spec: Path) -> None:
    stackc("compile", spec.name)
    Path("generated/coder-5090/README.md").write_text("edited\n")
    output = stackc("compile", spec.name, "--check", "--deny", "W0502").output
    assert "stackc compile coder-5090.yaml --deny W0502" in output


def test_explain_and_fit_take_it_too(spec: Path) -> None:
    assert stackc("explain", spec.name).exit_code == 0
    assert stackc("explain", spec.name, "--deny", "W0304").exit_code == 1
    spec.parent.joinpath("stacks").mkdir()
    shutil.move(spec.with_name("coder-5090.lock.yaml"), "stacks")
    question = (
        "fit",
        "Qwen/Qwen2.5-Coder-14B-Instruct",
        "--gpu",
        "rtx-5090",
        "--quantization",
        "none",
        "--context",
        "2K",
    )
    assert stackc(*question).exit_code == 0
    assert stackc(*question, "--deny", "W0301").exit_code == 1


def test_a_question_about_memory_says_nothing_of_images(spec: Path) -> None:
    spec.parent.joinpath("stacks").mkdir()
    shutil.move(spec.with_name("coder-5090.lock.yaml"), "stacks")
    words = ("--gpu", "rtx-5090", "--quantization", "none", "--context", "2K")
    assert "W0304" not in stackc("fit", "Qwen/Qwen2.5-Coder-14B-Instruct", *words).output


def test_lock_takes_it_and_has_nothing_to_deny(spec: Path) -> None:
    with serve() as hub:
        result = CliRunner(env={"HF_ENDPOINT": hub.url}).invoke(cli, ["lock", spec.name, "--deny", "W0301"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["compile", "explain", "lock"])
@pytest.mark.parametrize("code", ["W9999", "E0401", "", "all"])
def test_what_is_no_warning_is_refused_with_the_list(spec: Path, command: str, code: str) -> None:
    result = stackc(command, spec.name, "--deny", code)
    assert result.exit_code == 2
    for warning in WARNINGS:
        assert warning in result.output


@pytest.mark.parametrize("code", WARNINGS)
def test_every_warning_can_be_denied_and_errors_stay(code: str) -> None:
    findings = (Diagnostic(code, "x"), Diagnostic("E0401", "x"))
    assert WARNING.applied(findings) == findings
    warning, error = denying([code.lower()]).applied(findings)
    assert (warning.code, warning.severity) == (code, Severity.ERROR)
    assert error == findings[1]


def test_the_policy_denies_every_kind_of_what_is_not_confirmed(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("policy: {", "policy: {unconfirmed: deny, "))
    data = json.loads(stackc("compile", spec.name, "--format", "json").output)
    found = [each for each in data["diagnostics"] if each["code"] == "E0318"]
    assert len(found) == 2
    notes = " ".join(note for each in found for note in each["notes"])
    helps = " ".join(help_["text"] for each in found for help_ in each["helps"])
    assert "W0301" in notes
    assert "W0304" in notes
    assert "`stackc lock coder-5090.yaml`" in helps
    assert "`stackc images --pin coder-5090.yaml`" in helps
    assert not {"W0301", "W0304"} & {each["code"] for each in data["diagnostics"]}


@pytest.mark.parametrize("has_hash", [True, False])
def test_weights_without_a_hash_are_not_confirmed(spec: Path, *, has_hash: bool) -> None:
    lock = spec.with_name("coder-5090.lock.yaml")
    stated = f', "sha256": "{"0" * 64}"' if has_hash else ""
    file = f'{{"path": "model.safetensors", "size": 29540067328{stated}}}'
    text, count = re.subn("(    )unconfirmed: .*", rf"\1weights:\n      - {file}", lock.read_text())
    assert count == 1
    lock.write_text(text)
    result = stackc("compile", spec.name)
    assert result.exit_code == 0, result.output
    assert ("not confirmed for `Qwen/Qwen2.5-Coder-14B-Instruct`: hashes" in result.output) is not has_hash
    assert ("W0301" in result.output) is not has_hash


def test_a_cpu_build_says_that_nobody_lists_its_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny-cpu.yaml", "tiny-cpu.lock.yaml"):
        shutil.copy(ROOT / "stacks" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    spec, text = tmp_path / "tiny-cpu.yaml", (tmp_path / "tiny-cpu.yaml").read_text()
    assert "W0305" in stackc("compile", spec.name).output
    for quiet in ("targets: [compose]", "paths: {vllm: /opt/own/bin/vllm}"):
        spec.write_text(f"{text}\n{quiet}\n")
        result = stackc("compile", spec.name)
        assert result.exit_code == 0, result.output
        assert "W0305" not in result.output, quiet
