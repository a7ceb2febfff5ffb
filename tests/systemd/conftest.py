"""Marks all tests of this folder."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need root and namespaces."""
    for item in items:
        if "tests/systemd/" in str(item.path):
            item.add_marker(pytest.mark.systemd)
