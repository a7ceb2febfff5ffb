"""smoke-test: how fast are answers, and do all servers answer together?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import Monitoring, Secrets
from tests.unit.fake_server import FakeServer, run_program, serving, statuses
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

Target = Callable[..., Any]


def budget(scripts: SimpleNamespace, *, requests: int = 4, is_strict: bool = False, **limits: Any) -> Any:
    known: dict[str, Any] = dict.fromkeys(("ttft_p95", "tpot_p95", "tokens_per_second"))
    return scripts.budget.Budget(requests=requests, is_strict=is_strict, **(known | limits))


def test_what_is_measured_is_what_the_server_does(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer
) -> None:
    """A first token after 50 ms and one every 10 ms: the figures must say so, not the time of the whole answer."""
    server.first_gap, server.gap, server.chunks = 0.05, 0.01, 10
    said = scripts.budget.check_budget(make_target(), budget(scripts))
    first = int(said.partition("first token ")[2].partition(" ms")[0])
    further = float(said.partition("further tokens ")[2].partition(" ms")[0])
    assert 50 <= first < 500
    assert 9 <= further < 60
    assert "no objective" in said


@pytest.mark.parametrize("limit", [{"ttft_p95": 0.01}, {"tpot_p95": 0.001}, {"tokens_per_second": 1e6}])
def test_too_slow_is_a_warning_and_strictly_a_failure(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer, limit: dict[str, float]
) -> None:
    server.first_gap, server.gap = 0.03, 0.005
    with pytest.raises(scripts.stack.Warned, match=r"over|fewer"):
        scripts.budget.check_budget(make_target(), budget(scripts, **limit))
    with pytest.raises(scripts.stack.StackError, match=r"over|fewer"):
        scripts.budget.check_budget(make_target(), budget(scripts, is_strict=True, **limit))


def test_a_budget_that_is_kept_passes(scripts: SimpleNamespace, make_target: Target) -> None:
    kept = budget(scripts, is_strict=True, ttft_p95=10.0, tpot_p95=10.0, tokens_per_second=0.1)
    assert "no objective" not in scripts.budget.check_budget(make_target(), kept)


def test_an_estimate_is_shown_and_a_server_below_it_is_a_warning(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer
) -> None:
    """A token every 10 ms is at most 100 a second: no server whose plan says 200 at least should be so slow."""
    server.gap, server.chunks = 0.01, 10
    said = scripts.budget.check_budget(make_target(), budget(scripts, estimate=(1.0, 1000.0)))
    assert "estimate for each request: 1 to 1000 tokens/s" in said
    with pytest.raises(scripts.stack.Warned, match="slower than estimated"):
        scripts.budget.check_budget(make_target(), budget(scripts, estimate=(200.0, 1000.0)))


def test_requests_run_at_the_planned_concurrency(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer
) -> None:
    """One to warm up, and then none of four is answered before all have come."""
    server.alone, server.rendezvous = 1, threading.Barrier(4)
    assert "4 at once" in scripts.budget.check_budget(make_target(concurrency=4), budget(scripts))
    server.rendezvous = None
    assert "1 at once" in scripts.budget.check_budget(make_target(concurrency=1), budget(scripts, requests=1))


def test_a_request_that_fails_under_load_fails_the_check(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer
) -> None:
    server.ends_stream = False
    with pytest.raises(scripts.stack.StackError, match="did not end"):
        scripts.budget.check_budget(make_target(), budget(scripts))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (20, 19), (100, 95), (8, 8)])
def test_p95_is_by_nearest_rank(scripts: SimpleNamespace, count: int, expected: int) -> None:
    assert scripts.budget.p95([float(value) for value in range(count, 0, -1)]) == expected


def test_the_objective_of_the_specs_monitoring_is_the_budget(tmp_path: Path, server: FakeServer) -> None:
    server.key, server.first_gap = None, 0.05
    plan = with_service(two_on_one_gpu(), "coder", port=server.port)
    objective = Monitoring(0.01, 0.2, (), 15, False, 3000, False, 9400, 9090)
    tree = write_tree(replace(plan, secrets=Secrets(None, None), monitoring=objective), tmp_path)
    done = run_program(tree, "smoke-test", "coder", "--json", "--requests", "2")
    assert (done.returncode, statuses(done)["budget"]) == (0, "warn")
    done = run_program(tree, "smoke-test", "coder", "--json", "--requests", "2", "--strict")
    assert (done.returncode, statuses(done)["budget"]) == (1, "fail")
    done = run_program(tree, "smoke-test", "coder", "--json", "--requests", "2", "--strict", "--ttft-p95", "5")
    assert (done.returncode, statuses(done)["budget"]) == (0, "ok")


def test_all_servers_are_asked_at_the_same_time(
    scripts: SimpleNamespace, make_target: Target, server: FakeServer
) -> None:
    """Each answers alone; that they do so together is another question, with one GPU between them."""
    server.rendezvous = threading.Barrier(2)
    with serving() as other:
        other.name, other.rendezvous = "general", server.rendezvous
        client = scripts.server.Server("127.0.0.1", other.port, other.key, 10.0)
        second = make_target(name="general")._replace(server=client, name="general")
        assert scripts.further.check_together([make_target(), second]) == "coder, general answered at the same time"
        server.rendezvous = other.rendezvous = None
        other.name = "gone"
        with pytest.raises(scripts.stack.StackError, match="general: /v1/chat/completions: HTTP 404"):
            scripts.further.check_together([make_target(), second])
    with pytest.raises(scripts.stack.Skipped):
        scripts.further.check_together([make_target()])
