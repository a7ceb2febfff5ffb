"""Names and folders of a stack never meet those of the machine, of its own other paths, or of another stack."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.catalog.systemd import system_unit, system_units
from compiler.checks.stack import check_spec
from compiler.cli.main import cli
from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.registry import ENGINES
from compiler.plan.lowering.lower import default_folder
from compiler.solve.solve import apply_edits
from compiler.spec.reading.load import load_spec
from compiler.targets.deployment import user_of

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True)
PARTS = ("", ".", "..", "etc", "usr", "var", "lib", "srv", "home", "mnt", "opt", "data", "stackc", "proc", "x")
PATHS = st.lists(st.sampled_from((*PARTS, "it", "other")), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
SYSTEM = ("/etc", "/usr", "/proc", "/sys", "/dev", "/run", "/boot", "/bin", "/lib", "/root", "/tmp", "/var/lib/dpkg")


def data_of(stack: str = "it", service: str = "chat", **more: object) -> dict[str, object]:
    services = {service: {"model": "org/model", "context": "8K", "port": 8000}}
    return {
        "stack": stack,
        "engine": {"vllm": "0.33.0"},
        "nodes": {"box": {"gpus": {"model": "rtx-pro-6000"}}},
        "services": services,
        **more,
    }


def check(data: dict[str, object]) -> list[Diagnostic]:
    file, problems = load_spec(SourceText(f"{data['stack']}.yaml", json.dumps(data)), ENGINES)
    return list(problems if file is None else check_spec(file, ENGINES))


@given(st.sampled_from(("install", "state")), PATHS)
@example("state", "/data")
@example("state", "/srv/../etc")
@example("install", "//etc/llm")
@example("state", "/var/lib")
def test_a_folder_is_plain_and_the_stacks_own_or_refused_with_one_that_is(key: str, path: str) -> None:
    data = data_of(paths={key: path})
    found = check(data)
    if found:
        assert {each.code for each in found} <= {"E0203", "E0220", "E0221"}
        for each in (each for each in found if each.code != "E0203"):
            (help_,) = each.helps
            assert check(apply_edits(data, list(help_.edits))) == []
        return
    place = PurePosixPath(path)
    assert str(place) == path.rstrip("/")
    assert ".." not in place.parts
    assert len(place.parts) > 2
    assert not any(place.is_relative_to(root) for root in SYSTEM)
    assert path not in ("/var/lib", "/home/x", "/mnt/data", "/opt/stackc", "/var/lib/stackc")
    for root in ("/opt/stackc", "/var/lib/stackc"):
        assert not place.is_relative_to(root) or place.is_relative_to(f"{root}/it")


@pytest.mark.parametrize("key", ["vllm", "nginx", "litellm"])
@pytest.mark.parametrize("path", ["/opt/stackc/it/bin/x", "/var/lib/stackc/it/hf/x"])
def test_no_program_lies_where_upgrades_replace_or_servers_write(key: str, path: str) -> None:
    assert [each.code for each in check(data_of(paths={key: path}))] == ["E0221"]


def test_a_stack_that_is_called_like_a_gateways_folder_keeps_apart_from_it() -> None:
    data = data_of("litellm")
    (found,) = check(data)
    assert found.code == "E0221"
    assert check(apply_edits(data, list(found.helps[0].edits))) == []


@pytest.mark.parametrize("model", ["/opt/stackc/it", "/opt/stackc/it/versions/m", "/var/lib/stackc/it/cache/m", "/var"])
def test_a_model_does_not_lie_where_an_uninstall_removes(model: str) -> None:
    services = {"chat": {"model": model, "context": "8K", "port": 8000}}
    assert "E0221" in {each.code for each in check(data_of() | {"services": services})}


@pytest.mark.parametrize(
    "stack", ["default", "multi-user", "basic", "graphical", "network-online", "rescue", "sysinit"]
)
def test_no_target_of_the_system_is_replaced(stack: str) -> None:
    assert [each.code for each in check(data_of(stack))] == ["E0222"]
    assert check(data_of(stack, targets=["scripts", "compose"])) == [], "without units there is nothing to replace"


@pytest.mark.parametrize(
    ("stack", "service"),
    [("systemd", "x"), ("systemd", "journald"), ("dbus", "broker"), ("nvidia", "persistenced"), ("cloud", "init"),
     ("nfs", "server"), ("rc", "local"), ("accounts", "daemon")],
)  # fmt: skip
def test_no_service_of_the_system_is_replaced(stack: str, service: str) -> None:
    for targets in (["systemd"], ["quadlet"]):
        (found,) = check(data_of(stack, service, targets=targets))
        assert found.code == "E0222"
        assert found.helps
        for help_ in found.helps:
            names = re.findall("`([a-z0-9-]+)`", help_.text)
            renamed = data_of(stack, names[0]) if "service" in help_.text else data_of(names[0], service)
            assert check(renamed | {"targets": targets}) == []


def test_the_list_holds_only_names_that_a_stack_could_have() -> None:
    assert len(system_units()) > 900
    for name in system_units():
        assert re.fullmatch(r"[a-z][a-z0-9-]*\.target|[a-z][a-z0-9]*-[a-z0-9-]+\.service", name), name
        assert system_unit(name) is not None


def test_this_machines_own_units_are_on_the_list() -> None:
    folder = Path("/lib/systemd/system")
    ours = [path.name for path in folder.glob("*.target")] if folder.is_dir() else []
    wanted = [name for name in ours if re.fullmatch(r"[a-z][a-z0-9-]*\.target", name)]
    assert [name for name in wanted if system_unit(name) is None] == []


@given(NAMES, NAMES)
@example("a" * 23, "a" * 24)
@example("a" * 41, "a" * 40)
def test_users_have_names_that_useradd_and_systemd_take_and_no_two_stacks_share_one(one: str, other: str) -> None:
    user = user_of(one)
    assert re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user)
    assert user.startswith("stackc-")
    assert (user == user_of(other)) == (one == other)


@pytest.fixture
def two_stacks(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two specs of the same stack under two names."""
    for name in ("one", "two"):
        for suffix in (".yaml", ".lock.yaml"):
            text = (root / "stacks" / f"tiny-cpu{suffix}").read_text()
            (tmp_path / f"{name}{suffix}").write_text(text.replace("stack: tiny-cpu", f"stack: {name}"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compile_both(folder: Path, one: dict[str, str], two: dict[str, str], node: str | None = None) -> tuple[int, str]:
    for name, paths in (("one", one), ("two", two)):
        data = YAML(typ="safe").load((folder / f"{name}.yaml").read_text())
        if node is not None and name == "two":
            (old,) = data["nodes"]
            data["nodes"] = {node: data["nodes"][old]}
        (folder / f"{name}.yaml").write_text(json.dumps(data | {"paths": paths}))
    done = CliRunner().invoke(cli, ["compile", "one.yaml", "two.yaml", "--output", "out"])
    shutil.rmtree(folder / "out", ignore_errors=True)
    return done.exit_code, done.output


SHARED = [
    ({"state": "/srv/llm"}, {"state": "/srv/llm"}),
    ({"state": "/srv/llm"}, {"state": "/srv/llm/two"}),
    ({"install": "/srv/llm/tree"}, {"state": "/srv/llm"}),
]


@pytest.mark.parametrize(("one", "two"), SHARED)
def test_two_stacks_of_one_machine_do_not_share_a_folder(
    two_stacks: Path, one: dict[str, str], two: dict[str, str]
) -> None:
    code, output = compile_both(two_stacks, one, two)
    assert code == 1
    assert "error[E0221]" in output
    assert "of stack `one`" in output
    (key,) = two
    assert compile_both(two_stacks, one, {key: default_folder(key, "two")})[0] == 0, "what the help offers"


def test_stacks_of_different_machines_may_have_the_same_folders(two_stacks: Path) -> None:
    assert compile_both(two_stacks, {"state": "/srv/llm"}, {"state": "/srv/llm"}, node="elsewhere")[0] == 0
