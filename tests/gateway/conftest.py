"""Tests with a real nginx, and with a real LiteLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing, tool
from tests.gateway.machine import Machine, gateway_plan, machine_with

NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")


@pytest.fixture(scope="session")
def nginx() -> str:
    """nginx with its JavaScript module."""
    if not NJS.is_file():
        missing("nginx's JavaScript module is not installed (libnginx-mod-http-js)")
    return tool("nginx")


@pytest.fixture(scope="module")
def machine(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose gateway runs; its tests leave servers, keys and weights as they are."""
    with machine_with(tmp_path_factory.mktemp("gateway"), gateway_plan()) as one, one.running():
        yield one
