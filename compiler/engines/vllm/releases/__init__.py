"""Releases of vLLM that stackc compiles for, the newest of a build first: the only list of them."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.vllm.releases import v0_32_0_cpu, v0_33_0
from compiler.engines.vllm.releases.release import Release

RELEASES: Mapping[str, Release] = {release.version: release for release in (v0_33_0.RELEASE, v0_32_0_cpu.RELEASE)}
