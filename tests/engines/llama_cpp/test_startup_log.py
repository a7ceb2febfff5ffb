"""What a start of llama-server says of memory is read from real logs; strangers' logs are refused or read, in time.

`logs/` holds lines of b10434 with tiny random models on the cards of tests/engines/llama_cpp/server/fake_cards.cpp.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.interface.calibration import LogError
from compiler.engines.llama_cpp.calibrate.startup_log import MAX_CHARACTERS, hundredths_of, read_log
from compiler.engines.llama_cpp.calibrate.startup_record import BufferKind, Cache, DeviceMemory, Refusal, StartupLog

LOGS = Path(__file__).with_name("logs")


def log_text(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def read(name: str) -> StartupLog:
    return read_log(log_text(name))


def test_two_cards_are_read_whole() -> None:
    log = read("two_cards")
    assert (log.build, log.commit) == (1, "7e4c0a9")
    assert (log.context, log.slot_context, log.batch, log.ubatch) == (2048, 1024, 2048, 512)
    assert (log.sequences, log.slots, log.is_unified, log.flash_attention) == (2, 2, False, True)
    assert (log.layers_offloaded, log.layers, log.splits, log.copies) == (5, 5, 3, 4)
    assert log.hundredths(BufferKind.MODEL) == {"CPU_Mapped": 8, "CUDA0": 56, "CUDA1": 64}
    assert log.hundredths(BufferKind.KV) == {"CUDA0": 200, "CUDA1": 200}
    assert log.hundredths(BufferKind.COMPUTE) == {"CUDA0": 604, "CUDA1": 604, "CUDA_Host": 430}
    assert log.hundredths(BufferKind.OUTPUT) == {"CUDA_Host": 0}
    assert log.caches == (Cache(400, 1024, 4, 2, 2, "f16", "f16"),)
    assert log.breakdown == (
        DeviceMemory("CUDA0", model=0, context=2, compute=6, total=1024, free=1015, unaccounted=0),
        DeviceMemory("CUDA1", model=0, context=2, compute=6, total=512, free=503, unaccounted=0),
        DeviceMemory("Host", model=0, context=0, compute=4),
    )
    assert (log.refusal, log.error, log.is_ready) == (None, None, True)


def test_memory_that_a_card_refuses_is_named_to_the_byte() -> None:
    log = read("refused")
    assert log.refusal == Refusal("CUDA0", 96 << 20)
    assert log.error == "failed to allocate buffer for kv cache"
    assert not log.is_ready
    assert log.hundredths(BufferKind.KV) == {}


def test_where_only_mebibytes_are_said_the_refusal_has_them() -> None:
    lines = [line for line in log_text("refused").splitlines() if "buffer of size" not in line]
    assert read_log("\n".join(lines)).refusal == Refusal("CUDA0", 96 << 20)


def test_a_refusal_that_another_attempt_makes_good_is_none() -> None:
    retry = "W sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism\n"
    refused = "E alloc_tensor_range: failed to allocate CUDA1 buffer of size 123\n" + retry
    assert (
        read_log(log_text("two_cards").replace("I sched_reserve: graph", refused + "I sched_reserve: graph")).refusal
        is None
    )


def test_a_window_has_a_cache_of_its_own() -> None:
    log = read("window")
    assert [(cache.cells, cache.layers, cache.streams) for cache in log.caches] == [(8192, 1, 1), (1536, 6, 1)]
    assert log.is_unified
    assert log.hundredths(BufferKind.KV) == {"CUDA0": 212}


def test_a_recurrent_state_is_no_cache() -> None:
    log = read("recurrent_state")
    assert [buffer.device for buffer in log.buffers if buffer.kind is BufferKind.RECURRENT] == ["CUDA0"]
    assert [cache.layers for cache in log.caches] == [2]


def test_what_the_fit_only_looks_at_is_not_counted() -> None:
    """At -lv 5 it loads once without taking memory, and says caches of 0.00 MiB."""
    log = read("fitted")
    assert log.hundredths(BufferKind.MODEL) == {"CPU_Mapped": 8, "CUDA0": 121}
    assert log.hundredths(BufferKind.KV) == {"CUDA0": 425}
    assert log.caches == (Cache(425, 4096, 4, 1, 1, "q8_0", "q8_0"),)
    assert log.other_buffers == ()


def test_a_draft_does_not_add_to_the_model() -> None:
    _, loading, rest = log_text("window").partition("llama_model_loader: loaded")
    log = read_log(log_text("two_cards") + loading + rest)
    assert (log.context, log.splits) == (2048, 3)
    assert log.hundredths(BufferKind.MODEL) == read("two_cards").hundredths(BufferKind.MODEL)
    assert log.other_buffers == read("window").buffers


def test_a_projector_s_graph_is_not_the_model_s() -> None:
    """It is said in the same words (tools/mtmd/clip.cpp, b10435)."""
    line = "I reserve_compute_meta:      CUDA0 compute buffer size =    90.00 MiB\n"
    log = read_log(log_text("two_cards") + line)
    assert log.hundredths(BufferKind.COMPUTE) == read("two_cards").hundredths(BufferKind.COMPUTE)
    assert log.hundredths(BufferKind.OTHER) == {"CUDA0": 9000}


def test_of_several_starts_the_last_counts() -> None:
    assert read_log(log_text("refused") + log_text("two_cards")) == read("two_cards")
    assert read_log(log_text("two_cards") + log_text("refused")).refusal is not None


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("load_tensors: ", "llm_load_tensors: "),
        ("load_tensors:        CUDA0 model buffer", "llm_load_tensors:      CUDA0 buffer"),
        ("llama_kv_cache: ", "llama_kv_cache_unified: "),
        ("sched_reserve: ", "llama_context: "),
        ("sched_reserve: ", "llama_new_context_with_model: "),
        ("n_ctx_seq ", "n_ctx_per_seq "),
        ("build 1 (7e4c0a9)", "build: 1 (7e4c0a9)"),
        ("sched copies = 4", "pipeline parallelism enabled (n_copies=4)"),
        ("Flash Attention enabled", "Flash Attention was auto, set to enabled"),
        ("\n0.0", "\n\x1b[32m0.0\x1b[0m"),
        ("\n0.0", "\nNov 30 12:00:00 host llama-server[12]: 0.0"),
        ("\n", "\r\n"),
    ],
)
def test_lines_of_other_builds_and_of_journals_say_the_same(new: str, old: str) -> None:
    text = log_text("two_cards")
    assert new in text
    assert read_log(text.replace(new, old)) == read("two_cards")


def test_flash_attention_that_is_turned_off_is_seen() -> None:
    """It is not an error of the server's, and costs memory."""
    text = log_text("two_cards").replace("Flash Attention enabled", "Flash Attention not supported, set to disabled")
    assert read_log(text).flash_attention is False


@pytest.mark.parametrize("text", ["", "hello\n", "build 1 (7e4c0a9) with GNU\n", log_text("two_cards")[:300]])
def test_a_log_without_a_load_is_refused(text: str) -> None:
    with pytest.raises(LogError, match="no load of a model"):
        read_log(text)


def test_a_log_of_the_default_verbosity_says_what_is_missing() -> None:
    lines = [line for line in log_text("two_cards").splitlines() if "buffer size" not in line]
    with pytest.raises(LogError, match="-lv 4"):
        read_log("\n".join(lines))


def test_a_log_without_end_is_refused() -> None:
    with pytest.raises(LogError, match="more than"):
        read_log("x" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize(
    "line",
    [
        "load_tensors: CUDA0 model buffer size = 1.00 MiB",
        "llama_model_loader: loaded meta data with ",
        "common_memory_breakdown_print: |   - CUDA0 (x) | 1 = 1 + ( 1 = 1 + 1 + 1) + 1 |",
    ],
)
def test_a_log_of_more_than_a_server_has_is_refused(line: str) -> None:
    with pytest.raises(LogError):
        read_log("\n".join([line] * 1100))


@pytest.mark.parametrize("word", ["buffer size = ", "|   - a", "n_ctx", "allocating ", "build ", " cells, ", "(" * 50])
def test_a_line_of_beginnings_is_read_in_time(word: str) -> None:
    started = time.process_time()
    with pytest.raises(LogError):
        read_log("\n".join(["x: buffer " + word * 5_000] * 20))
    assert time.process_time() - started < 1


@given(
    st.lists(st.sampled_from(log_text("two_cards").splitlines() + log_text("refused").splitlines() + [""]), max_size=40)
)
def test_lines_in_any_order_are_read_or_refused(lines: list[str]) -> None:
    try:
        log = read_log("\n".join(lines))
    except LogError:
        return
    assert log.is_ready or log.buffers or log.refusal or log.error


@given(st.text(st.sampled_from("0123456789.=|()-+ :_MiBnctxbufersizKV\x1b[m\n\0"), max_size=400))
def test_text_of_the_same_letters_is_read_or_refused(text: str) -> None:
    try:
        read_log("load_tensors: CPU model buffer size = 1.00 MiB\n" + text)
    except LogError:
        return


@pytest.mark.parametrize(("size", "printed"), [(0, 0), (1 << 20, 100), (4417339392, 421270), (5242, 0), (5243, 1)])
def test_bytes_are_rounded_as_the_log_rounds_them(size: int, printed: int) -> None:
    assert hundredths_of(size) == printed
