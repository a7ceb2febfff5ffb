"""Whatever a key of config.json holds in a lock, judging it ends in a plan or a reason, headers or none."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import Lock, LockedService, ModelFacts, TensorFacts
from compiler.solve.judgements import judge_stack
from compiler.solve.stack import attempt_stack
from compiler.spec.models import Spec
from tests.unit.test_engine_counts import CASES
from tests.unit.test_headers_against_config import FAMILIES

ABSURD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 1024, 4096, 2**31 - 1, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "x",
    [], [[]], [1, 2], {}, {"a": []},
]  # fmt: skip
SPEC = Spec.model_validate({
    "stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": {"model": "h100-80gb", "count": 2}}},
    "services": {"s": {"model": "a/b", "quantization": "auto", "context": "2K", "port": 8001, "task": "completion"}},
    "policy": {"trust_remote_code": "allow", "gated": "allow", "margin": "allow"}, "targets": ["scripts"],
})  # fmt: skip


def tensors(config: dict[str, Any], block: dict[str, Any] | None) -> TensorFacts:
    quantization = read_quantization(block["quant_method"], block, config) if block is not None else None
    architecture = read_architecture(config)
    kinds = expected_tensors(architecture, quantization)
    check_headers(architecture, quantization, kinds)
    total = sum(math.prod(kind.shape) * kind.count * dtype_bytes(kind.dtype) for kind in kinds)
    return TensorFacts(digest="sha256:0", total_bytes=total, kinds=kinds)


def judged(config: dict[str, Any], block: dict[str, Any] | None, held: TensorFacts | None) -> None:
    facts = ModelFacts(
        source="folder", config=config, quantization=block, tensors=held, unconfirmed=() if held else ("tensors",)
    )
    service = LockedService(model="a/b", quantization=("auto",), candidates=("a/b",))
    lock, release = Lock(schema=1, services={"s": service}, models={"a/b": facts}), RELEASES["0.33.0"]
    found = attempt_stack(SPEC, lock, pinned(release))
    (row,) = judge_stack(SPEC, lock, pinned(release), found if isinstance(found, dict) else {})["s"]
    assert row.reason


def changed(value: dict[str, Any], at: int, absurd: Any) -> dict[str, Any]:
    found = copy.deepcopy(value)
    found[sorted(found)[at % len(found)]] = absurd
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 200), st.sampled_from(ABSURD), st.booleans(), st.booleans())
def test_an_absurd_value_is_a_reason_and_no_traceback(
    name: str, at: int, absurd: Any, of_block: bool, read: bool
) -> None:
    config, block = FAMILIES[name]
    held = tensors(config, block) if read else None
    if of_block and block is not None:
        judged(config, changed(block, at, absurd), held)
    else:
        judged(changed(config, at, absurd), block, held)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 200), st.sampled_from(ABSURD), st.booleans())
def test_readers_refuse_what_they_cannot_follow(name: str, at: int, absurd: Any, nested: bool) -> None:
    config = copy.deepcopy(CASES[name]["config"])
    maps = [value for value in config.values() if isinstance(value, dict) and value]
    place = maps[at % len(maps)] if nested and maps else config
    place[sorted(place)[at % len(place)]] = absurd
    with suppress(ConfigError, UnsupportedArchitectureError, SplitError):
        architecture = read_architecture(config)
        check_split(architecture, None, Parallelism(2))
        rank_weights(architecture, None, Parallelism(2), served_dtype="bfloat16")
