"""Digests go into the lock by one command, and from there into every file that names an image."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from compiler.cli.main import cli
from compiler.lock.file import format_lock, read_lock
from compiler.pipeline import Compiled, compile_stack
from compiler.resolve.answers import UnavailableError
from compiler.resolve.registry.client import Registries
from tests.conftest import ROOT
from tests.registry.server import LoopbackRegistry, digest_of, index, serve

VLLM, NGINX = index("amd64", "arm64"), index("amd64")


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    with serve({"vllm/vllm-openai:v0.33.0": VLLM, "library/nginx:1.28.0": NGINX}) as server:
        yield server


@pytest.fixture
def stack(tmp_path: Path, registry: LoopbackRegistry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack with Docker, Podman and a gateway, all of whose images are in that registry."""
    spec = YAML(typ="safe").load((ROOT / "stacks/coder-5090.yaml").read_text())
    spec["targets"] = ["systemd", "compose", "quadlet"]
    spec["engine"]["image"] = f"{registry.host}/vllm/vllm-openai:v0.33.0"
    spec["gateway"] = {"port": 8080, "image": f"{registry.host}/library/nginx:1.28.0"}
    path = tmp_path / "coder-5090.yaml"
    path.write_text(json.dumps(spec))
    shutil.copy(ROOT / "stacks/coder-5090.lock.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return path


def images(*words: str) -> Result:
    return CliRunner().invoke(cli, ["images", *words])


def compiled(path: Path) -> tuple[Compiled | None, set[str]]:
    found, diagnostics = compile_stack(path, path.name)
    return found, {each.code for each in diagnostics}


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_pinned_images_are_named_by_digest_in_every_file(stack: Path, registry: LoopbackRegistry) -> None:
    _, codes = compiled(stack)
    assert "W0304" in codes
    result = images("--pin", stack.name)
    assert result.exit_code == 0, result.output
    found, codes = compiled(stack)
    assert found is not None
    assert "W0304" not in codes
    wanted = {
        f"{registry.host}/vllm/vllm-openai:v0.33.0@{digest_of(VLLM)}",
        f"{registry.host}/library/nginx:1.28.0@{digest_of(NGINX)}",
    }
    texts = {str(each.path): each.text for each in found.artifacts}
    for name, text in texts.items():
        # A container engine reads the names in these; elsewhere they would be comments.
        named = set(re.findall(rf"(?:image: |Image=)\"?({registry.host}[^\s\"]*)", text))
        assert named <= wanted, name
    compose = YAML(typ="safe").load(texts["compose/compose.yaml"])
    assert {service["image"] for service in compose["services"].values()} == wanted
    assert sum("Image=" in text for text in texts.values()) >= 3
    plan = json.loads(texts["plan.json"])
    assert [(each["part"], each["source"], each["unconfirmed"]) for each in plan["images"]] == [
        ("vllm", "lock", []),
        ("gateway", "lock", []),
    ]


def test_the_plan_says_whose_digest_is_not_known(stack: Path) -> None:
    found, _ = compiled(stack)
    assert found is not None
    plan = json.loads(next(each.text for each in found.artifacts if str(each.path) == "plan.json"))
    assert [(each["digest"], each["unconfirmed"]) for each in plan["images"]] == [(None, ["digest"])] * 2
    page = next(each.text for each in found.artifacts if str(each.path) == "README.md")
    assert "the digest of its image" in page


def test_pinning_again_asks_nothing_and_changes_nothing(stack: Path, registry: LoopbackRegistry) -> None:
    assert images("--pin", stack.name).exit_code == 0
    lock, asked = stack.with_name("coder-5090.lock.yaml"), len(registry.asked)
    before = lock.read_bytes()
    assert "unchanged" in images("--pin", stack.name).output
    assert (lock.read_bytes(), len(registry.asked)) == (before, asked)
    # The day of the first answer stays while the tag does.
    lock.write_bytes(re.sub(rb'"\d{4}-\d\d-\d\d"', b'"2001-02-03"', before))
    assert images("--pin", "--upgrade", stack.name).exit_code == 0
    assert b"2001-02-03" in lock.read_bytes()


def test_a_tag_that_moved_is_told_with_both_digests(stack: Path, registry: LoopbackRegistry) -> None:
    images("--pin", stack.name)
    registry.images["vllm/vllm-openai:v0.33.0"] = moved = index("amd64")
    assert digest_of(moved) not in images("--pin", stack.name).output, "the lock holds"
    output = images("--pin", "--upgrade", stack.name).output
    assert re.search(rf"{digest_of(VLLM)} of \d{{4}}-\d\d-\d\d → {digest_of(moved)}", output)


def test_locking_models_keeps_the_images(stack: Path) -> None:
    images("--pin", stack.name)
    lock = stack.with_name("coder-5090.lock.yaml")
    before = lock.read_text()
    from tests.hub.server import serve as serve_hub  # noqa: PLC0415

    with serve_hub() as hub:
        result = CliRunner(env={"HF_ENDPOINT": hub.url}).invoke(cli, ["lock", stack.name])
    assert result.exit_code == 0, result.output
    assert lock.read_text().partition("\nimages:")[2] == before.partition("\nimages:")[2] != ""


def test_images_that_are_no_longer_run_leave_the_lock(stack: Path) -> None:
    images("--pin", stack.name)
    change(stack, gateway={"port": 8080, "image": f"nginx@sha256:{'1' * 64}"})
    result = images("--pin", stack.name)
    assert "library/nginx:1.28.0: no longer used" in result.output
    lock, _ = read_lock(stack.with_name("coder-5090.lock.yaml"), "lock")
    assert lock is not None
    assert len(lock.images) == 1


def test_what_one_registry_does_not_know_costs_nothing_of_the_others(stack: Path, registry: LoopbackRegistry) -> None:
    del registry.images["library/nginx:1.28.0"]
    result = images("--pin", stack.name)
    assert result.exit_code == 1, "asking again does not help"
    assert "E0319" in result.output
    assert "has no image" in result.output
    lock, _ = read_lock(stack.with_name("coder-5090.lock.yaml"), "lock")
    assert lock is not None
    assert [each.digest for each in lock.images.values()] == [digest_of(VLLM)]


def test_a_digest_in_the_spec_counts_as_pinned(stack: Path, registry: LoopbackRegistry) -> None:
    change(stack, engine={"vllm": "0.33.0", "image": f"{registry.host}/vllm/vllm-openai@{digest_of(VLLM)}"})
    images("--pin", stack.name)
    assert registry.asked.count("/token") == 1, "only nginx was asked for"
    assert "W0304" not in compiled(stack)[1]


def test_a_digest_that_is_none_is_not_taken_for_one(stack: Path, registry: LoopbackRegistry) -> None:
    change(stack, engine={"vllm": "0.33.0", "image": f"{registry.host}/vllm/vllm-openai@sha256:00"})
    assert "W0304" in compiled(stack)[1]
    found, _ = compiled(stack)
    assert found is not None
    assert "@sha256:00@" not in "".join(each.text for each in found.artifacts)


def test_the_users_own_containers_count_too(stack: Path, registry: LoopbackRegistry) -> None:
    registry.images["tools/proxy:1"] = proxy = index("amd64")
    name = f"{registry.host}/tools/proxy:1"
    change(stack, patches={"compose": {"services": {"vllm": {"image": name}}}})
    images("--pin", stack.name)
    found, codes = compiled(stack)
    assert found is not None
    assert "W0304" not in codes
    (text,) = (each.text for each in found.artifacts if str(each.path) == "compose/compose.yaml")
    services = YAML(typ="safe").load(text)["services"]
    assert services["vllm"]["image"] == f"{name}@{digest_of(proxy)}"
    assert services["coder"]["image"].endswith(digest_of(VLLM)), "a container of that name is not the engine"


def test_stacks_without_containers_have_no_images(stack: Path) -> None:
    change(stack, targets=["systemd"], engine={"vllm": "0.33.0"}, gateway={"port": 8080})
    assert "no containers" in images(stack.name).output
    assert "W0304" not in compiled(stack)[1]


def test_a_lock_with_images_reads_as_it_was_written_in_any_order(stack: Path) -> None:
    images("--pin", stack.name)
    path = stack.with_name("coder-5090.lock.yaml")
    lock, problems = read_lock(path, "lock")
    assert lock is not None, problems
    assert format_lock(lock) == path.read_text()
    turned = lock.model_copy(update={"images": dict(reversed(lock.images.items()))})
    assert format_lock(turned) == path.read_text()


@pytest.mark.parametrize(
    "entry",
    [
        '  nginx:1: {digest: "sha256:00", read: "2026-01-01", by: x}',
        f'  nginx@sha256:1: {{digest: "sha256:{"0" * 64}", read: "2026-01-01", by: x}}',
        f'  nginx:1: {{digest: "sha256:{"0" * 64}", read: "today", by: x}}',
        f'  nginx:1: {{digest: "sha256:{"0" * 64} evil", read: "2026-01-01", by: x}}',
        f'  "--privileged": {{digest: "sha256:{"0" * 64}", read: "2026-01-01", by: x}}',
    ],
)
def test_a_lock_cannot_say_anything_else_than_a_digest(stack: Path, entry: str) -> None:
    path = stack.with_name("coder-5090.lock.yaml")
    path.write_text(f"{path.read_text()}images:\n{entry}\n")
    lock, problems = read_lock(path, "lock")
    assert lock is None
    assert problems[0].code == "E0303"


def test_a_registry_that_fails_is_worth_asking_again(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise UnavailableError("the registry limits the rate of requests")

    monkeypatch.setattr(Registries, "digest", fail)
    result = images("--pin", stack.name)
    assert result.exit_code == 3
    assert "error[E0317]" in result.output


def test_images_take_the_options_that_other_commands_take(stack: Path) -> None:
    """A job that fails while an image may move is `images --deny W0304`; nothing else of a plan is told here."""
    told = images(stack.name)
    assert told.exit_code == 0
    assert [line.partition(":")[0] for line in told.stderr.splitlines()] == [
        "warning[W0304]",
        "  -v shows where, and what to do; `stackc explain W0304` what it means",
    ]
    assert images(stack.name, "-q").stderr == images(stack.name, "--warnings", "W0304=allow").stderr == ""
    assert images(stack.name, "-q").stdout == told.stdout
    assert "= help:" in images(stack.name, "-v").stderr
    assert images(stack.name, "--deny", "W0304").exit_code == 1
    assert "error[W0304]" in images(stack.name, "--deny-warnings").stderr


def test_what_pinning_settles_does_not_keep_it_from_pinning(stack: Path) -> None:
    done = images("--pin", "--deny", "W0304", "-q", stack.name)
    assert (done.exit_code, done.output) == (0, "")
    assert images("--deny", "W0304", "--deny-warnings", stack.name).exit_code == 0
