"""Which parser is for which family is said by files that the release has."""

from __future__ import annotations

import pytest

from compiler.engines.vllm.answers.parser_table import FAMILIES
from tests.engine.engine_process import ENGINE, PLAIN_RELEASES

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("version", PLAIN_RELEASES)
def test_every_source_is_a_file_of_the_release(version: str) -> None:
    folder = ENGINE / f"vllm-{version}" / "vllm"
    assert [family.title for family in FAMILIES if not (folder / family.source).is_file()] == []
