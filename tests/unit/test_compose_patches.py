"""Patches of the compose file: they add, and change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from compiler.catalog.compose import SERVICE_KEYS, TOP_LEVEL_KEYS
from compiler.checks.patches.compose import FILE_TREE, service_tree
from compiler.checks.patches.tree import Conflict, compare
from compiler.plan.ir import Plan, Service
from compiler.plan.lowering.operations import lower_patches
from compiler.spec.models import Spec
from tests.examples import examples
from tests.unit.compose_reading import PATCH, load, patched_plan, text_of
from tests.unit.container_samples import behind_gateway, every_plan, patched
from tests.unit.plan_samples import (
    one_on_two_gpus,
    two_on_one_gpu,
)


def test_a_patch_stands_beside_what_stackc_writes() -> None:
    plain, file = load(behind_gateway()), load(patched_plan())
    coder = file["services"]["coder"]
    assert coder["labels"] == {"team": "ml", "cost": "a $$HOME of 5%"}, "compose reads $$ as $"
    assert coder["environment"] == plain["services"]["coder"]["environment"] | {"VLLM_LOGGING_LEVEL": "DEBUG"}
    assert coder["logging"]["options"]["tag"] == "{{.Name}}"
    assert coder["deploy"]["resources"]["limits"] == {"memory": "64g"}
    assert coder["volumes"][-1]["target"] == "/etc/ssl/corp.pem"
    assert coder["depends_on"]["vault"] == {"condition": "service_started"}
    assert file["services"]["vault"]["image"] == "hashicorp/vault:1.20.0"
    assert file["networks"]["backend"]["internal"] is True
    assert file["volumes"]["hf-cache"]["driver_opts"]["type"] == "nfs"
    assert file["x-team"] == PATCH["x-team"]


def test_a_patch_takes_nothing_away() -> None:
    def without(added: Any, plain: Any) -> Any:
        if isinstance(plain, dict):
            assert plain.keys() <= added.keys()
            return {key: without(added[key], plain[key]) for key in plain}
        return added[: len(plain)] if isinstance(plain, list) else added

    plain = load(behind_gateway())
    assert without(load(patched_plan()), plain) == plain


def merged(base: Any, patch: Any) -> Any:
    """What a patch must come to: maps grow, lists grow at their end, values get `$$` for `$`."""
    if isinstance(patch, dict):
        base = base if isinstance(base, dict) else {}
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(patch, list):
        return (base or []) + [merged(None, item) for item in patch]
    return patch.replace("$", "$$") if isinstance(patch, str) else patch


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
WORDS = st.sampled_from(["labels", "tag", "max-size", "limits", "resources", "options", "NEW", "HOME", "nproc", "core"])
VALUES = st.recursive(
    TEXT | st.integers(-9, 9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS | TEXT, inner, max_size=2),
    max_leaves=6,
)
SERVICE_PATCHES = st.dictionaries(st.sampled_from(sorted(SERVICE_KEYS)), VALUES, max_size=4)


@examples(5, suppress_health_check=[HealthCheck.filter_too_much])
@given(patch=st.dictionaries(st.sampled_from(["big", "prefetch"]), SERVICE_PATCHES, min_size=1))
def test_a_patch_that_passes_is_merged_and_changes_nothing_else(patch: dict[str, Any]) -> None:
    plan = one_on_two_gpus()
    base = load(plan)
    trees = {name: service_tree(name, base["services"]) or {} for name in patch}
    assume(not any(isinstance(found, Conflict) for name in patch for found in compare(patch[name], trees[name])))
    assert load(patched(plan, compose={"services": patch})) == merged(base, {"services": patch})


def test_a_reader_sees_what_a_patch_brought() -> None:
    assert text_of(patched_plan()).count("# From `patches.compose` of the spec.") == 12
    assert "patches.compose" not in text_of(behind_gateway())


def paths_of(data: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(data, dict) or not data:
        return [path]
    return [found for key, value in data.items() for found in paths_of(value, (*path, key))]


@pytest.mark.parametrize("plan", every_plan(), ids=lambda plan: plan.stack)
def test_nothing_that_is_written_can_be_patched_away(plan: Plan) -> None:
    """A key that the templates learn to write must come into the table, or a patch would give it a second time."""
    services = load(plan)["services"]
    for name, service in services.items():
        tree = service_tree(name, services)
        assert tree is not None
        for path in paths_of(service):
            patch: Any = "changed"
            for key in reversed(path):
                patch = {key: patch}
            assert all(isinstance(found, Conflict) for found in compare(patch, tree)), (name, path)
    assert {"name", "secrets", "networks", "volumes"} <= FILE_TREE.keys()
    for section in ("secrets", "networks", "volumes"):
        assert load(plan).get(section, {}).keys() <= FILE_TREE[section].keys()  # type: ignore[union-attr]


def test_the_tables_hold_keys_of_the_specification() -> None:
    import check_jsonschema  # noqa: PLC0415

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    definitions = schema["$defs"]
    known = {key for part in ("service", "container_spec", "workload_spec") for key in definitions[part]["properties"]}
    assert known >= SERVICE_KEYS
    assert known - SERVICE_KEYS <= {"umask"}, "new in the specification: decide whether stackc lets it pass"
    assert schema["properties"].keys() >= TOP_LEVEL_KEYS


def test_a_service_of_another_node_is_no_container_here() -> None:
    """Its patch would become a container of its own, without an image."""
    node = {"gpus": {"model": "h100-80gb"}}
    service = {"model": "org/m", "context": "8K", "port": 8000}
    spec = Spec.model_validate(
        {
            "stack": "pair",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"a": node, "b": node},
            "services": {"here": {**service, "node": "a"}, "there": {**service, "node": "b"}},
            "patches": {
                "compose": {"services": {"here": {"labels": {}}, "there": {"labels": {}}, "own": {"image": "x:1"}}},
                "systemd": {"there": {"Service": {"Nice": "5"}}},
            },
        }
    )
    here: Service = replace(two_on_one_gpu().service("coder"), name="here")
    patches = lower_patches(spec, [here])
    assert (list(patches.compose["services"]), list(patches.systemd)) == (["here", "own"], [])


def test_a_patch_in_another_order_is_the_same_file() -> None:
    def lowered(patch: dict[str, Any]) -> Plan:
        data = {
            "stack": "duo",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"a": {"gpus": {"model": "h100-80gb"}}},
            "services": {"coder": {"model": "org/m", "context": "8K", "port": 8000}},
            "patches": {"compose": patch},
        }
        plan = two_on_one_gpu()
        return replace(plan, patches=lower_patches(Spec.model_validate(data), plan.services))

    services = {"coder": {"labels": {"b": "1", "a": "2"}, "cpus": 4}, "zed": {"image": "z:1"}, "own": {"image": "o:1"}}
    backwards = {name: dict(reversed(list(keys.items()))) for name, keys in reversed(list(services.items()))}
    forth, back = {"x-b": 1, "x-a": 2, "services": services}, {"services": backwards, "x-a": 2, "x-b": 1}
    assert text_of(lowered(forth)) == text_of(lowered(back))
