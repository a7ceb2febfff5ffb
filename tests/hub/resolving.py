"""Lock a spec against a loopback Hub, for tests that expect a lock or one problem."""

from __future__ import annotations

from typing import Any

from compiler.diagnostics import Diagnostic
from compiler.lock.models import Lock
from compiler.resolve.resolve import resolve_lock
from compiler.resolve.transport.hub import Hub
from compiler.spec.models import Spec
from tests.hub.server import LoopbackHub


def locked(spec: Spec, hub: LoopbackHub, **options: Any) -> Lock:
    lock, problems = resolve_lock(spec, hub=Hub(hub.url, pause=0), **options)
    assert problems == ()
    assert lock is not None
    return lock


def problem(spec: Spec, hub: LoopbackHub, **options: Any) -> Diagnostic:
    lock, problems = resolve_lock(spec, hub=Hub(hub.url, pause=0), **options)
    assert lock is None
    assert len(problems) == 1
    return problems[0]
