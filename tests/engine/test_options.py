"""Whatever value of an option may be given, vLLM's own configuration takes it; what it refuses is refused here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.engines.common.options import Flag, Kind, check_value, render
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.check import _REQUIRES
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.values import RANGES, check_limits
from tests.engine.engine_process import GPU_RELEASE
from tests.engine.test_planner import QWEN3, answers

pytestmark = pytest.mark.engine

RELEASE = GPU_RELEASE
# Values of options whose catalog lists none.
VALUES: dict[str, tuple[Any, ...]] = {
    "--custom-histogram-buckets": ({"request_latency": [0.5, 2]}, {"request_latency": [2, 1]}, {"latency": [1]}),
    "--model-loader-extra-config": ({"enable_multithread_load": True, "num_threads": 4},),
    "--numa-bind-cpus": ("0-3", "3-0"),
    "--otlp-traces-endpoint": ("http://collector:4317",),
    "--override-generation-config": ({"temperature": 0.2},),
    "--show-hidden-metrics-for-version": ("0.32",),
    "--structured-outputs-config": (
        {"backend": "guidance", "disable_additional_properties": True},
        {"backend": "xgrammar", "disable_any_whitespace": True},
        {"backend": "outlines", "disable_any_whitespace": True},
        {"disable_additional_properties": True},
        {"enable_in_reasoning": True},
    ),
}
# Only these depend on more than themselves: of a context of 32K, and of a model that is asked about.
LARGEST = {"--long-prefill-token-threshold": 32768}


def values_of(flag: Flag) -> Iterator[Any]:
    """What to try of an option."""
    if flag.kind in (Kind.SWITCH, Kind.BOOLEAN):
        yield from (True, False)
    yield from (*flag.choices, *flag.known, *VALUES.get(flag.name, ()))
    if flag.name in RANGES:
        limits = RANGES[flag.name]
        yield from (limits.low, 0.5) if limits.above else (int(limits.low) - 1, int(limits.low))
        yield LARGEST.get(flag.name, limits.high if limits.above else int(limits.high))


def words_of(flag: Flag, value: Any) -> list[str]:
    """The option as it is emitted, beside what it needs."""
    name, text = render(flag, value)
    needed = _REQUIRES.get(flag.name) if value is not False else None
    beside = [] if needed is None else [needed, *VALUES.get(needed, ())[:1]]
    return [*beside, name, *([] if text is None else [text])]


def tried() -> Iterator[tuple[list[str], bool]]:
    """Options as words, and whether stackc takes them."""
    for flag in load_flags(RELEASE).flags:
        for value in values_of(flag) if decided(flag) is None else ():
            if check_value(flag, value) is None:
                yield words_of(flag, value), check_limits(flag, value) is None


def test_what_is_taken_here_the_engine_takes_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN3))
    asked = list(tried())
    questions = [
        {
            "folder": str(tmp_path),
            "capability": "9.0",
            "memory": 80 * 2**30,
            "arguments": ["--max-model-len", "32768", *words],
            "only_configured": True,
        }
        for words, _ in asked
    ]
    refused = {
        " ".join(words): answer["error"]
        for (words, is_taken), answer in zip(asked, answers(questions, tmp_path), strict=True)
        if answer["error"] is not None and is_taken
    }
    assert len(asked) > 150
    assert refused == {}
