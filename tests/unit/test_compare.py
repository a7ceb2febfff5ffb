"""What is told of two versions of a tree, and that an upgrade restarts what was said."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import replace
from hashlib import sha256
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.compare.containers import container_restarts
from compiler.compare.differ import Kind, differences
from compiler.compare.facts import facts_of
from compiler.compare.render import MOST, WIDTH, data, lines, markdown, reason
from compiler.compare.restarts import Deed, changed_units, restarts
from compiler.compare.versions import Version, versions_of
from compiler.emit.manifest import manifest_of
from compiler.pipeline import render_plan
from compiler.plan.ir import Argument, Plan
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.container_samples import behind_gateway
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, with_engine, with_service


def version(plan: Plan) -> Version:
    artifacts = render_plan(plan)
    return Version({str(each.path): each.text.encode() for each in (*artifacts, manifest_of(artifacts))})


def told(old: Plan, new: Plan, *, is_whole: bool = False) -> list[str]:
    return lines(differences({"duo": version(old)}, {"duo": version(new)}), is_whole=is_whole)


def with_cache(plan: Plan, service: str, blocks: int) -> Plan:
    """More KV cache, in the plan and on the command line."""
    found = plan.service(service)
    cache = replace(found.kv_cache, num_blocks=blocks)
    flag = "--kv-cache-memory-bytes"
    arguments = tuple(replace(one, value=str(cache.bytes)) if one.flag == flag else one for one in found.arguments)
    if arguments == found.arguments:
        arguments += (Argument(flag, str(cache.bytes), "ledger"),)
    return with_service(plan, service, kv_cache=cache, arguments=arguments)


def test_the_same_trees_are_told_as_nothing() -> None:
    assert told(two_on_one_gpu(), two_on_one_gpu()) == []


def test_a_change_is_one_line_and_names_what_restarts_and_why() -> None:
    old = two_on_one_gpu()
    cache = old.service("coder").kv_cache
    blocks = cache.num_blocks - 2 * GIB // cache.bytes_per_block
    new = with_cache(with_service(old, "coder", concurrency=2), "coder", blocks)
    found = told(old, new)
    before, after = (f"{plan.service('coder').kv_cache.bytes / GIB:.2f}" for plan in (old, new))
    assert found[0] == f"duo: coder: concurrency {old.service('coder').concurrency} -> 2"
    assert found[1] == f"duo: coder: KV cache {before} -> {after} GiB"
    assert "duo: coder restarts on upgrade: concurrency, KV cache" in found
    assert not [line for line in found if "general restarts" in line]
    assert found[-1].startswith("duo: ")


CHANGES = {
    "model": (lambda plan: with_model(plan, repository="org/other"), "coder: model org/coder-awq -> org/other"),
    "commit": (lambda plan: with_model(plan, commit="f" * 40), "coder: commit 0123456789ab -> ffffffffffff"),
    "no commit": (lambda plan: with_model(plan, commit=None), "coder: commit 0123456789ab -> none"),
    "port": (lambda plan: with_service(plan, "coder", port=8009), "coder: port 8001 -> 8009"),
    "context": (lambda plan: with_service(plan, "coder", max_model_len=512), "-> 512"),
    "GPUs": (lambda plan: with_service(plan, "coder", devices=(1, 2)), "coder: GPUs 0 -> 1, 2"),
    "image": (lambda plan: with_engine(plan, version="0.34.0"), "engine: vLLM"),
    "switch": (lambda plan: with_flag(plan, "--enable-x", None), "coder: --enable-x none -> on"),
    "list": (lambda plan: with_flag(plan, "--names", ("a", "b")), "coder: --names none -> a, b"),
    "secret": (
        lambda plan: replace(plan, secrets=replace(plan.secrets, api_key=None)),
        "secrets: api key /etc/stackc/api-key -> none",
    ),
    "service": (
        lambda plan: replace(plan, services=plan.services[:1], devices=()),
        "general: removed",
    ),
}


def with_model(plan: Plan, **changes: Any) -> Plan:
    return with_service(plan, "coder", model=replace(plan.service("coder").model, **changes))


def with_flag(plan: Plan, flag: str, value: str | tuple[str, ...] | None) -> Plan:
    arguments = (*plan.service("coder").arguments, Argument(flag, value, "spec"))
    return with_service(plan, "coder", arguments=arguments)


@pytest.mark.parametrize("name", CHANGES)
def test_each_kind_of_change_is_said_in_words(name: str) -> None:
    change, wanted = CHANGES[name]
    old, new = version(two_on_one_gpu()), two_on_one_gpu()
    after = Version({**old.files, "plan.json": plan_bytes(change(new)), "README.md": b"other"})
    found = lines(differences({"duo": old}, {"duo": after}))
    assert any(wanted in line for line in found), found


def plan_bytes(plan: Plan) -> bytes:
    return next(each.text.encode() for each in render_plan_only(plan))


def render_plan_only(plan: Plan) -> Any:
    emit = importlib.import_module("compiler.targets.plan_json")
    return (emit.emit_plan_json(plan),)


def test_what_follows_from_the_rest_is_counted_and_shown_when_asked() -> None:
    old, new = two_on_one_gpu(), with_cache(two_on_one_gpu(), "coder", 4000)
    assert any("derived figure" in line for line in told(old, new))
    whole = told(old, new, is_whole=True)
    assert any("kv cache num blocks" in line for line in whole)
    assert not any("derived figure" in line for line in whole)


def test_trees_that_come_and_go_name_their_services() -> None:
    old, new = {"duo": version(two_on_one_gpu())}, {"cpu": version(one_on_cpu())}
    gone, come = differences(old, new)[::-1], differences(old, new)
    assert [each.kind for each in come] == [Kind.ADDED, Kind.REMOVED]
    assert lines(gone)[0] == f"duo: removed, {len(old['duo'].own)} files: coder, general"


def test_no_line_is_wide_and_many_are_cut_off_but_all_are_in_the_data() -> None:
    old = {f"duo{n}": version(two_on_one_gpu()) for n in range(9)}
    new = {name: version(with_cache(two_on_one_gpu(), "coder", 4000)) for name in old}
    diffs = differences(old, new)
    assert len(lines(diffs)) == MOST
    assert "`stackc diff -v`" in lines(diffs)[-1]
    assert all(len(line) <= WIDTH for line in lines(diffs))
    assert [each["tree"] for each in data(diffs)] == sorted(old)
    assert json.dumps(data(diffs))


@pytest.mark.parametrize("broken", [b"<<<<<<< HEAD\n{", b"[]", b"\xff", b'{"services": ' + b"[" * 5000, b""])
def test_a_plan_that_cannot_be_read_is_said_and_files_are_compared(broken: bytes) -> None:
    new = version(two_on_one_gpu())
    (diff,) = differences({"duo": Version({**new.files, "plan.json": broken})}, {"duo": new})
    assert not diff.is_readable
    assert lines([diff]) == ["duo: plan.json cannot be read, so only files are compared", "duo: 1 file: plan.json"]


def test_markdown_has_a_table_that_no_name_breaks() -> None:
    new = with_model(two_on_one_gpu(), repository="a|b`c<d>@e")
    text = markdown(differences({"duo": version(two_on_one_gpu())}, {"duo": version(two_on_one_gpu())}))
    assert text == "No stack changes.\n"
    old = version(two_on_one_gpu())
    after = Version({**old.files, "plan.json": plan_bytes(new)})
    text = markdown(differences({"duo": old}, {"duo": after}))
    row = next(line for line in text.splitlines() if "coder model" in line)
    assert row.replace("\\|", "").count("|") == 4
    assert "<" not in row
    assert "@e" not in row


# Small: what counts is the form.
WORDS = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(WORDS, of, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_any_json_has_facts(value: object) -> None:
    facts_of({"services": value, "other": value})


# What `bin/upgrade` itself says, on the same trees.


@pytest.fixture(scope="module")
def switch() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "templates/lib"))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr("resource.setrlimit", lambda *_: None)
        yield importlib.import_module("stack.install.switch")


def gated(kind: str = "nginx") -> Plan:
    return replace(behind_gateway(kind), monitoring=None)


def without(plan: Plan, name: str) -> Plan:
    return replace(plan, services=tuple(each for each in plan.services if each.name != name))


PAIRS = {
    "flags": (two_on_one_gpu(), with_flag(two_on_one_gpu(), "--enable-x", None)),
    "unit": (two_on_one_gpu(), with_service(two_on_one_gpu(), "general", start_after=())),
    "nothing": (two_on_one_gpu(), two_on_one_gpu()),
    "a figure": (two_on_one_gpu(), with_service(two_on_one_gpu(), "coder", concurrency=3)),
    "gone": (two_on_one_gpu(), without(two_on_one_gpu(), "general")),
    "new": (without(two_on_one_gpu(), "general"), two_on_one_gpu()),
    "secrets": (two_on_one_gpu(), replace(two_on_one_gpu(), secrets=replace(two_on_one_gpu().secrets, api_key=None))),
    "gateway": (gated(), replace(gated(), gateway=None)),
    "litellm": (gated("litellm"), with_service(gated("litellm"), "coder", port=8044)),
    "nginx": (gated(), with_service(gated(), "coder", port=8044)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_upgrade_stops_what_the_comparison_says(switch: ModuleType, name: str) -> None:
    old, new = (version(replace(plan, targets=("scripts", "systemd"))) for plan in PAIRS[name])
    stack = PAIRS[name][0].stack
    theirs = [importlib.import_module("stack.install.versions").Tree("0" * 12, dict(each.files)) for each in (old, new)]
    wanted = switch.changed_units(stack, *theirs)
    assert sorted(changed_units(stack, old, new)) == sorted(wanted)
    said = {each.unit for each in restarts(old, new) if each.deed in (Deed.STOPS, Deed.RESTARTS) and each.files}
    gone = {each.unit for each in restarts(old, new) if each.deed is Deed.STOPS}
    is_litellm = name == "litellm"
    assert {unit for unit in said | gone if not (is_litellm and "gateway" in unit)} == {
        unit for unit in wanted if not (is_litellm and "gateway" in unit)
    }


def test_a_gateway_reloads_and_litellm_is_started_anew() -> None:
    for kind, deed in (("nginx", Deed.RELOADS), ("litellm", Deed.RESTARTS)):
        plan = replace(gated(kind), targets=("scripts", "systemd"))
        changed = replace(plan, services=(replace(plan.services[0], served_name="else"), *plan.services[1:]))
        found = {each.service: each.deed for each in restarts(version(plan), version(changed))}
        assert found["gateway"] in (deed, Deed.RESTARTS)
        assert restarts(version(plan), version(plan)) == ()


def contained(plan: Plan, *targets: str) -> Version:
    return version(replace(plan, targets=("scripts", *targets)))


def told_of(old: Version, new: Version) -> list[str]:
    (found,) = differences({"duo": old}, {"duo": new})
    return [reason(found, each) for each in found.restarts]


def gateway_changed(kind: str = "nginx") -> tuple[Plan, Plan]:
    """Another list of origins: a file of the gateway's, and no setting of its container."""
    plan = gated(kind)
    assert plan.gateway is not None
    return plan, replace(plan, gateway=replace(plan.gateway, requests_per_second=7))


# Alone on its GPU a server waits for no turn: another volume, and other times.
_ALONE = "coder is recreated by `docker compose up`: compose/compose.yaml changed, the plan did not"
_ALONE_TOO = "coder needs RESTART coder: quadlet/duo-coder.container, bin/launch-coder changed, the plan did not"
ROWS = {
    "a flag": (PAIRS["flags"], ["coder needs RESTART coder: --enable-x"], ["coder needs RESTART coder: --enable-x"]),
    "a port": (
        (gated(), with_service(gated(), "general", port=8044)),
        ["general is recreated by `docker compose up`: port"],
        ["general needs RESTART general: port"],
    ),
    "gone": (
        PAIRS["gone"],
        [_ALONE, "general stops by `docker compose up --remove-orphans`"],
        [_ALONE_TOO, "general needs `systemctl stop duo-general.service`"],
    ),
    "new": (
        PAIRS["new"],
        [_ALONE, "general starts by `docker compose up`"],
        [_ALONE_TOO, "general needs `systemctl start duo-general.service`"],
    ),
    "gateway": (
        gateway_changed(),
        ["gateway needs RESTART gateway: requests per second"],
        ["gateway needs RESTART gateway: requests per second"],
    ),
    "nothing that runs": ((gated(), with_service(gated(), "coder", concurrency=3)), [], []),
}


@pytest.mark.parametrize("name", ROWS)
def test_containers_that_run_on_as_they_were_are_named(name: str) -> None:
    """A flag stands in the launch script alone: `up` leaves that server as it was, and says nothing of it."""
    (old, new), compose, podman = ROWS[name]
    commands = {"compose": "`docker compose restart {0}`", "quadlet": "`systemctl restart duo-{0}.service`"}
    for target, wanted in (("compose", compose), ("quadlet", podman)):
        said = [re.sub(r"RESTART (\w+)", lambda m: commands[target].format(m[1]), line) for line in wanted]  # noqa: B023
        assert told_of(contained(old, target), contained(new, target)) == said
        assert told_of(contained(old, "systemd", target), contained(new, "systemd", target)) != said or not said


def test_compose_compares_what_its_hash_is_made_of() -> None:
    """Of a service all but what Compose leaves out; downloads and preparations run once, and profiles by themselves."""
    old = contained(gated(), "compose")
    path = "compose/compose.yaml"
    for was, now, deeds in (
        ("nofile: 1048576", "nofile: 1024", {"coder": Deed.RECREATED, "general": Deed.RECREATED}),
        ("condition: service_completed_successfully", "condition: service_started", {}),
        ("internal: true", "internal: false", dict.fromkeys(("coder", "general", "gateway"), Deed.RECREATED)),
        ("network_mode: none", "network_mode: host", {}),
    ):
        text = old.files[path].decode()
        assert was in text, was
        new = Version({**old.files, path: text.replace(was, now).encode()})
        assert {each.service: each.deed for each in container_restarts(old, new)} == deeds, was
    broken = Version({**old.files, path: b"services: ["})
    assert container_restarts(old, broken) == container_restarts(broken, old) == ()


def test_programs_learn_who_restarts_a_container() -> None:
    old, new = (contained(plan, "compose") for plan in PAIRS["flags"])
    (restart,) = data(differences({"duo": old}, {"duo": new}))[0]["restarts"]
    assert (restart["by"], restart["deed"], restart["unit"]) == ("compose", "restarts", "coder")
    assert restart["because"] == [["services", "coder", "arguments", "--enable-x"]]


def shared(found: Version, text: bytes) -> Version:
    """The same with another library: its files, and the manifest that lists them."""
    path, digest = "lib/requirements/vllm-0.33.0.txt", sha256(text).hexdigest()
    lines = found.files["SHA256SUMS"].decode().splitlines(keepends=True)
    manifest = "".join(f"{digest}  {path}\n" if line.endswith(f"  {path}\n") else line for line in lines)
    return Version({**found.files, path: text, "lib/SHA256SUMS": text, "SHA256SUMS": manifest.encode()})


def test_another_library_is_one_line_however_many_trees_have_it_and_a_gateway_reloads_as_on_each_upgrade() -> None:
    plan = replace(gated(), targets=("scripts", "systemd"))
    old = {"duo": version(plan), "trio": version(two_on_one_gpu()), "cpu": version(one_on_cpu())}
    new = {name: shared(each, b"other") for name, each in old.items()}
    assert lines(differences(old, new)) == [
        "the library of programs changes: 1 file: requirements/vllm-0.33.0.txt",
        "duo: gateway reloads on upgrade, as on each",
    ]
    assert "0 files" not in markdown(differences(old, new))


def test_trees_that_had_different_libraries_tell_each_change_once() -> None:
    old = {name: shared(version(one_on_cpu()), name[:1].encode()) for name in ("a1", "a2", "b1")}
    new = {name: version(one_on_cpu()) for name in old}
    assert len(differences(old, new)) == 1, "the same files change, whatever they held"
    new["b1"] = Version({**new["b1"].files, "lib/more": b"x"})
    assert [each.files for each in differences(old, new)] == [
        {"requirements/vllm-0.33.0.txt": Kind.CHANGED},
        {"more": Kind.ADDED, "requirements/vllm-0.33.0.txt": Kind.CHANGED},
    ]


def test_nodes_are_compared_one_by_one() -> None:
    files = {f"pair/{node}/{path}": text for node in "ab" for path, text in version(one_on_cpu()).files.items()}
    files["pair/README.md"] = b"x"
    assert sorted(versions_of(files, ())) == ["pair/a", "pair/b"]
