from __future__ import annotations

import pytest

from compiler.catalog.flags import load_flags
from compiler.spec.engine_instead import _SENTENCES, INSTEAD, instead
from compiler.spec.engine_options import _HARMLESS, DECIDED, decided


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
