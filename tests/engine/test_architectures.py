"""The committed tables of architectures are what the releases' own registries say."""

from __future__ import annotations

import subprocess

import pytest

from tests.engine.engine_process import CPU_RELEASE, PLAIN_RELEASES, ROOT, engine_python, parser_environment

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_extracting_again_changes_nothing(version: str) -> None:
    command = [str(engine_python()), str(ROOT / "tools/extract_architectures.py"), "--check"]
    if version != CPU_RELEASE:
        command += ["--source", str(ROOT / ".engine" / f"vllm-{version}")]
    result = subprocess.run(command, env=parser_environment(version), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
