from __future__ import annotations

from typing import Any

import pytest

from compiler.diagnostics import Help, SourceText
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.check import check_engine_args
from compiler.engines.vllm.options.decided import _HARMLESS, DECIDED, decided
from compiler.engines.vllm.options.instead import _SENTENCES, INSTEAD, instead
from compiler.solve.solve import apply_edits
from compiler.spec.reading.load import load_spec


@pytest.mark.parametrize(
    "name",
    [
        "spec-model",
        "speculative-config",
        "max-lora-rank",
        "cpu-offload-params",
        "data-parallel-size-local",
        "enable-dbo",
        "max-logprobs",
        "disable-sliding-window",
        "enable-chunked-prefill",
        "kv-cache-dtype-skip-layers",
        "limit-mm-per-prompt",
        "optimization-level",
        "quantization-config",
    ],
)
def test_an_option_that_the_ledger_does_not_follow_is_refused(name: str) -> None:
    """Passed through, each of them could make a stack that was proven to fit run out of memory."""
    flag = load_flags("0.33.0").find(name)
    assert flag is not None
    assert decided(flag) is not None


@pytest.mark.parametrize("name", ["enable-prefix-caching", "enforce-eager", "seed", "tool-call-parser", "log-level"])
def test_an_option_that_changes_no_byte_is_the_user_s(name: str) -> None:
    flag = load_flags("0.33.0").find(name)
    assert flag is not None
    assert decided(flag) is None


@pytest.mark.parametrize("version", ["0.33.0", "0.32.0"])
def test_every_refused_option_says_what_holds_instead(version: str) -> None:
    """A key of the spec, a sentence, or vLLM's own default: never only that it must go."""
    for flag in load_flags(version).flags:
        why = decided(flag)
        assert why is None or why.key is not None or instead(flag), flag.name


def test_sentences_are_of_refused_options_and_each_option_has_one() -> None:
    flags = {flag.name: flag for version in ("0.33.0", "0.32.0") for flag in load_flags(version).flags}
    for name in INSTEAD:
        why = decided(flags[name])
        assert why is not None, name
        assert why.key is None, name
    assert len(INSTEAD) == sum(len(options) for options in _SENTENCES.values())


def test_every_named_option_exists_in_a_release() -> None:
    """A misspelt row would protect nobody, and a misspelt harmless one would refuse what runs."""
    known = {flag.name for version in ("0.33.0", "0.32.0") for flag in load_flags(version).flags}
    # The parser takes the model as a positional, and keeps this spelling as an alias only.
    assert (DECIDED.keys() | _HARMLESS) - known <= {"--model"}


def decided_helps(argument: str, keys: str = "") -> tuple[dict[str, Any], tuple[Help, ...]]:
    """A service that gives an option in `engine_args`: the spec's data, and what the message offers."""
    text = "stack: x\nengine: {vllm: 0.33.0}\nnodes: {n: {gpus: {model: h100-80gb}}}\nservices:\n"
    text += f"  chat: {{model: a/b, context: 16K, port: 8000{keys}, engine_args: {{{argument}}}}}\n"
    file, _ = load_spec(SourceText("x.yaml", text), ENGINES)
    assert file is not None
    found = [each for each in check_engine_args(file, "chat") if each.code == "E0501"]
    return file.document.data, found[0].helps


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("max_model_len: 4096", "context", 4096),
        ("max-num-seqs: 12", "max_num_seqs", 12),
        ("max_num_batched_tokens: 4096", "max_num_batched_tokens", 4096),
        ("kv_cache_dtype: fp8", "kv_cache_dtype", "fp8"),
        ("enable_expert_parallel: true", "expert_parallel", True),
        ("tensor_parallel_size: 2", "tensor_parallel_size", 2),
        ("served_model_name: bot", "served_name", "bot"),
    ],
)
def test_what_a_key_says_comes_first_and_takes_the_value_along(argument: str, key: str, value: object) -> None:
    """Removed alone, as the first help once said, the option's value was lost, and an editor's quick fix lost it."""
    data, helps = decided_helps(argument)
    assert [help_.text.split(" `")[0] for help_ in helps] == ["say it with", "remove"]
    changed = apply_edits(data, helps[0].edits)["services"]["chat"]
    assert (changed[key], changed["engine_args"]) == (value, {})
    assert f"`{key}: {str(value).lower() if value is True else value}`" in helps[0].text


@pytest.mark.parametrize(
    "argument", ["max_model_len: 16k", "kv_cache_dtype: fp8_e5m2", "max_num_seqs: 0", "host: 0.0.0.0", "model: c/d"]
)
def test_a_value_that_the_key_does_not_take_so_is_not_put_there(argument: str) -> None:
    """`16k` is 16000 to vLLM; another host needs a key, and another model a lock: an edit would be no mend."""
    _, helps = decided_helps(argument)
    assert helps[0].text.startswith("say it with `")
    assert not helps[0].edits
