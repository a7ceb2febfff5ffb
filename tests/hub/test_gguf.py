"""Models in GGUF files on a Hub and in folders: what is read of them, and what a lock then says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from compiler.gguf.file_types import FILE_TYPES
from compiler.gguf.model import Tensor
from compiler.lock.file import format_lock
from compiler.lock.models import Lock
from compiler.resolve.answers import SourceError
from compiler.resolve.cache import Cache
from compiler.resolve.gguf import SetsFound, read_sets
from compiler.resolve.limits import GGUF_PIECE
from compiler.resolve.source import Source
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.room import Room
from tests.gguf.writer import Value, data_bytes, encoded, split, split_name, tensor, write
from tests.hub.builders import COMMIT, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import Fault, LoopbackHub, serve

NAME = "acme/m-GGUF"
SPEC = spec_of({"s": service(NAME)})
FORMATS: Mapping[str, Any] = {"s": frozenset({"gguf"})}
NUMBERS = {name: number for number, name in FILE_TYPES.items()}
TENSORS = [
    tensor("token_embd.weight", "q4_K", 256, 8),
    *(tensor(f"blk.{n}.attn_q.weight", "q4_K", 256, 4) for n in (0, 1)),
]
VOCABULARY: dict[str, Value] = {"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.chat_template": "{{ messages }}"}


def keys(method: str, **more: Value) -> dict[str, Value]:
    return (
        {"general.architecture": "llama", "general.file_type": NUMBERS[method], "llama.block_count": 2}
        | VOCABULARY
        | more
    )


def file(method: str = "Q4_K_M", tensors: Sequence[Tensor] = TENSORS, **more: Value) -> bytes:
    known = keys(method, **more)
    return encoded(known, tensors) + bytes(data_bytes(known, tensors))


def ggufs(contents: Mapping[str, bytes], commit: str = COMMIT) -> Recording:
    sizes: dict[str, int | None] = {path: len(content) for path, content in contents.items()}
    return Recording(
        NAME,
        commit=commit,
        license="mit",
        base_model="acme/m",
        base_relation="quantized",
        files=sizes,
        contents=contents,
    )


def found(hub: LoopbackHub, *asked: str, model: str = NAME, cache: Cache | None = None) -> SetsFound:
    source = Source(Hub(hub.url, pause=0), cache or Cache(None, hub.url))
    sets = read_sets(source, model, asked)
    assert not isinstance(sets, SourceError), sets
    return sets


def read_of(hub: LoopbackHub) -> list[str]:
    """Files whose bytes were asked for, once for each piece."""
    return sorted(path.rpartition("/-/")[2] for path in hub.asked("^/cdn/"))


def test_facts_of_a_model() -> None:
    with serve([ggufs({"m-Q4_K_M.gguf": file(), "README.md": b"x"})]) as hub:
        lock = locked(SPEC, hub, formats=FORMATS)
    assert lock.services["s"].candidates == (f"{NAME}#m-Q4_K_M.gguf",)
    facts = lock.models[f"{NAME}#m-Q4_K_M.gguf"]
    assert (facts.kind, facts.commit, facts.license, facts.base_models) == ("gguf", COMMIT, "mit", ("acme/m",))
    assert (facts.chat_template, facts.named_templates) == ("m-Q4_K_M.gguf", ())
    assert facts.gguf is not None
    assert facts.gguf.keys["llama.block_count"] == 2
    assert (facts.gguf.vocabulary, facts.gguf.method, facts.gguf.bits_per_weight) == (2, "Q4_K_M", 4.5)
    assert [(kind.name, kind.layers) for kind in facts.gguf.tensors] == [
        ("blk.*.attn_q.weight", "0-1"),
        ("token_embd.weight", None),
    ]
    (locked_file,) = facts.gguf.files
    assert (locked_file.path, locked_file.size) == ("m-Q4_K_M.gguf", len(file()))
    assert locked_file.sha256 is not None


FORTY = {f"m-{name}.gguf": file(name) for name in NUMBERS} | {
    f"x/m{index}-Q8_0.gguf": file("Q8_0") for index in range(4)
}


def test_of_forty_quantizations_each_header_is_read_once(tmp_path: Path) -> None:
    with serve([ggufs(FORTY)]) as hub:
        cache = Cache(tmp_path, hub.url)
        lock = locked(SPEC, hub, formats=FORMATS, cache=cache)
        assert len(lock.models) == len(FORTY) == 40
        assert read_of(hub) == sorted(FORTY)
        assert len(hub.asked("^/api/")) == 1
        again = locked(SPEC, hub, formats=FORMATS, cache=cache, previous=lock)
        assert format_lock(again) == format_lock(lock)
        assert read_of(hub) == sorted(FORTY)
    # The facts are kept, and not the files.
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.json")) < 40 * 2000


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (("Q4_K_M",), ["m-Q4_K_M.gguf"]),
        (("q4-k-m", "Q8_0"), ["m-Q4_K_M.gguf", "m-Q8_0.gguf", *(f"x/m{index}-Q8_0.gguf" for index in range(4))]),
        (("none",), ["m-BF16.gguf", "m-F16.gguf", "m-F32.gguf"]),
    ],
)
def test_of_forty_only_those_that_are_asked_for_are_read(asked: tuple[str, ...], read: list[str]) -> None:
    with serve([ggufs(FORTY)]) as hub:
        sets = found(hub, *asked)
        assert sorted(sets.models) == [f"{NAME}#{path}" for path in read]
        assert read_of(hub) == read


def test_a_name_without_a_label_is_read_and_its_header_decides() -> None:
    contents = {"m-00001.gguf": file("Q4_K_M"), "m.gguf": file("Q8_0"), "m-Q6_K.gguf": file("Q6_K")}
    with serve([ggufs(contents)]) as hub:
        sets = found(hub, "Q4_K_M")
        assert read_of(hub) == ["m-00001.gguf", "m.gguf"]
    assert list(sets.models) == [f"{NAME}#m-00001.gguf"]
    assert sets.others == {f"{NAME}#m.gguf": "Q8_0"}
    assert sets.unnamed == ("Q6_K",)


def test_labels_of_no_type_are_read_where_nothing_else_is_it() -> None:
    contents = {"m-Q4_K_L.gguf": file("Q4_K_M"), "m-Q6_K_L.gguf": file("Q6_K")}
    with serve([ggufs(contents)]) as hub:
        assert list(found(hub, "Q4_K_M").models) == [f"{NAME}#m-Q4_K_L.gguf"]
        assert list(found(hub, "Q4_K_L").models) == [f"{NAME}#m-Q4_K_L.gguf"]
        assert read_of(hub) == ["m-Q4_K_L.gguf"] * 2
    with serve([ggufs(contents | {"m-Q4_K_M.gguf": file("Q4_K_M")})]) as hub:
        assert list(found(hub, "Q4_K_M").models) == [f"{NAME}#m-Q4_K_M.gguf"]


def test_a_label_that_the_header_contradicts_is_told() -> None:
    with serve([ggufs({"m-Q4_K_M.gguf": file("Q2_K"), "m-Q8_0.gguf": file("Q8_0")})]) as hub:
        sets = found(hub, "Q4_K_M", "Q8_0")
        error = problem(spec_of({"s": service(NAME, ["none"])}), hub, formats=FORMATS)
    assert list(sets.models) == [f"{NAME}#m-Q8_0.gguf"]
    assert sets.unreadable == {f"{NAME}#m-Q4_K_M.gguf": "its name says Q4_K_M, and its header Q2_K"}
    assert error.code == "E0304"
    assert error.notes == ("by their names there are Q4_K_M, Q8_0",)
    assert [help_.text for help_ in error.helps] == ["`quantization: Q4_K_M`", "`quantization: Q8_0`"]


def test_cut_and_incomplete_uploads_are_left_out_with_their_reason() -> None:
    contents = {"m-Q4_K_M.gguf": file(), "m-Q8_0.gguf": file("Q8_0")[:-1], "m-F16-00002-of-00002.gguf": b"GGUF"}
    with serve([ggufs(contents)]) as hub:
        lock = locked(SPEC, hub, formats=FORMATS)
        hub.repositories[NAME] = ggufs({"m.gguf": file()[:-1]})
        only_cut = problem(SPEC, hub, formats=FORMATS)
    assert lock.services["s"].candidates == (f"{NAME}#m-Q4_K_M.gguf",)
    assert lock.services["s"].unreadable == {
        f"{NAME}#m-F16-00001-of-00002.gguf": "it lacks `m-F16-00001-of-00002.gguf`",
        f"{NAME}#m-Q8_0.gguf": lock.services["s"].unreadable[f"{NAME}#m-Q8_0.gguf"],
    }
    assert "it is cut" in lock.services["s"].unreadable[f"{NAME}#m-Q8_0.gguf"]
    assert only_cut.code == "E0304"
    assert only_cut.message == f"none of the GGUF files of `{NAME}` is a model that llama.cpp loads"


def test_parts_are_one_model() -> None:
    parts = split(keys("Q8_0"), [TENSORS[:1], TENSORS[1:]])
    contents = {
        f"Q8_0/{split_name('m-Q8_0', number, 2)}": encoded(known, own) + bytes(data_bytes(known, own))
        for number, (known, own) in enumerate(parts, 1)
    }
    with serve([ggufs(contents)]) as hub:
        (facts,) = found(hub, "Q8_0").models.values()
        assert read_of(hub) == sorted(contents)
    assert facts.gguf is not None
    assert [each.path for each in facts.gguf.files] == sorted(contents)
    assert facts.gguf.tensor_bytes == sum(each.bytes for each in TENSORS)


def test_a_projector_is_read_once_and_belongs_to_all() -> None:
    known: dict[str, Value] = {"general.architecture": "clip", "clip.has_vision_encoder": True}
    tower = [tensor("v.blk.0.attn_q.weight", "f16", 8, 8)]
    projector = encoded(known, tower) + bytes(data_bytes(known, tower))
    contents = {
        "m-Q4_K_M.gguf": file(),
        "m-Q8_0.gguf": file("Q8_0"),
        "mmproj-m-f16.gguf": projector,
        "mmproj.gguf": b"",
    }
    with serve([ggufs(contents)]) as hub:
        models = found(hub, "auto").models
        assert read_of(hub) == ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-f16.gguf"]
    for facts in models.values():
        assert facts.gguf is not None
        assert facts.gguf.projector is not None
        assert (facts.gguf.projector.file.path, facts.gguf.projector.tensor_bytes) == ("mmproj-m-f16.gguf", 128)
        assert [(each.name, each.layers) for each in facts.gguf.projector.tensors] == [("v.blk.*.attn_q.weight", "0")]


def test_a_broken_projector_is_told_for_every_model_and_read_once() -> None:
    contents = {"m-Q4_K_M.gguf": file(), "m-Q8_0.gguf": file("Q8_0"), "mmproj.gguf": file()}
    with serve([ggufs(contents)]) as hub:
        sets = found(hub, "auto")
        assert read_of(hub) == ["mmproj.gguf"]
    assert sorted(sets.unreadable) == [f"{NAME}#m-Q4_K_M.gguf", f"{NAME}#m-Q8_0.gguf"]
    assert all("it is called a projector, and is none" in reason for reason in sets.unreadable.values())


def test_a_long_vocabulary_is_read_in_growing_pieces() -> None:
    tokens = ["x" * 100] * 20_000
    content = file(**{"tokenizer.ggml.tokens": tokens})
    with serve([ggufs({"m.gguf": content})]) as hub:
        (facts,) = found(hub, "auto").models.values()
        asked = [request.headers["Range"] for request in hub.requests if request.path.startswith("/cdn/")]
    assert asked == [f"bytes=0-{GGUF_PIECE - 1}", f"bytes={GGUF_PIECE}-{len(content) - 1}"]
    assert facts.gguf is not None
    assert facts.gguf.vocabulary == 20_000


def test_a_size_that_is_not_listed_is_found_out() -> None:
    whole, cut = ggufs({"m.gguf": file()}), ggufs({"m.gguf": file()[:60]})
    for recording in (whole, cut):
        recording.files["m.gguf"] = None  # type: ignore[index]
    with serve([whole]) as hub:
        (facts,) = found(hub, "auto").models.values()
    assert "files" in facts.unconfirmed
    with serve([cut]) as hub:
        (reason,) = found(hub, "auto").unreadable.values()
    assert "the file ends inside its header" in reason


@pytest.mark.parametrize(
    ("recording", "faults", "code"),
    [
        (ggufs({"m.gguf": file()}), [Fault("^/cdn", "server_error")], "E0311"),
        (ggufs({"m.gguf": file()}), [Fault("^/cdn", "ignore_range")], "E0311"),
        (ggufs({"m.gguf": file()}), [Fault("^/api", "unauthorised")], "E0312"),
        (repository(NAME), [], "E0309"),
        (ggufs({"mmproj.gguf": file()}), [], "E0309"),
        (ggufs({"-m.gguf": file()}), [], "E0309"),
        (ggufs({"m.gguf": file(), "-m-00001-of-00002.gguf": b""}), [], "E0309"),
        (ggufs({"m.gguf": b"<html>"}), [], "E0304"),
        (repository("acme/other"), [], "E0310"),
    ],
)
def test_what_cannot_be_locked(recording: Recording, faults: list[Fault], code: str) -> None:
    with serve([recording], faults) as hub:
        assert problem(SPEC, hub, formats=FORMATS).code == code


def test_a_commit_stays_until_it_is_to_move() -> None:
    with serve([ggufs({"m-Q8_0.gguf": file("Q8_0")}, commit="a" * 40)]) as hub:
        lock = locked(SPEC, hub, formats=FORMATS)
        hub.repositories[NAME] = Recording(
            NAME, commit="b" * 40, files={"m-Q4_0.gguf": len(file("Q4_0"))}, contents={"m-Q4_0.gguf": file("Q4_0")},
            branches={"old": hub.repositories[NAME]},
        )  # fmt: skip
        assert locked(SPEC, hub, formats=FORMATS, previous=lock) == lock
        moved = locked(SPEC, hub, formats=FORMATS, previous=lock, upgrade=True)
    assert {key: facts.commit for key, facts in moved.models.items()} == {f"{NAME}#m-Q4_0.gguf": "b" * 40}


def test_another_format_is_searched_anew() -> None:
    both = repository(NAME, contents={"m-Q8_0.gguf": file("Q8_0")})
    with serve([both]) as hub:
        plain = locked(SPEC, hub)
        gguf = locked(SPEC, hub, formats=FORMATS, previous=plain)
        every = locked(SPEC, hub, formats={"s": frozenset({"gguf", "safetensors"})})
        assert locked(SPEC, hub, previous=gguf) == plain
    assert names(plain) == [NAME]
    assert names(gguf) == [f"{NAME}#m-Q8_0.gguf"]
    assert names(every) == [NAME, f"{NAME}#m-Q8_0.gguf"]


def names(lock: Lock) -> list[str]:
    return sorted(lock.models)


def test_a_folder_and_a_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "Q8_0").mkdir()
    write(tmp_path / "m-Q4_K_M.gguf", keys("Q4_K_M"), TENSORS)
    write(tmp_path / "Q8_0" / "m-Q8_0.gguf", keys("Q8_0"), TENSORS)
    paths = {str(tmp_path): ["#Q8_0/m-Q8_0.gguf", "#m-Q4_K_M.gguf"], f"{tmp_path}/m-Q4_K_M.gguf": [""]}
    with serve([]) as hub:
        for model, expected in paths.items():
            spec = spec_of({"s": service(model)})
            lock = locked(spec, hub, formats=FORMATS)
            assert names(lock) == [model + end for end in expected]
            assert all(facts.source == "folder" for facts in lock.models.values())
            assert locked(spec, hub, formats=FORMATS, previous=lock) == lock
        assert problem(spec_of({"s": service(f"{tmp_path}/none.gguf")}), hub, formats=FORMATS).code == "E0310"


def test_without_a_network_a_lock_is_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve([ggufs({"m-Q4_K_M.gguf": file()})]) as hub:
        lock = locked(SPEC, hub, formats=FORMATS)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert locked(SPEC, hub, formats=FORMATS, previous=lock) == lock
        error = problem(SPEC, hub, formats=FORMATS)
    assert error.message == f"the list of models in `{NAME}` is not known here, and HF_HUB_OFFLINE is set"


def test_facts_of_all_models_take_no_more_than_a_lock_keeps() -> None:
    known = keys("Q8_0", **{"general.description": "x" * 4000})
    with serve([ggufs({"m-Q8_0.gguf": encoded(known, TENSORS) + bytes(data_bytes(known, TENSORS))})]) as hub:
        source = Source(Hub(hub.url), Cache(None, hub.url), room=Room(4000))
        sets = read_sets(source, NAME, ("auto",))
    assert isinstance(sets, SetsFound)
    assert sets.models == {}
    assert "hold too much" in sets.unreadable[f"{NAME}#m-Q8_0.gguf"]


def test_a_part_is_no_model_and_the_first_is_named(tmp_path: Path) -> None:
    for number, (known, own) in enumerate(split(keys("Q8_0"), [TENSORS[:1], TENSORS[1:]]), 1):
        write(tmp_path / split_name("m", number, 2), known, own)
    with serve([]) as hub:
        error = problem(spec_of({"s": service(f"{tmp_path}/m-00002-of-00002.gguf")}), hub, formats=FORMATS)
        assert names(locked(spec_of({"s": service(f"{tmp_path}/m-00001-of-00002.gguf")}), hub, formats=FORMATS))
    assert [help_.text for help_ in error.helps] == ["name its first part, `m-00001-of-00002.gguf`"]


def test_no_more_models_are_read_than_anybody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.resolve.gguf.MAX_SETS", 1)
    with serve([ggufs({"a.gguf": file(), "m-Q8_0.gguf": file("Q8_0")})]) as hub:
        sets = found(hub, "auto")
        assert read_of(hub) == ["m-Q8_0.gguf"]
    assert sets.unreadable == {f"{NAME}#a.gguf": "2 models are in GGUF files here, and the first 1 were looked at"}
