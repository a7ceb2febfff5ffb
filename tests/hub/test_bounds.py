"""What a stranger's repository can make `stackc lock` hold or ask: no more than a bound, and only in its own name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.lock.models import FOLDER
from compiler.resolve import resolve
from compiler.resolve.answers import ListedFile, Repository, SourceError, TooLargeError
from compiler.resolve.limits import (
    LIGHT,
    MAX_CANDIDATES,
    MAX_CONFIG,
    MAX_FILES,
    MAX_TAKEN,
    MAX_VALUES,
    REPOSITORIES_AT_ONCE,
)
from compiler.resolve.reading import safetensors
from compiler.resolve.reading.facts import read_facts
from compiler.resolve.strangers import parse_config, parse_object
from compiler.resolve.transport.room import Room
from tests.conftest import WIDE
from tests.hub.builders import AWQ, LLAMA, header, quantized, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import serve

MOST_MEMORY = 300 << 20
BASE = repository("acme/base")


def brackets(count: int) -> bytes:
    """So many empty lists: three bytes of text, and sixty of memory, each."""
    return b'{"a": [' + b"[]," * (count - 1) + b"[]]}"


def many_files(count: int) -> dict[str, int | None]:
    return {**BASE.files, **{f"notes-{index}.txt": 1 for index in range(count)}}  # type: ignore[dict-item]


def sharded(count: int) -> dict[str, int | None]:
    names = (f"model-{index:05}-of-{count:05}.safetensors" for index in range(1, count + 1))
    return {"config.json": 100, **dict.fromkeys(names, 5 << 30)}


@pytest.mark.parametrize(
    ("changes", "says", "requests"),
    [
        ({"contents": {"tokenizer_config.json": b"[" * (9 << 20)}}, "9437184 bytes", 5),
        ({"contents": {"tokenizer_config.json": brackets(MAX_VALUES)}}, "values", 6),
        ({"contents": {"config.json": b'{"a": "' + b"x" * MAX_CONFIG + b'"}'}}, "bytes", 5),
        ({"contents": {"generation_config.json": b"[" * (2 << 20)}}, "bytes", 5),
        ({"files": sharded(10_000)}, "no more than 1024 are looked at", 4),
        ({"files": many_files(MAX_FILES)}, "files, and no more than", 1),
        ({"tags": ("x" * (4 << 20),)}, "bytes came back, and no more are read", 1),
    ],
    ids=["tokenizer", "values", "config", "sampling", "shards", "files", "answer"],
)
def test_a_repository_that_is_too_large(changes: dict[str, Any], says: str, requests: int) -> None:
    with serve([repository("acme/base", **changes)]) as hub:
        error = problem(spec_of({"s": service("acme/base")}), hub)
        # Redirects count twice.
        assert len(hub.requests) <= 2 * requests
    assert error.code == "E0313", error
    assert any(says in note for note in error.notes), error.notes


def test_a_real_configuration_of_three_megabytes_is_read() -> None:
    layers = [f"model.language_model.layers.{index}.block_sparse_moe.gate" for index in range(55_000)]
    block = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": layers}
    with serve([repository("acme/base", {**LLAMA, "quantization_config": block})]) as hub:
        facts = locked(spec_of({"s": service("acme/base")}), hub).models["acme/base"]
    assert facts.quantization == block
    assert len(json.dumps(block)) > 3_000_000


@pytest.mark.parametrize("attack", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[" * 40 + "]" * 40])
def test_nesting_and_digits_end_in_an_error(attack: str) -> None:
    with pytest.raises(SourceError):
        parse_object(b'{"a": ' + attack.encode() + b"}", "x")


def test_one_text_of_a_configuration_is_no_book() -> None:
    with pytest.raises(SourceError):
        parse_config(b'{"a": "' + b"x" * 100_000 + b'"}', "x")


def tensors(count: int) -> bytes:
    return header({f"layers.{index}.{'abc'[index % 3]}": ("U8", [1], 1) for index in range(count)})


@pytest.mark.parametrize(("bound", "says"), [("MAX_TENSORS", "tensors"), ("MAX_TENSOR_KINDS", "kinds")])
def test_tensors_and_their_kinds_are_counted(bound: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = repository("acme/base", contents={"model.safetensors": tensors(6)}, sizes={"model.safetensors": None})
    spec = spec_of({"s": service("acme/base")})
    with serve([recording]) as hub:
        assert locked(spec, hub).models["acme/base"].tensors is not None
        monkeypatch.setattr(safetensors, bound, 2)
        error = problem(spec, hub)
    assert error.code == "E0313"
    assert says in error.notes[0]


def test_a_header_that_is_longer_than_its_file_is_not_asked_for() -> None:
    asked: list[tuple[int, int]] = []

    def read_range(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return (5_000_000).to_bytes(8, "little") + b"{"

    with pytest.raises(SourceError):
        safetensors.read_tensors(read_range, "f", 1000)
    assert len(asked) == 1


HOSTILE: dict[str, dict[str, bytes]] = {
    "values": {"config.json": brackets(MAX_VALUES)},
    "json": {"config.json": b"\xff"},
    "type": {"config.json": json.dumps({**LLAMA, "quantization_config": {"quant_method": ["awq"]}}).encode()},
    "group": {
        "config.json": json.dumps(
            {
                **LLAMA,
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"g": {"weights": {"num_bits": 8, "type": []}}},
                },
            }
        ).encode()
    },
}


def odd(kind: str) -> Recording:
    return quantized(f"acme/{kind}", "acme/base", AWQ, contents=HOSTILE[kind])


def test_an_odd_candidate_never_stops_a_lock_and_its_reason_stands_in_it() -> None:
    spec = spec_of({"s": service("acme/base")})
    with serve([BASE, quantized("acme/good", "acme/base", AWQ), *map(odd, HOSTILE)]) as hub:
        lock = locked(spec, hub)
        again = locked(spec, hub, previous=lock)
    assert {"acme/base", "acme/good"} <= set(lock.services["s"].candidates)
    assert lock.services["s"].unreadable == {
        "acme/json": "`acme/json/config.json` is not valid JSON",
        "acme/values": "`acme/values/config.json` is larger than any such file",
    }
    assert again == lock


def test_the_table_of_candidates_shows_what_could_not_be_read(tmp_path: Path) -> None:
    spec = tmp_path / "x.yaml"
    spec.write_text(
        "stack: x\nengine: {vllm: 0.33.0}\nnodes: {a: {gpus: {model: l40s}}}\n"
        "services: {s: {model: acme/base, context: 2K, port: 8000}}\n"
    )
    with serve([BASE, odd("json")]) as hub:
        environment = {"HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path)}
        assert CliRunner().invoke(cli, ["lock", str(spec)], env=environment).exit_code == 0
    result = CliRunner().invoke(cli, ["explain", f"{spec}:s"], env=WIDE)
    assert "unreadable  acme/json: `acme/json/config.json` is not valid JSON" in result.output, result.output


def test_no_more_variants_are_read_than_anybody_needs() -> None:
    variants = [quantized(f"acme/v{index:03}", "acme/base", AWQ) for index in range(MAX_CANDIDATES + 30)]
    with serve([BASE, *variants]) as hub:
        entry = locked(spec_of({"s": service("acme/base")}), hub).services["s"]
    assert len(entry.candidates) == MAX_CANDIDATES + 1
    assert entry.unreadable["acme/v064"] == "94 variants are by trusted publishers, and the first 64 were read"
    assert len(entry.unreadable) <= 20


def test_large_repositories_are_read_one_after_another() -> None:
    room = Room()
    with room.reading("a") as first, room.reading("b") as second:
        first.take(LIGHT)
        second.take(LIGHT)
        assert not room.large.locked()
        first.take(1)
        assert room.large.locked()
        with pytest.raises(TooLargeError):
            first.take(MAX_TAKEN)
    assert not room.large.locked()


def test_what_a_run_keeps_is_bounded() -> None:
    files = (ListedFile("model.bin", 1),)
    folder = Repository("a", FOLDER, files=(*files, ListedFile("config.json", 1)))

    class Reader:
        def read(self, path: str) -> bytes | None:
            return (
                json.dumps({"model_type": "llama", "x": ["y" * 100] * 100}).encode() if path == "config.json" else None
            )

        def read_range(self, *_: object) -> bytes | None:
            return None

        def take(self, size: int) -> None:
            """Nothing is counted."""

    facts = read_facts(folder, Reader())
    room = Room(limit=40_000)
    room.keep("a", facts)
    room.keep("a", facts)  # the same once more takes nothing
    room.keep("b", facts)
    with pytest.raises(TooLargeError):
        room.keep("c", facts)


def test_a_lock_that_could_not_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "MAX_BYTES", 500)
    with serve([BASE]) as hub:
        error = problem(spec_of({"s": service("acme/base")}), hub)
    assert (error.code, error.message) == ("E0313", "the lock would be larger than any that is read")


def dense(count: int) -> bytes:
    """A header with the shortest entries that there can be."""
    entries = ",".join(
        f'"{index:x}":{{"dtype":"U8","shape":[],"data_offsets":[{index},{index + 1}]}}' for index in range(count)
    )
    text = f"{{{entries}}}".encode()
    return len(text).to_bytes(8, "little") + text


def just_below(kind: str) -> dict[str, bytes]:
    """Files that are as large as the bounds let through."""
    if kind == "config":
        texts = b",".join(b'"%06x%s"' % (index, b"x" * 30) for index in range(140_000))
        return {"config.json": b'{"model_type": "llama", "a": [' + texts + b"]}"}
    if kind == "lists":
        return {"config.json": brackets(MAX_VALUES // 2 - 20), "tokenizer_config.json": brackets(MAX_VALUES // 2 - 20)}
    if kind == "tokenizer":
        return {"tokenizer_config.json": b'{"chat_template": "' + b"x" * (7 << 20) + b'"}'}
    if kind == "too-long":
        return {"tokenizer_config.json": b"[" + b"[]," * (20 << 20) + b"[]]"}
    if kind == "header":
        return {"model.safetensors": dense(60_000)}
    entries = b",".join(b'"%x": "model.safetensors"' % index for index in range(500_000))
    return {
        "model.safetensors.index.json": b'{"weight_map": {' + entries + b"}}",
        "extra.safetensors": header({"a": ("U8", [1], 1)}),
    }


RUN = """
import re, sys
from pathlib import Path
from compiler.cli.main import main
sys.argv[1:] = ["lock", "x.yaml"]
try:
    main()
finally:
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_a_dozen_hostile_repositories_at_once_stay_below_300_megabytes(tmp_path: Path) -> None:
    """Each holds what takes most memory for its bytes, as much of it as is read at all."""
    held = {kind: just_below(kind) for kind in ("config", "lists", "tokenizer", "too-long", "header", "index")}
    hostile = [
        quantized(f"acme/{kind}-{copy}", "acme/base", AWQ, contents=contents, sizes={"model.safetensors": None})
        for kind, contents in held.items()
        for copy in range(REPOSITORIES_AT_ONCE // len(held))
    ]
    (tmp_path / "x.yaml").write_text(
        "stack: x\nengine: {vllm: 0.33.0}\nnodes: {a: {gpus: {model: l40s}}}\n"
        "services: {s: {model: acme/base, context: 2K, port: 8000}}\n"
    )
    with serve([BASE, *hostile]) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    peak = int(done.stdout.rpartition("peak ")[2]) << 10
    assert peak < MOST_MEMORY, f"{peak >> 20} MiB"
