"""Answers of a source as facts: one format, one copy, and nothing claimed that was not said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from compiler.lock.models import ModelFacts
from compiler.resolve.answers import ConfigError, ListedFile, MalformedError, Repository, plain
from compiler.resolve.candidates import is_variant, leads, trusted_names
from compiler.resolve.reading.facts import read_facts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Memory:
    """Files that are only contents."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents
        self.read_paths: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.read_paths.append(path)
        return self.contents.get(path)

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        content = self.contents.get(path)
        return None if content is None else content[start:stop]


def facts(
    config: Mapping[str, Any] | None = None,
    contents: Mapping[str, Any] | None = None,
    names: tuple[str, ...] = ("model.safetensors",),
    **repository: Any,
) -> ModelFacts:
    held = {"config.json": config or {"model_type": "llama"}, **(contents or {})}
    encoded = {path: value if isinstance(value, bytes) else json.dumps(value).encode() for path, value in held.items()}
    files = tuple(ListedFile(path, 10) for path in (*encoded, *names))
    fields = {"source": "https://huggingface.co", "commit": COMMIT, "license": "mit", "files": files, **repository}
    return read_facts(Repository("a/b", **fields), Memory(encoded))


def paths(known: ModelFacts) -> list[str]:
    return [file.path for file in known.weights]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("model.safetensors", "pytorch_model.bin"), ["model.safetensors"]),
        (("original/consolidated.00.pth", "model.safetensors", "consolidated.safetensors"), ["model.safetensors"]),
        (("pytorch_model-1.bin", "training_args.bin", "optimizer.pt"), ["pytorch_model-1.bin"]),
        (("model.pt", "scheduler.pt"), ["model.pt"]),
        (("b.safetensors", "a.safetensors", "onnx/model.safetensors"), ["a.safetensors", "b.safetensors"]),
    ],
)
def test_weights_are_counted_once(names: tuple[str, ...], expected: list[str]) -> None:
    assert paths(facts(names=names)) == expected


def test_the_index_decides_between_shards_and_a_stray_copy() -> None:
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = {"model.safetensors.index.json": {"weight_map": {"a": shards[0], "b": shards[1]}}}
    assert paths(facts(contents=index, names=(*shards, "model.safetensors"))) == list(shards)
    unread = (*shards, "model.safetensors", "model.safetensors.index.json")
    assert paths(facts(names=unread)) == list(shards)


@pytest.mark.parametrize(
    ("names", "is_read"),
    [
        (("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), False),
        (("model-00001-of-00002.safetensors",), True),
        (("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors"), True),
        (("a-1-of-2.safetensors", "b-2-of-2.safetensors"), True),
        (("a-1-of-1.safetensors", "a-1-of-2.safetensors", "a-2-of-2.safetensors"), True),
        (("model.bin",), False),
    ],
)
def test_the_index_is_read_where_it_may_say_more_than_the_listing(names: tuple[str, ...], is_read: bool) -> None:
    paths = ("config.json", "model.safetensors.index.json", *names)
    memory = Memory({"config.json": b'{"model_type": "llama"}'})
    read_facts(Repository("a/b", "folder", files=tuple(ListedFile(path) for path in paths)), memory)
    assert ("model.safetensors.index.json" in memory.read_paths) is is_read


def test_a_repository_without_weights() -> None:
    with pytest.raises(ConfigError, match="holds no weights"):
        facts(names=("model.onnx",))


def test_a_repository_without_a_listing_claims_nothing() -> None:
    known = facts(files=None, contents={"tokenizer_config.json": {"chat_template": "x"}})
    assert known.weights == ()
    assert known.chat_template == "tokenizer_config.json"
    assert known.unconfirmed == ("files", "tensors")


@pytest.mark.parametrize(
    ("config", "contents", "block", "file"),
    [
        ({"quantization_config": {"bits": 4}}, {"quant_config.json": {"w_bit": 8}}, {"bits": 4}, "config.json"),
        ({"compression_config": {"format": "x"}}, {}, {"format": "x"}, "config.json"),
        ({"text_config": {"quantization_config": {"bits": 4}}}, {}, {"bits": 4}, "config.json"),
        ({"a": 1}, {"quant_config.json": {"w_bit": 4}}, {"w_bit": 4}, "quant_config.json"),
        ({"a": 1}, {"quantize_config.json": {"bits": 4}}, {"bits": 4}, "quantize_config.json"),
        ({"a": 1}, {"hf_quant_config.json": {"quantization": {}}}, {"quantization": {}}, "hf_quant_config.json"),
        ({"a": 1}, {}, None, None),
    ],
)
def test_the_quantization_block_is_found(
    config: dict[str, Any], contents: dict[str, Any], block: dict[str, Any] | None, file: str | None
) -> None:
    known = facts(config, contents)
    assert (known.quantization, known.quantization_file) == (block, file)
    assert "quantization_config" not in json.dumps(known.config)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({"tokenizer_config.json": {"chat_template": "x"}}, "tokenizer_config.json"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "x"}]}}, "tokenizer_config.json"),
        ({"tokenizer_config.json": {}}, None),
        ({"tokenizer_config.json": {}, "chat_template.jinja": b"x"}, "chat_template.jinja"),
        ({"additional_chat_templates/default.jinja": b"x"}, "additional_chat_templates/default.jinja"),
        ({"tokenizer_config.json": {"chat_template": 5}}, None),
        ({"tokenizer_config.json": {"chat_template": [5, {"name": "default"}, {"template": "x"}]}}, None),
        ({}, None),
    ],
)
def test_the_chat_template_is_found(contents: dict[str, Any], expected: str | None) -> None:
    known = facts(contents=contents)
    assert known.chat_template == expected
    assert known.named_templates == ()
    assert "chat_template" not in known.unconfirmed


NAMED = [{"name": "tool_use", "template": "x"}, {"name": "rag", "template": "y"}]


@pytest.mark.parametrize(
    ("contents", "default", "others"),
    [
        ({"tokenizer_config.json": {"chat_template": NAMED}}, None, ("rag", "tool_use")),
        (
            {"tokenizer_config.json": {"chat_template": [*NAMED, {"name": "default", "template": "z"}]}},
            "tokenizer_config.json",
            ("rag", "tool_use"),
        ),
        (
            {"chat_template.jinja": b"x", "additional_chat_templates/tool_use.jinja": b"y"},
            "chat_template.jinja",
            ("tool_use",),
        ),
        # Files of their own replace what the tokenizer's configuration has.
        (
            {"tokenizer_config.json": {"chat_template": "x"}, "additional_chat_templates/rag.jinja": b"y"},
            None,
            ("rag",),
        ),
    ],
)
def test_named_chat_templates_are_told_from_the_one_that_is_used(
    contents: dict[str, Any], default: str | None, others: tuple[str, ...]
) -> None:
    known = facts(contents=contents)
    assert (known.chat_template, known.named_templates) == (default, others)


def test_default_sampling_parameters_are_those_that_the_engine_takes() -> None:
    config = {"temperature": 0.7, "top_k": 20, "max_new_tokens": 512, "do_sample": True, "eos_token_id": [1, 2]}
    assert facts(contents={"generation_config.json": config}).sampling == {
        "max_new_tokens": 512, "temperature": 0.7, "top_k": 20,
    }  # fmt: skip
    assert facts(contents={"generation_config.json": {"do_sample": True}}).sampling == {}


@pytest.mark.parametrize("value", ["x", None, [1], float("nan"), float("inf"), 10**400, {"a": 1}])
def test_sampling_parameters_of_strangers_are_numbers(value: object) -> None:
    assert facts(contents={"generation_config.json": {"top_p": value}}).sampling == {}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": "' + b"x" * (1 << 20) + b'"}'])
def test_a_generation_config_that_the_engine_passes_over(content: bytes) -> None:
    assert facts(contents={"generation_config.json": content}).sampling is None
    assert facts().sampling is None


def test_a_tokenizer_config_that_cannot_be_read_leaves_the_template_open() -> None:
    assert "chat_template" in facts(contents={"tokenizer_config.json": b"{"}).unconfirmed
    assert "chat_template" in facts(names=("tokenizer_config.json", "model.safetensors")).unconfirmed


def test_what_no_engine_reads_is_dropped() -> None:
    config = {
        "model_type": "x",
        "_name_or_path": "/home/someone/x",
        "id2label": {"0": "A", "1": "B"},
        "text_config": {"label2id": {"A": 0}, "hidden_size": 1},
    }
    assert facts(config).config == {"model_type": "x", "text_config": {"hidden_size": 1}}


@pytest.mark.parametrize(
    ("names", "said", "kept"),
    [({"0": "A"}, None, 1), ({"0": "A", "1": "B", "2": "C"}, 2, 3), ({"0": "A", "1": "B"}, 5, None), ({}, 4, 4)],
)
def test_labels_are_counted_in_place_of_their_names(names: dict[str, str], said: int | None, kept: int | None) -> None:
    """Without the count, a reranker's head would be of two labels, and vLLM would open no /rerank for it."""
    config = {"model_type": "x", "id2label": names} | ({} if said is None else {"num_labels": said})
    assert facts(config).config == {"model_type": "x"} | ({} if kept is None else {"num_labels": kept})


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ({"license": "other", "license_name": "deepseek"}, "deepseek"),
        ({"license": "other"}, "other"),
        ({"license": None, "tags": ("license:mit",)}, "mit"),
        ({"license": None}, None),
        ({"license": "unknown"}, None),
        ({"license": "a\x1b[2Jb"}, "a [2Jb"),
    ],
)
def test_license(repository: dict[str, Any], expected: str | None) -> None:
    known = facts(**repository)
    assert known.license == expected
    assert "license" not in known.unconfirmed, "the Hub has said it, or that there is none"


def test_a_recording_without_a_license_may_only_lack_it() -> None:
    assert "license" in facts(license=None, source="loopback").unconfirmed


@pytest.mark.parametrize(
    ("repository", "commit", "unconfirmed"),
    [
        ({}, COMMIT, ("tensors",)),
        ({"commit": "c40b499"}, "c40b499", ("commit", "tensors")),
        ({"commit": None}, None, ("commit", "tensors")),
        ({"commit": "main"}, None, ("commit", "tensors")),
        ({"commit": None, "source": "folder"}, None, ("tensors",)),
        ({"source": "loopback"}, COMMIT, ("config", "tensors")),
    ],
)
def test_what_is_not_confirmed(repository: dict[str, Any], commit: str | None, unconfirmed: tuple[str, ...]) -> None:
    known = facts(**repository)
    assert (known.commit, known.unconfirmed) == (commit, unconfirmed)


def test_missing_sizes_are_not_confirmed() -> None:
    assert "files" in facts(files=(ListedFile("config.json"), ListedFile("model.safetensors"))).unconfirmed


def test_relations_come_from_tags() -> None:
    tags = ("base_model:a/base", "base_model:quantized:a/base", "region:us")
    known = facts(tags=tags, base_models=("a/base",))
    assert (known.base_models, known.base_relation) == (("a/base",), "quantized")


def test_remote_code_is_seen() -> None:
    assert facts({"auto_map": {"AutoModel": "x.Y"}}).remote_code


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"a":' * 5000])
def test_a_config_that_is_none(content: bytes) -> None:
    with pytest.raises(MalformedError):
        facts(contents={"config.json": content})


def test_no_config() -> None:
    with pytest.raises(ConfigError, match=r"has no config.json"):
        read_facts(Repository("a/b", "folder", files=()), Memory({}))


def test_control_characters_stay_out_of_facts_and_messages() -> None:
    assert facts({"architectures": ["\x1b]0;x\x07"]}).config == {"architectures": ["\ufffd]0;x\ufffd"]}
    assert plain("a\x1b[31m\u202e\nb" + "x" * 300) == "a [31m b" + "x" * 191 + "…"


def test_names_worth_asking_about() -> None:
    assert trusted_names(("x/a", "TheBloke/b", "me/c", "me/m"), "me/m", ("thebloke",)) == ("TheBloke/b", "me/c")
    assert leads("me/m", ("B", "A"), ("awq",)) == ("me/m-AWQ", "A/m-AWQ", "B/m-AWQ")
    assert leads("m", (), ("awq",)) == ()
    assert leads("me/m", (), ("none",)) == ()
    assert len(set(leads("me/m", (), ("auto",)))) == len(leads("me/m", (), ("auto",)))


def test_a_variant_has_the_shape_of_its_model() -> None:
    base = facts({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2})
    assert is_variant(facts({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2}), base)
    assert is_variant(facts({"model_type": "llama"}), base)
    assert not is_variant(facts({"model_type": "llama", "text_config": {"hidden_size": 9}}), base)


CODE = {"AutoConfig": "configuration_own.OwnConfig"}


def test_every_auto_map_is_a_fact_with_its_file() -> None:
    contents = {
        "tokenizer_config.json": {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Slow", None]}},
        "preprocessor_config.json": {"processor_class": "P", "auto_map": {"AutoProcessor": "own.P"}},
        "processor_config.json": {"processor_class": "P"},
        # Read although a template of its own makes the tokenizer's superfluous.
        "chat_template.jinja": b"x",
    }
    known = facts({"model_type": "llama", "auto_map": CODE}, contents)
    assert [(entry.file, entry.auto_map, entry.class_name) for entry in known.code] == [
        ("config.json", {"AutoConfig": ("configuration_own.OwnConfig",)}, None),
        ("tokenizer_config.json", {"AutoTokenizer": ("own.Slow",)}, "Own"),
        ("preprocessor_config.json", {"AutoProcessor": ("own.P",)}, "P"),
    ]


@pytest.mark.parametrize(
    ("auto_map", "expected"),
    [
        (["own.Slow", "own.Fast"], {"AutoTokenizer": ("own.Slow", "own.Fast")}),
        ({"AutoTokenizer": 5}, {"AutoTokenizer": ()}),
        ("own.Slow", {}),
        (7, {}),
    ],
)
def test_odd_maps_stay_facts(auto_map: Any, expected: dict[str, tuple[str, ...]]) -> None:
    known = facts(contents={"tokenizer_config.json": {"auto_map": auto_map}})
    assert [entry.auto_map for entry in known.code] == [expected]


def test_without_a_listing_the_tokenizer_s_code_is_found_too() -> None:
    known = facts(files=None, contents={"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["o.T", None]}}})
    assert [entry.file for entry in known.code] == ["tokenizer_config.json"]


def test_files_of_tokenizers_and_of_the_second_format() -> None:
    names = (
        "model.safetensors", "consolidated.safetensors", "tekken.json", "tokenizer.model.v3", "vocab.json",
        "qwen.tiktoken", "sub/tokenizer.json", "tokenizer.model.vx",
    )  # fmt: skip
    known = facts(names=names)
    assert known.tokenizers == ("qwen.tiktoken", "tekken.json", "tokenizer.model.v3", "vocab.json")
    assert known.consolidated == ("consolidated.safetensors",)
    assert paths(known) == ["model.safetensors"]
    # vLLM looks in every folder.
    assert facts(names=("model.safetensors", "a/consolidated-1.safetensors")).consolidated
    assert not facts(names=("model.safetensors", "original/consolidated.00.pth")).consolidated


def test_an_older_processor_s_template_is_the_last_that_counts() -> None:
    older = {"chat_template.json": {"chat_template": "x"}}
    assert facts(contents=older).chat_template == "chat_template.json"
    assert facts(contents={**older, "tokenizer_config.json": {}}).chat_template == "chat_template.json"
    both = {**older, "tokenizer_config.json": {"chat_template": "x"}}
    assert facts(contents=both).chat_template == "tokenizer_config.json"
    assert facts(contents={"chat_template.json": {"other": "x"}}).chat_template is None
    assert facts(contents={"chat_template.json": b"{"}).chat_template is None


def test_a_repository_in_mistral_s_format_alone_says_so() -> None:
    names = ("consolidated.safetensors", "tekken.json")  # without params.json, which vLLM would read
    with pytest.raises(ConfigError, match="Mistral's own format only") as raised:
        facts(names=names)
    assert "Hugging Face format" in raised.value.helps[0]
    listed = tuple(ListedFile(name, 10) for name in names)
    with pytest.raises(ConfigError, match="Mistral's own format only"):
        read_facts(Repository("a/b", "https://huggingface.co", files=listed), Memory({}))


@pytest.mark.parametrize(("source", "index", "fails"), [("folder", False, True), ("folder", True, False)])
def test_a_folder_with_both_formats_needs_an_index(source: str, index: bool, fails: bool) -> None:
    names = ("model.safetensors", "consolidated.safetensors")
    contents = {"model.safetensors.index.json": {"weight_map": {"a": "model.safetensors"}}} if index else {}
    if fails:
        with pytest.raises(ConfigError, match="holds its weights twice"):
            facts(names=names, contents=contents, source=source, commit=None)
    else:
        assert paths(facts(names=names, contents=contents, source=source, commit=None)) == ["model.safetensors"]
    assert facts(names=names).consolidated  # of the Hub, only what the plan names is fetched
