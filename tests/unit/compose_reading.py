"""Compose files as their readers see them, for several test files."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from functools import cache
from typing import Any

from compiler.plan.ir import Plan
from compiler.targets.compose import emit_compose
from tests.conftest import missing, tool
from tests.plain_yaml import read_yaml
from tests.unit.container_samples import behind_gateway, every_plan, patched

PATCH = {
    "x-team": {"owner": "ml-platform", "on-call": ["a", "b"]},
    "services": {
        "coder": {
            "labels": {"team": "ml", "cost": "a $HOME of 5%"},
            "environment": {"VLLM_LOGGING_LEVEL": "DEBUG"},
            "logging": {"options": {"tag": "{{.Name}}"}},
            "deploy": {"resources": {"limits": {"memory": "64g"}}},
            "ulimits": {"nproc": 65535},
            "volumes": [{"type": "bind", "source": "/etc/ssl/corp.pem", "target": "/etc/ssl/corp.pem"}],
            "depends_on": {"vault": {"condition": "service_started"}},
        },
        "vault": {"image": "hashicorp/vault:1.20.0", "networks": ["backend"]},
    },
    "networks": {"backend": {"driver_opts": {"com.docker.network.driver.mtu": "9000"}}, "other": {"external": True}},
    "volumes": {"hf-cache": {"driver": "local", "driver_opts": {"type": "nfs", "o": "addr=10.0.0.9", "device": ":/m"}}},
}


def patched_plan() -> Plan:
    return patched(behind_gateway(), compose=PATCH)


PLANS = [*every_plan(), replace(patched_plan(), stack="patched")]


def text_of(plan: Plan) -> str:
    return emit_compose(plan)[0].text


def load(plan: Plan) -> dict[str, Any]:
    return parsed(text_of(plan))


@cache
def parsed(text: str) -> dict[str, Any]:
    """Read once for all tests, none of which changes it."""
    loaded: dict[str, Any] = read_yaml(text)
    return loaded


@cache
def compose_tool() -> str:
    """Docker Compose itself; releases before 2.20.2 do not know `start_interval`."""
    found = tool("docker-compose")
    version = subprocess.run([found, "version", "--short"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers < (2, 20, 2):
        missing(f"{found} is Compose {version.strip() or 'of unknown version'}, 2.20.2 is needed")
    return found
