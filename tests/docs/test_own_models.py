"""Whoever follows the guide to models of one's own gets what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.own_models import played
from tests.test_docs import matches


def test_each_command_prints_what_stands_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    for command, wanted, answer in played(tmp_path):
        assert matches(wanted, answer), f"$ {command}\n{answer}"
