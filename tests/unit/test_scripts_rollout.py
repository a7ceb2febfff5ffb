"""bin/rollout: a revision may get requests as soon as one of its replicas is ready."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

PLAN: dict[str, Any] = {
    "gateway": {
        "routes": [
            {"service": "other", "upstreams": [{"service": "other"}], "rollout": None},
            {
                "service": "chat",
                "upstreams": [{"service": "chat"}, {"service": "chat-2"}],
                "rollout": {
                    "stable": "chat",
                    "candidate": "chat-candidate",
                    "upstreams": [{"service": "chat-candidate"}, {"service": "chat-candidate-2"}],
                },
            },
        ]
    }
}
READY = [
    (0, {"chat-2"}, None),
    (100, {"chat-candidate-2"}, None),
    (100, {"chat", "chat-2"}, "no replica of chat-candidate is ready"),
    (50, {"chat-candidate"}, "no replica of chat is ready"),
    (50, {"chat", "chat-candidate-2"}, None),
]


@pytest.mark.parametrize(("percent", "ready", "refusal"), READY)
def test_one_ready_replica_of_each_revision_that_gets_requests_is_enough(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, percent: int, ready: set[str], refusal: str | None
) -> None:
    def call(_: object, word: str, name: str) -> None:
        assert word == "probe"
        if name not in ready:
            raise scripts.stack.StackError(3, f"{name} does not answer")

    monkeypatch.setattr(scripts.rollout, "call_gateway", call)
    change = scripts.rollout.Change(PLAN["gateway"]["routes"][1]["rollout"], 0, percent)
    if refusal is None:
        scripts.rollout.check_health(None, change, PLAN)
        return
    with pytest.raises(scripts.stack.StackError, match=refusal):
        scripts.rollout.check_health(None, change, PLAN)
