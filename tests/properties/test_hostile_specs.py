"""Any spec ends in a plan or in diagnostics with places, never in a traceback."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.pipeline import compile_stack
from tests.conftest import ROOT

BASE: dict[str, Any] = YAML(typ="safe").load((ROOT / "stacks" / "coder-96gb.yaml").read_text())

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        ["16K", "16k", "0", "-1K", "99999M", "1GiB", "1e3GiB", "auto", "fp8", "none", "awq", "allow", "a10", "l40s",
         "0.32.0", "/srv/models/x", "org/name", "127.0.0.1", "::1", "localhost", "8000", "systemd",
         "max", "3g.40gb"]
    ),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def paths(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [at, *(path for key, value in below for path in paths(value, (*at, key)))]


# Keys that the base spec leaves out, so that they are tried as well.
EXTRA = [
    *(("services", "coder", key) for key in (
        "task", "host", "served_name", "kv_cache_dtype", "gpus", "tensor_parallel_size", "max_num_seqs",
        "max_num_batched_tokens", "share", "engine_args",
        "pipeline_parallel_size", "expert_parallel", "context", "concurrency", "node",
    )),
    ("nodes", "gpu02"), ("nodes", "gpu02", "gpus"), ("nodes", "gpu02", "gpus", "model"),
    ("nodes", "gpu01", "cpu"), ("nodes", "gpu01", "gpus", "memory"), ("nodes", "gpu01", "gpus", "compute_capability"),
    ("nodes", "gpu01", "gpus", "uuids"), ("nodes", "gpu01", "gpus", "mig"),
    ("engine", "image"), ("paths",), ("policy", "margin"),
    ("services", "coder", "engine_args", "enforce_eager"), ("services", "coder", "engine_args", "seed"),
    ("services", "coder", "context", "min"), ("services", "general", "concurrency", "max"),
]  # fmt: skip
places = st.sampled_from([path for path in paths(BASE) if path] + EXTRA)
edits = st.lists(st.tuples(places, values), min_size=1, max_size=3)


def edited(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    data = copy.deepcopy(BASE)
    for path, value in changes:
        target: Any = data
        for part in path[:-1]:
            step = target.get(part) if isinstance(target, dict) else None
            if step is None and isinstance(target, dict):
                step = target[part] = {}
            target = step
        if isinstance(target, dict):
            target[path[-1]] = value
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("specs")
    shutil.copy(ROOT / "stacks" / "coder-96gb.lock.yaml", made)
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits)
def test_any_change_of_a_spec_compiles_or_is_explained(
    folder: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    spec = folder / "coder-96gb.yaml"
    spec.write_text(json.dumps(edited(changes)))
    compiled, found = compile_stack(spec, "coder-96gb.yaml")
    assert (compiled is None) == any(diagnostic.code.startswith("E") for diagnostic in found)
    assert all(diagnostic.label is not None for diagnostic in found)
