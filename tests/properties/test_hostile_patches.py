"""Whatever stands in `patches`, it is refused with its place, or it can be written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.catalog.compose import SERVICE_KEYS
from compiler.catalog.quadlet import KEYS
from compiler.checks.patches.compose import check_compose_patch
from compiler.checks.patches.quadlet import check_quadlet_patch
from compiler.diagnostics import SourceText
from compiler.engines.registry import ENGINES
from compiler.plan.lowering.operations import lower_patches
from compiler.spec.reading.load import load_spec
from compiler.targets.compose import emit_compose
from compiler.targets.quadlet import emit_quadlet
from tests.unit.plan_samples import two_on_one_gpu

WORDS = ["x-a", "services", "coder", "general", "hf-cache", "After", "Nice", "a b", "$A", "%n", "a\nb", "a\\", "-", ""]
TEXT = st.text(max_size=6) | st.sampled_from([*WORDS, *sorted(SERVICE_KEYS), *sorted(KEYS["Container"])])
VALUES = st.recursive(
    TEXT | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(TEXT, VALUES, max_size=3)
COMPOSE = MAPS | st.builds(lambda service: {"services": {"coder": service}}, MAPS)
QUADLET = st.dictionaries(
    st.sampled_from(["coder", "prefetch", "nobody"]),
    st.dictionaries(st.sampled_from(["Unit", "Container", "Service", "Install", "Else"]), MAPS, max_size=2),
    max_size=2,
)


@settings(max_examples=100)
@given(compose=COMPOSE, quadlet=QUADLET)
def test_a_patch_is_refused_at_its_place_or_written(compose: dict[str, Any], quadlet: dict[str, Any]) -> None:
    names = {"coder": 8001, "general": 8002}
    spec = {
        "stack": "duo",
        "engine": {"vllm": "0.33.0"},
        "nodes": {"a": {"gpus": {"model": "h100-80gb"}}},
        "services": {name: {"model": "org/m", "context": "8K", "port": port} for name, port in names.items()},
        "targets": ["compose", "quadlet"],
        "patches": {"compose": compose, "quadlet": quadlet},
    }
    file, problems = load_spec(SourceText("duo.yaml", json.dumps(spec)), ENGINES)
    if file is None:
        assert problems
        return
    refused = [*check_compose_patch(file, ENGINES), *check_quadlet_patch(file, ENGINES)]
    for diagnostic in refused:
        assert (diagnostic.code, diagnostic.label is not None) == ("E0217", True)
        assert any(help_.edits for help_ in diagnostic.helps)
    if not refused:
        plan = two_on_one_gpu()
        plan = replace(plan, patches=lower_patches(file.spec, plan.services))
        assert emit_compose(plan)
        assert emit_quadlet(plan)
