"""What operators are told of an engine's servers, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Manual:
    """Cells and steps are Markdown; what holds for every engine stands in the pages themselves.

    Attributes:
        exit_codes: of its server: code, meaning, what to do.
        symptoms: at night: what is seen, what to do.
        steps: of the guide of alerts, by alert: what else to know or to do.
        finishes_requests: a server that is told to stop answers first what it has begun.
        brings_bench: with it comes the client with which `bin/bench` measures its servers.
    """

    exit_codes: tuple[tuple[int, str, str], ...] = ()
    symptoms: tuple[tuple[str, str], ...] = ()
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finishes_requests: bool = True
    brings_bench: bool = False
