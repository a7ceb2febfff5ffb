from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.units import GIB, ByteRange, UnitError, format_gib, format_tokens, parse_bytes, parse_tokens, total


@pytest.mark.parametrize(
    ("text", "size"), [("1GiB", 2**30), ("80GB", 80 * 10**9), ("94.97GiB", 101973261025), ("512 MiB", 2**29), ("0B", 0)]
)
def test_sizes_are_read_to_the_byte(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "remedy"), [("24", "24GiB"), ("24gb", "24GB"), ("24G", "24GiB"), ("24 apples", None)])
def test_a_size_without_a_unit_is_never_guessed(text: str, remedy: str | None) -> None:
    with pytest.raises(UnitError) as caught:
        parse_bytes(text)
    assert caught.value.remedy == remedy


def test_vllm_reads_k_as_thousand_and_so_it_is_refused() -> None:
    assert parse_tokens("32K") == 32768
    with pytest.raises(UnitError, match="32000 or 32768") as caught:
        parse_tokens("32k")
    assert caught.value.remedy == "32K"


@given(st.integers(1, 2**31))
def test_tokens_survive_a_round_trip(count: int) -> None:
    assert parse_tokens(format_tokens(count)) == count


def test_gib_are_printed_as_vllm_prints_them() -> None:
    assert format_gib(int(1.005 * GIB)) == "1.00"


@given(st.lists(st.tuples(*[st.integers(0, 2**40)] * 3).map(sorted)))
def test_sums_of_intervals_hold_their_parts(parts: list[list[int]]) -> None:
    ranges = [ByteRange(*part) for part in parts]
    assert total(ranges).low == sum(part[0] for part in parts)
    assert total(ranges).high == sum(part[2] for part in parts)


def test_an_interval_in_disorder_is_a_bug() -> None:
    with pytest.raises(ValueError, match="interval"):
        ByteRange(2, 1, 3)
