"""What every record of a lock has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class LockModel(BaseModel):
    """Base of all lock records: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
