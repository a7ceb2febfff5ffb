"""Rows of how fast services are, and are to be."""

from __future__ import annotations

from tests.faithfulness.samples import everything, with_parts
from tests.faithfulness.table import CHECKED, PEOPLE, in_plan_only

SERVICE = ("services", 0)
ASKED = (*SERVICE, "objectives")

OF_SPEED = (
    # Without the first one's, the second service's is the first of the list.
    in_plan_only(
        "Service.speed", (*SERVICE, "speed"), None, "speed.0.service", PEOPLE, shown="general", sample=everything
    ),
    in_plan_only(
        "Objectives.ttft_p95",
        (*ASKED, "ttft_p95"),
        9.5,
        "services.0.objectives.ttft_p95_seconds",
        CHECKED,
        sample=with_parts,
    ),
    in_plan_only(
        "Objectives.tokens_per_second",
        (*ASKED, "tokens_per_second"),
        9.5,
        "services.0.objectives.tokens_per_second",
        CHECKED,
        sample=with_parts,
    ),
)
