"""Which options of llama-server a spec may set, with which values, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.llama_cpp.options.catalog import Flag, check_value, load_flags, render

FLAGS = load_flags("b10434")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(("", "x", "1", "on", "{}", "a,b"))
ANYTHING = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(("a", "b")), SCALARS, max_size=2)


def find(name: str) -> Flag:
    flag = FLAGS.find(name)
    assert flag is not None, name
    return flag


@pytest.mark.parametrize("name", ["ctx-size", "ctx_size", "--ctx-size", "-c"])
def test_every_spelling_of_a_name_finds_it(name: str) -> None:
    assert find(name).name == "--ctx-size"


def test_what_the_program_says_of_an_option_is_known() -> None:
    flag = find("cache-type-k")
    assert flag.environment == "LLAMA_ARG_CACHE_TYPE_K"
    assert flag.default == "f16"
    assert "q8_0" in flag.choices
    assert find("mlock").is_deprecated
    assert find("parallel").default == -1
    assert find("kv-unified").default is None, "it depends on another option"


@pytest.mark.parametrize(
    ("name", "nearest", "hint"),
    [
        ("ctx-sise", "--ctx-size", None),
        ("no-mmap", "--mmap", "write `mmap: false`"),
        ("nkvo", "", None),
        ("-nkvo", "--kv-offload", "write `kv-offload: false`"),
        ("draft-max", "--spec-draft-n-max", "llama.cpp removed it: use --spec-draft-n-max or --spec-ngram-mod-n-max"),
    ],
)
def test_a_name_that_is_not_there_leads_to_one_that_is(name: str, nearest: str, hint: str | None) -> None:
    assert FLAGS.find(name) is None
    assert "".join(FLAGS.nearest(name)[:1]) == nearest
    assert FLAGS.hint(name) == hint


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ctx-size", 8192, ("--ctx-size", "8192")),
        ("gpu-layers", "all", ("--gpu-layers", "all")),
        ("gpu-layers", 12, ("--gpu-layers", "12")),
        ("metrics", True, ("--metrics",)),
        ("mmap", False, ("--no-mmap",)),
        ("kv-offload", False, ("--no-kv-offload",)),
        ("flash-attn", "on", ("--flash-attn", "on")),
        ("tensor-split", [3, 1.5], ("--tensor-split", "3,1.5")),
        ("tensor-split", "3,1", ("--tensor-split", "3,1")),
        ("device", ["CUDA0", "CUDA1"], ("--device", "CUDA0,CUDA1")),
        ("control-vector-layer-range", [1, 2], ("--control-vector-layer-range", "1", "2")),
        ("chat-template-kwargs", {"b": 1, "a": "ä"}, ("--chat-template-kwargs", '{"a":"ä","b":1}')),
        ("temp", 0.5, ("--temp", "0.5")),
    ],
)
def test_a_value_is_written_as_the_parser_reads_it(name: str, value: object, words: tuple[str, ...]) -> None:
    assert check_value(find(name), value) is None
    assert render(find(name), value) == words


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ctx-size", "8192", "whole number"),
        ("ctx-size", 1.5, "whole number"),
        ("ctx-size", True, "whole number"),
        ("ctx-size", 2**31, "32 bits"),
        ("ctx-size", None, "needs a value"),
        ("gpu-layers", "most", "auto or all"),
        ("metrics", False, "only be switched on"),
        ("mmap", "no", "true or false"),
        ("flash-attn", "enabled", "one of on, off, auto"),
        ("flash-attn", True, "quotes"),
        ("cache-type-k", "q3", "one of f32"),
        ("tensor-split", [], "one value or more"),
        ("tensor-split", "3,x", "a number"),
        ("tensor-split", [float("nan")], "a number"),
        ("device", ["CUDA0,CUDA1"], "comma"),
        ("control-vector-layer-range", [1], "two values"),
        ("chat-template-kwargs", [1], "a mapping"),
        ("chat-template-kwargs", "[" * 100_000, "a mapping"),
        ("alias", "a\0b", "text"),
    ],
)
def test_a_value_that_the_parser_would_refuse_or_misread_is_refused(name: str, value: object, reason: str) -> None:
    said = check_value(find(name), value)
    assert said is not None
    assert reason in said


@given(st.sampled_from(FLAGS.flags), ANYTHING)
def test_what_is_accepted_is_written_as_words_that_a_command_line_holds(flag: Flag, value: object) -> None:
    if check_value(flag, value) is None:
        words = render(flag, value)
        assert words[0].startswith("--")
        assert all(isinstance(word, str) and "\0" not in word for word in words)


def test_a_build_that_is_not_in_the_catalogue_is_no_option_at_all() -> None:
    with pytest.raises(FileNotFoundError):
        load_flags("b1")
