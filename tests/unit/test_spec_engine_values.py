"""Values of `engine_args` with which no server starts, or one that answers nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.engines.common.options import Flag, Kind, check_value
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.values import _KEYS, _LISTS, ONE_OF, OTHER, RANGES, check_limits

RELEASES = ("0.33.0", "0.32.0")
NUMBERS = (Kind.INT, Kind.HUMAN_INT, Kind.HUMAN_INT_OR_AUTO, Kind.FLOAT)
# Any text is as good as another: it is shown, or compared with the paths of requests.
FREE = {"--disable-access-log-for-endpoints", "--fingerprint-value"}


def flag(name: str, version: str = "0.33.0") -> Flag:
    found = load_flags(version).find(name)
    assert found is not None
    return found


def passing() -> list[Flag]:
    return [each for version in RELEASES for each in load_flags(version).flags if decided(each) is None]


def test_every_value_that_may_be_given_is_looked_at() -> None:
    """An option that a release adds to those that pass gets its limits, or this fails."""
    tables = RANGES.keys() | ONE_OF.keys() | OTHER.keys() | _KEYS.keys() | set(_LISTS) | FREE
    for each in passing():
        has_words = each.kind in (Kind.SWITCH, Kind.BOOLEAN) or each.choices or each.known or each.registered
        assert has_words or each.name in tables or each.name == "--allowed-local-media-path", each.name
        assert each.kind not in NUMBERS or each.name in RANGES, each.name


def test_limits_are_of_options_that_pass() -> None:
    names = {each.name for each in passing()}
    assert RANGES.keys() | ONE_OF.keys() | OTHER.keys() | _KEYS.keys() | set(_LISTS) <= names


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("seed", [0, 2**32 - 1], [-1, 2**32, 10**20]),
        ("load-format", ["auto", "safetensors"], ["dummy", "bitsandbytes", "gguf", "pt", "mistral", "nonsense", ""]),
        ("stream-interval", [1, 20], [0, -1, 10**20]),
        ("max-num-queued-tokens", [1, "32k", "32K", "1.5k"], [0, "-1", "9999999T"]),
        ("kv-cache-metrics-sample", [0.01, 1, 1.0], [0, 0.0, 1.01, -0.5]),
        ("numa-bind-nodes", [0, [3]], [-1, [-1]]),
        ("numa-bind-cpus", ["0-3", "0,2,4-7", ["8"]], ["a", "0-", "$(id)", "3-0", "0-3,7-4"]),
        ("generation-config", ["auto", "vllm", "/srv/config"], ["here", "./here", "/srv/../etc"]),
        ("chat-template", ["/srv/a.jinja", "{{ messages }}"], ["a.jinja", "chatml", "/srv/../a"]),
        ("tool-parser-plugin", ["/srv/parser.py"], ["parser.py", "../parser.py"]),
        ("otlp-traces-endpoint", ["http://c:4317", "c:4317", "[::1]:4317"], ["", "/", "a b@c d:x"]),
        ("show-hidden-metrics-for-version", ["0.32", "0.32.1"], ["latest", "0"]),
        ("override-generation-config", [{"temperature": 0.2}, '{"top_k": 1}'], [[1], "[1]", '"x"']),
        ("allowed-origins", [["https://a.example.org"], '["*"]'], [{"a": 1}, [1], '{"a": 1}']),
        ("structured-outputs-config", [{"backend": "xgrammar"}], [{"backend": "x"}, {"reasoning_parser_plugin": "/a"}]),
        (
            "structured-outputs-config",
            [{"disable_any_whitespace": False}, {"disable_any_whitespace": True, "backend": "xgrammar"}],
            [
                {"disable_any_whitespace": True},
                {"disable_any_whitespace": True, "backend": "outlines"},
                {"disable_additional_properties": True, "backend": "xgrammar"},
            ],
        ),
        (
            "custom-histogram-buckets",
            [{"request_latency": [0.5, 1]}, '{"request_tokens": [10]}', {}],
            [
                {"latency": [1]},
                {"request_latency": []},
                {"request_latency": 1},
                {"request_latency": [0, 1]},
                {"request_latency": [True, 2]},
                {"request_latency": [2, 1]},
                {"request_latency": [1, 1]},
                {"request_latency": [1, float("inf")]},
            ],
        ),
        ("per-request-spec-decode-metrics", ["none"], ["summary", "detailed"]),
        ("model-loader-extra-config", [{"num_threads": 8}], [{"num_threads": 0}, {"tensorizer_uri": "s3://a"}, "a"]),
        ("tokenizer-mode", ["auto", "mistral"], ["slow", "custom"]),
        ("prefix-caching-hash-algo", ["sha256"], ["xxhash", "xxhash_cbor"]),
        ("safetensors-load-strategy", ["eager"], ["torchao"]),
        ("h11-max-header-count", [256], [0, 1]),
        ("cohere-format", ["cmd3"], ["cmd5"]),
    ],
)
def test_values(name: str, taken: list[Any], refused: list[Any]) -> None:
    for version in RELEASES:
        option = flag(name, version)
        for value in taken:
            assert (check_value(option, value) or check_limits(option, value)) is None, value
        for value in refused:
            assert (check_value(option, value) or check_limits(option, value)) is not None, value
