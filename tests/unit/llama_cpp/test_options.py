"""`engine_args` of llama.cpp: what a spec may give, and that nothing passes which nobody has looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.llama_cpp.host.facts import HOST_FILE_OPTIONS
from compiler.engines.llama_cpp.options.catalog import Flag, Kind, load_flags
from compiler.engines.llama_cpp.options.check import check_engine_args
from compiler.engines.llama_cpp.options.decided import DECIDED, HARMLESS, decided
from compiler.engines.llama_cpp.options.values import RANGES, check_limits
from compiler.engines.registry import ENGINES
from compiler.spec.reading.load import load_spec

FLAGS = load_flags("b10434").flags


def found(arguments: Mapping[str, Any], features: str = "[]") -> list[Diagnostic]:
    text = f"""\
stack: s
engine: {{llama.cpp: b10434}}
nodes: {{n: {{cpu: {{memory: 8GiB}}}}}}
services:
  chat: {{model: a/b-GGUF, context: 4K, port: 8000, features: {features}, engine_args: {dict(arguments)!r}}}
""".replace("True", "true").replace("False", "false")
    file, problems = load_spec(SourceText("s.yaml", text), ENGINES)
    assert file is not None, problems
    return list(check_engine_args(file, "chat"))


def test_each_option_was_looked_at_once() -> None:
    names = {flag.name for flag in FLAGS if not flag.is_removed and flag.group != "speculative"}
    assert DECIDED.keys() | HARMLESS == names
    assert not DECIDED.keys() & HARMLESS


def test_an_option_that_nobody_looked_at_is_refused() -> None:
    assert decided(Flag("--brand-new", Kind.SWITCH, group="common")) is not None
    assert decided(replace(FLAGS[0], name="--spec-draft-new", group="speculative")) is not None


def test_options_that_name_files_of_the_host_are_given_to_containers() -> None:
    passed = {"--chat-template-file", "--grammar-file", "--json-schema-file"}
    assert passed == set(HOST_FILE_OPTIONS)
    assert passed <= HARMLESS


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fit", "on", "lower the context or the layers"),
        ("rpc", "10.0.0.1:50052", "other machines"),
        ("models-dir", "/srv/models", "router"),
        ("api-key", "secret", "shows in `ps`"),
        ("hf-repo", "a/b", "downloads nothing"),
        ("mcp-servers-json", "{}", "other programs"),
        ("slot-save-path", "/srv", "files of the host"),
        ("swa-full", True, "memory"),
        ("spec-type", "draft-mtp", "a draft takes memory"),
        ("context-shift", True, "CVE-2026-21869"),
        ("gpt-oss-20b-default", True, "downloads nothing"),
    ],
)
def test_refused(key: str, value: object, said: str) -> None:
    (diagnostic,) = found({key: value})
    assert diagnostic.code == "E0501"
    assert said in diagnostic.message


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("n_gpu_layers", 20, "`gpu_layers: 20`"),
        ("-ngl", "all", "`gpu_layers: all`"),
        ("n-cpu-moe", 3, "`cpu_moe: 3`"),
        ("ctk", "q8_0", "`kv_cache_dtype: q8_0`"),
        ("batch-size", 1024, "`max_num_batched_tokens: 1024`"),
        ("alias", "chat", "`served_name: chat`"),
    ],
)
def test_a_key_of_the_service_says_it(key: str, value: object, written: str) -> None:
    (diagnostic,) = found({key if key != "ctk" else "-ctk": value})
    assert diagnostic.code == "E0501"
    assert written in diagnostic.helps[0].text
    assert diagnostic.helps[0].edits


@pytest.mark.parametrize(("key", "value"), [("ctx-size", 4096), ("cpu-moe", True), ("gpu-layers", -1), ("alias", 7)])
def test_a_value_that_means_something_else_is_not_moved(key: str, value: object) -> None:
    (diagnostic,) = found({key: value})
    assert not diagnostic.helps[0].edits


def test_what_is_passed() -> None:
    given = {"temp": 0.2, "threads": 8, "jinja": True, "chat-template-file": "/srv/t.jinja", "slots": False}
    assert found(given) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threads", 0),
        ("threads", 513),
        ("cpu-range", "7"),
        ("cpu-mask", "ffx"),
        ("logit-bias", "hello"),
        ("chat-template-file", "t.jinja"),
        ("chat-template-file", "/srv/../etc/t"),
        ("temp", -1),
        ("reasoning-format", "qwen"),
        ("timeout", 0),
    ],
)
def test_values_with_which_no_server_would_start_or_serve(key: str, value: object) -> None:
    (diagnostic,) = found({key: value})
    assert diagnostic.code == "E0503"


@pytest.mark.parametrize(
    ("key", "value", "feature"),
    [("jinja", False, "tools"), ("reasoning-format", "none", "reasoning"), ("skip-chat-parsing", True, "tools")],
)
def test_what_takes_back_a_promised_feature(key: str, value: object, feature: str) -> None:
    (diagnostic,) = found({key: value}, features=f"[{feature}]")
    assert f"`{feature}`, which it takes back" in diagnostic.message
    assert found({key: value}) == []


def test_one_option_has_one_key() -> None:
    codes = [each.code for each in found({"threads": 4, "-t": 4, "no-mmap": True, "draft-max": 4})]
    assert codes == ["E0503", "E0502", "E0502"]


def test_limits_hold_the_defaults() -> None:
    for flag in FLAGS:
        if flag.name in RANGES and flag.default not in (None, -1):
            assert check_limits(flag, flag.default) is None, flag.name
