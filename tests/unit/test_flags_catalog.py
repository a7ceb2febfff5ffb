"""The catalog of `vllm serve` options: finding one, and checking and writing its value."""

from __future__ import annotations

import json

import pytest

from compiler.engines.common.options import Flag, FlagCatalog, Kind, Many, check_value, render
from compiler.engines.vllm.options.catalog import REMOVED, load_flags

VERSIONS = ("0.32.0", "0.33.0")


@pytest.fixture(params=VERSIONS)
def catalog(request: pytest.FixtureRequest) -> FlagCatalog:
    return load_flags(request.param)


def flag(name: str) -> Flag:
    found = load_flags("0.33.0").find(name)
    assert found is not None
    return found


def test_every_flag_of_a_release_has_a_name_of_its_own(catalog: FlagCatalog) -> None:
    spellings = [spelling for one in catalog.flags for spelling in (one.name, *one.aliases, *one.off)]
    assert len(spellings) == len(set(spellings))
    assert [one.name for one in catalog.flags] == sorted(one.name for one in catalog.flags)
    assert len(catalog.flags) > 300


def test_only_booleans_can_be_switched_off(catalog: FlagCatalog) -> None:
    for one in catalog.flags:
        assert bool(one.off) == (one.kind is Kind.BOOLEAN), one.name


def test_an_unknown_release_has_no_catalog() -> None:
    with pytest.raises(FileNotFoundError):
        load_flags("0.0.1")


def test_a_catalog_is_read_once() -> None:
    assert load_flags("0.33.0") is load_flags("0.33.0")


@pytest.mark.parametrize(
    "name", ["tensor_parallel_size", "tensor-parallel-size", "--tensor-parallel-size", "--tensor_parallel_size", "-tp"]
)
def test_finds_every_spelling(name: str) -> None:
    assert flag(name).name == "--tensor-parallel-size"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_modl_len", "--max-model-len"),
        ("gpu_memory_utilisation", "--gpu-memory-utilization"),
        ("no_enable_lora", "--enable-lora"),
        ("disable-log-requests", "--enable-log-requests"),
        ("compilation_config.mode", "--compilation-config"),
        ("swap_space", "--kv-offloading-size"),
        ("rope-scaling", "--hf-overrides"),
        ("task", "--runner"),
    ],
)
def test_leads_from_an_unknown_name_to_a_real_one(name: str, nearest: str) -> None:
    catalog = load_flags("0.33.0")
    assert catalog.find(name) is None
    assert catalog.nearest(name)[0] == nearest


def test_says_nothing_about_a_name_like_no_other(catalog: FlagCatalog) -> None:
    assert catalog.nearest("qqqq") == ()
    assert catalog.hint("qqqq") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("no-enable-lora", "write `enable-lora: false`"),
        ("swap_space", "nothing was ever swapped"),
        ("compilation-config.mode", "write the keys of `compilation-config` as a mapping"),
    ],
)
def test_hints_at_another_way_to_write_it(name: str, hint: str) -> None:
    assert hint in (load_flags("0.33.0").hint(name) or "")


def test_removed_options_are_gone_and_their_replacements_exist(catalog: FlagCatalog) -> None:
    for name, removal in REMOVED.items():
        assert catalog.find(name) is None, name
        assert catalog.nearest(name) == removal.replacements
        assert removal.source


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("enforce-eager", True, ("--enforce-eager", None)),
        ("enforce-eager", False, ("--no-enforce-eager", None)),
        ("enable-prefix-caching", False, ("--no-enable-prefix-caching", None)),
        ("disable-log-stats", True, ("--disable-log-stats", None)),
        ("block-size", 32, ("--block-size", "32")),
        ("block-size", -1, ("--block-size", "-1")),
        ("cpu-offload-gb", 2, ("--cpu-offload-gb", "2")),
        ("cpu-offload-gb", 0.5, ("--cpu-offload-gb", "0.5")),
        ("max-num-batched-tokens", "8K", ("--max-num-batched-tokens", "8K")),
        ("max-num-batched-tokens", "25.6k", ("--max-num-batched-tokens", "25.6k")),
        ("max-model-len", "auto", ("--max-model-len", "auto")),
        ("tool-call-parser", "hermes", ("--tool-call-parser", "hermes")),
        ("runner", "pooling", ("--runner", "pooling")),
        ("max-lora-rank", 64, ("--max-lora-rank", "64")),
        ("hf-token", True, ("--hf-token", None)),
        ("lora-modules", ["sql=/srv/sql"], ("--lora-modules", "sql=/srv/sql")),
        ("lora-modules", "sql=/srv/sql", ("--lora-modules", "sql=/srv/sql")),
        ("middleware", ["a.b"], ("--middleware", "a.b")),
        ("limit-mm-per-prompt", {"video": 0, "image": 2}, ("--limit-mm-per-prompt", '{"image":2,"video":0}')),
        ("allowed-origins", ["https://a.example"], ("--allowed-origins", '["https://a.example"]')),
        ("speculative-config", '{"method": "ngram"}', ("--speculative-config", '{"method": "ngram"}')),
        ("hf-overrides", {"rope_theta": 1e6}, ("--hf-overrides", '{"rope_theta":1000000.0}')),
        ("hf-overrides", "pkg.fn", ("--hf-overrides", "pkg.fn")),
    ],
)
def test_writes_what_it_accepts(name: str, value: object, words: tuple[str, str | None]) -> None:
    assert check_value(flag(name), value) is None
    assert render(flag(name), value) == words


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("enforce-eager", "yes", "true or false"),
        ("enforce-eager", 1, "true or false"),
        ("disable-log-stats", False, "only be switched on"),
        ("block-size", None, "needs a value"),
        ("block-size", "32", "a whole number"),
        ("block-size", True, "a whole number"),
        ("block-size", 1.5, "a whole number"),
        ("block-size", [32], "a whole number"),
        ("max-num-batched-tokens", "1.5K", "suffix"),
        ("max-num-batched-tokens", "auto", "suffix"),
        ("max-model-len", "long", "auto"),
        ("cpu-offload-gb", "2", "a number"),
        ("cpu-offload-gb", float("nan"), "a number"),
        ("tool-call-parser", 7, "in quotes"),
        ("runner", "train", "one of auto, draft, generate, pooling"),
        ("max-lora-rank", 7, "one of 1, 8, 16"),
        ("lora-modules", [], "exactly one"),
        ("lora-modules", ["a=b", "c=d"], "exactly one"),
        ("lora-modules", [["a=b"]], "each entry"),
        ("lora-modules", [3], "in quotes"),
        ("limit-mm-per-prompt", "{image: 2}", "JSON in quotes"),
        ("limit-mm-per-prompt", {"image": float("inf")}, "JSON in quotes"),
        ("limit-mm-per-prompt", 3, "JSON in quotes"),
        ("hf-overrides", ["a"], "text or a mapping"),
    ],
)
def test_says_why_a_value_is_not_taken(name: str, value: object, reason: str) -> None:
    assert reason in (check_value(flag(name), value) or "")


def test_every_default_that_is_a_value_is_accepted(catalog: FlagCatalog) -> None:
    for one in catalog.flags:
        if one.default is None or one.kind is Kind.SWITCH or isinstance(one.default, list):
            continue
        assert check_value(one, one.default) is None, (one.name, one.default)


def test_json_is_one_word_whatever_it_holds() -> None:
    value = {"text": 'it\'s "quoted"\nand has $HOME', "n": None}
    _, word = render(Flag("--x", Kind.JSON), value)
    assert word is not None
    assert json.loads(word) == value
    assert "\n" not in word


def test_a_repeated_option_is_named_as_such() -> None:
    assert flag("middleware").many is Many.REPEATED
