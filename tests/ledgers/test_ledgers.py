"""No change of shape changes a ledger: the digests of all are those that are committed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.ledger import LedgerRow, RowKind
from compiler.units import ByteRange
from tests.ledgers.corpus import DIGESTS, LAYOUTS, answer, configs, digest, line_of, table


def test_every_ledger_is_what_it_was() -> None:
    """A term that is meant to change is written anew by `python -m tests.ledgers`, and named in the commit."""
    written, found = DIGESTS.read_text().splitlines(), table().splitlines()
    differing = [line.split(" ")[0] for line in set(written) ^ set(found)]
    assert written == found, f"ledgers of {sorted(set(differing))} differ"


def test_one_byte_of_one_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    config, layout = configs()["memory.LLAMA_70B"], LAYOUTS[0]
    before = digest(answer(config, layout))

    def shifted(row: LedgerRow) -> str:
        is_one = row.kind is RowKind.WEIGHTS
        return line_of(replace(row, bytes=row.bytes + ByteRange.exact(1)) if is_one else row)

    monkeypatch.setattr("tests.ledgers.corpus.line_of", shifted)
    assert digest(answer(config, layout)) != before
