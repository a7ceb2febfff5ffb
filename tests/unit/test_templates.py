"""`compile --templates`: a user's template takes the place of stackc's own, and cannot lose what the plan says."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from functools import cache, partial
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.sandbox import ImmutableSandboxedEnvironment

from compiler.cli.main import cli
from compiler.render.environment import template_folder, template_names
from tests.conftest import ROOT
from tests.plain_yaml import read_yaml


class _Read(BytecodeCache):
    """Templates that were read before."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._codes[bucket.key, bucket.checksum] = bucket.code


READ = _Read()


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stackc's own templates are read anew beside a user's, which is most of the time that a run with these takes."""
    sandbox = partial(ImmutableSandboxedEnvironment, bytecode_cache=READ)
    monkeypatch.setattr("compiler.render.environment.ImmutableSandboxedEnvironment", sandbox)


SPEC, LOCK = "team-96gb.yaml", "team-96gb.lock.yaml"


@pytest.fixture
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stack that has everything, and an empty folder `site` for templates."""
    (tmp_path / "stacks").mkdir()
    (tmp_path / "site").mkdir()
    for name in (SPEC, LOCK):
        shutil.copy(ROOT / "stacks" / name, tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def shipped() -> list[Any]:
    """The spec and the lock, read once."""
    return [read_yaml((ROOT / "stacks" / name).read_text()) for name in (SPEC, LOCK)]


@pytest.fixture
def project(everything: Path) -> Path:
    """The same with one server alone: each template of a user's is a template to read, and of most one is enough."""
    stacks = everything / "stacks"
    spec, lock = copy.deepcopy(shipped())
    del spec["services"]["general"], spec["gateway"], spec["monitoring"], spec["secrets"]["client_keys"]
    del lock["services"]["general"], lock["services"]["general-candidate"]
    for name, data in ((SPEC, spec), (LOCK, lock)):
        (stacks / name).write_text(json.dumps(data))
    return everything


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compile", "--templates", "site", *arguments])


def own(name: str) -> str:
    return (template_folder() / name).read_text()


def override(name: str, text: str) -> None:
    path = Path("site") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def unit(name: str = "team-96gb-coder.service") -> str:
    return Path("generated/team-96gb/systemd", name).read_text()


def errors(result: Result) -> list[tuple[str, str, list[str]]]:
    found = json.loads(result.stdout)["diagnostics"]
    return [(each["code"], each["message"], each["notes"]) for each in found if each["severity"] == "error"]


def test_a_template_is_replaced_and_the_tree_says_so(project: Path) -> None:
    text = own("systemd/service.j2").replace("Type=exec\n", "Type=exec\n# Asked for by operations.\nNice=-5\n")
    override("systemd/service.j2", text)
    assert run().exit_code == 0
    assert "Nice=-5" in unit()
    digest = hashlib.sha256(text.encode()).hexdigest()
    tree = Path("generated/team-96gb")
    assert json.loads((tree / "plan.json").read_text())["templates"] == {"systemd/service.j2": digest}
    assert digest in (tree / "README.md").read_text()


def test_a_part_that_others_include_is_replaced_in_all_of_them(project: Path) -> None:
    override("systemd/sandbox.j2", own("systemd/sandbox.j2").replace("ProtectClock=yes", "ProtectClock=no"))
    assert run().exit_code == 0
    assert all("ProtectClock=no" in unit(f"team-96gb-{name}.service") for name in ("coder", "prefetch"))


def test_without_the_option_the_tree_names_no_templates(project: Path) -> None:
    assert CliRunner().invoke(cli, ["compile"]).exit_code == 0
    assert json.loads(Path("generated/team-96gb/plan.json").read_text())["templates"] == {}
    assert "not stackc's own" not in Path("generated/team-96gb/README.md").read_text()


def test_check_compares_with_what_these_templates_make(project: Path) -> None:
    override("systemd/target.j2", own("systemd/target.j2") + "# ours\n")
    assert run().exit_code == 0
    assert run("--check").exit_code == 0
    assert CliRunner().invoke(cli, ["compile", "--check"]).exit_code == 1
    override("systemd/target.j2", own("systemd/target.j2") + "# changed\n")
    result = run("--check", "-v")
    assert result.exit_code == 1
    assert "`stackc compile --templates site` repairs it" in result.stderr


def test_copies_of_all_templates_make_the_same_tree(everything: Path) -> None:
    for name in template_names():
        override(name, own(name))
    assert run().exit_code == 0
    with_copies = {path: path.read_bytes() for path in Path("generated").rglob("*") if path.is_file()}
    assert CliRunner().invoke(cli, ["compile"]).exit_code == 0
    names = {path.name for path, data in with_copies.items() if path.read_bytes() != data}
    assert names == {"plan.json", "README.md", "SHA256SUMS"}


def test_a_file_that_replaces_nothing_is_refused(project: Path) -> None:
    override("systemd/servce.j2", "")
    override("scripts/preflight.py", "")
    override(".git/config", "ignored")
    result = run()
    assert result.exit_code == 1
    assert "site/systemd/servce.j2: stackc has no template `systemd/servce.j2`" in result.stderr
    assert "did you mean `systemd/service.j2`?" in result.stderr
    assert "site/scripts/preflight.py is no template" in result.stderr
    assert not Path("generated").exists()


def test_a_folder_without_templates_is_a_mistake(project: Path) -> None:
    assert errors(run("--format", "json"))[0][:2] == ("E0604", "site holds no template")


def test_a_folder_that_is_not_there_is_wrong_usage(project: Path) -> None:
    assert CliRunner().invoke(cli, ["compile", "--templates", "sight"]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[Unit]\n{% for x in %}\n", 2, "not Jinja: Expected an expression"),
        ("[Unit]\n\nDescription={{ unit.titel }}\n", 3, "UndefinedError"),
        ("{{ nobody }}\n", 1, "UndefinedError: 'nobody' is undefined"),
        ("x\n{{ unit.stack | quote }}\n", 2, "No filter named 'quote'"),
        ("x\n{{ ('a' ~ '\\n') | systemd }}\n", 2, "QuotingError"),
        ("{% include 'other/part.j2' %}\n", 1, "TemplateNotFound: other/part.j2"),
        ("{% include '../../etc/hostname' %}\n", 1, "TemplateNotFound"),
        ("{{ unit.__class__.__mro__ }}\n", 1, "SecurityError"),
        ("{{ ''.__class__.__base__.__subclasses__() }}\n", 1, "SecurityError"),
        ("{% for i in range(10000000) %}{% endfor %}\n", 1, "OverflowError"),
        ("{% include 'systemd/target.j2' %}\n", 1, "RecursionError"),
        ("{{ 1 // 0 }}\n", 1, "ZeroDivisionError"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value.strip() else None,
)
def test_a_template_that_does_not_work_is_shown_with_its_line(project: Path, text: str, line: int, words: str) -> None:
    override("systemd/target.j2", text)
    result = run()
    assert result.exit_code == 1, result.output
    assert "error[E0604]" in result.stderr
    assert words in result.stderr
    assert f"--> site/systemd/target.j2:{line}:" in result.stderr
    assert not Path("generated").exists()


def test_a_template_outside_the_folder_is_not_followed(project: Path) -> None:
    Path("elsewhere.j2").write_text(own("systemd/target.j2"))
    Path("site/systemd").mkdir()
    Path("site/systemd/target.j2").symlink_to(Path("elsewhere.j2").resolve())
    assert "is a link to a file outside site" in run().stderr


def test_bytes_that_are_no_text_are_refused(project: Path) -> None:
    Path("site/systemd").mkdir()
    Path("site/systemd/target.j2").write_bytes(b"\xff\xfe")
    assert "site/systemd/target.j2 is not UTF-8" in run().stderr


# What a template loses, and the words with which the user is told.
SERVICE, LAUNCH, CONTAINER = "systemd/service.j2", "scripts/launch.j2", "compose/container.j2"
BEFORE_SANDBOX = r'(?=\{% include "systemd/sandbox.j2" %\})'
LOSSES = [
    (SERVICE, r"TimeoutStartSec=.*", "", r"TimeoutStartSec=\d+ is missing$"),
    (SERVICE, r"TimeoutStopSec=.*", "TimeoutStopSec=5", r"TimeoutStopSec=\d+ is missing; it has 5"),
    (SERVICE, BEFORE_SANDBOX, "TimeoutStartSec=90\n", r"TimeoutStartSec=(\d+) is missing; it has \1, 90"),
    (SERVICE, BEFORE_SANDBOX, "Environment=HF_HOME=/srv\n", "HF_HOME=/var/lib/stackc/team-96gb/hf is missing"),
    (SERVICE, BEFORE_SANDBOX, "LoadCredential=\n", "LoadCredential=api-key:/etc/stackc/api-key is missing"),
    (SERVICE, r"ExecStart=", "ExecStart=/usr/bin/env ", "ExecStart=/opt/stackc/team-96gb/.* is missing"),
    (SERVICE, r"\[Unit\]", "Unit]", r"it cannot be read: 'Unit\]'"),
    ("systemd/target.j2", r"Wants=.*", "", "Wants=team-96gb-coder.service is missing"),
    ("systemd/prefetch.j2", r"ExecStart=", "ExecStart=true ", "ExecStart=/opt/stackc/team-96gb/.* is missing"),
    (LAUNCH, r" \| shell \}\}\{% if not", " }}{% if not", "it cannot be read"),
    (LAUNCH, r"in script\.lines %", "in script.lines[1:] %", "--served-model-name coder is missing"),
    (LAUNCH, r"in script\.words %\}", "in script.words %} --port 1", "--port 8000 is there more than once"),
    (LAUNCH, r"in script\.words %\}", "in script.words %} --port=1", "--port 8000 is there more than once"),
    (LAUNCH, r"CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=1,", "CUDA_VISIBLE_DEVICES=0 is missing; it has 1,0"),
    (LAUNCH, r"commit=\{\{.*", "commit=main", "commit=1ed0a6145"),
    (CONTAINER, r"image: .*", "image: vllm", "image: vllm/vllm-openai.* is missing; it has vllm"),
    (CONTAINER, r"source: .*", "source: /srv", "volumes: .* is missing"),
    (CONTAINER, r"image: .*", "image: [", "it cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "before", "after", "words"), LOSSES, ids=[each[3] for each in LOSSES])
def test_a_template_cannot_lose_what_the_plan_says(
    project: Path, name: str, before: str, after: str, words: str
) -> None:
    changed, count = re.subn(before, after.replace("\\", r"\\"), own(name))
    assert count, "the test changes nothing"
    override(name, changed)
    found = errors(run("--format", "json"))
    assert found
    assert {code for code, *_ in found} == {"E0605"}
    assert any(re.search(words, note) for _, _, notes in found for note in notes), found
    assert all(f"rendered with site/{name}" in notes for _, _, notes in found)
    assert not Path("generated").exists()
