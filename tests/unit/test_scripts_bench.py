"""bin/bench: what it asks of vLLM, what it keeps, and what it calls a regression."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from compiler.calibration.bench import read_bench
from compiler.speed.measured import Served
from tests.unit.fake_openai import FakeOpenAI, serving
from tests.unit.plan_samples import PATH, two_on_one_gpu, with_service, write_executable, write_snapshot, write_tree

KEY = "sk-very-secret"
CLIENT_KEY = "sk-of-a-client-0123456789"

# Stands in for `vllm bench serve`: notes how it was called, and reports figures that the test laid beside it.
FAKE_VLLM = """#!/usr/bin/env python3
import json, os, sys
from itertools import pairwise
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[1:]
calls = here / "calls.json"
known = json.loads(calls.read_text()) if calls.exists() else []
environment = {name: value for name, value in os.environ.items() if name.lower().endswith(("_proxy", "_key"))}
calls.write_text(json.dumps([*known, {"words": words, "environment": environment}]))
figures = json.loads((here / "figures.json").read_text())
if figures.pop("crash", False):
    print("Traceback: it says", os.environ.get("OPENAI_API_KEY"))
    sys.exit(3)
option = lambda name: words[words.index(name) + 1]
speeds = figures.pop("speeds", {})
factor = speeds.get(option("--base-url"), [1.0])[len(known) % len(speeds.get(option("--base-url"), [1.0]))]
requests = int(option("--num-prompts"))
tokens = int(option("--random-output-len")) if "--random-output-len" in words else 0
result = {"completed": requests, "total_output_tokens": requests * tokens}
result |= {"output_throughput": 100.0 / factor, "total_token_throughput": 900.0 / factor}
for name in ("ttft", "tpot", "itl", "e2el"):
    result |= {f"median_{name}_ms": 20.0 * factor, f"p95_{name}_ms": 40.0 * factor}
result.update(figures)
Path(option("--result-dir"), option("--result-filename")).write_text(json.dumps(result))
"""


@dataclass
class Bench:
    tree: Path
    folder: Path
    server: FakeOpenAI
    candidate: FakeOpenAI

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        baselines = [] if "--baselines" in arguments else ["--baselines", str(self.folder / "baselines")]
        command = [str(self.tree / "bin/bench"), *arguments, *baselines]
        known = {"PATH": PATH, "HTTP_PROXY": "http://127.0.0.1:1", "HF_HOME": str(self.folder / "hf")}
        known |= {"STACKC_VLLM": str(self.folder / "vllm"), "STACKC_API_KEY_FILE": str(self.folder / "key")}
        done = subprocess.run(command, env=known | environment, capture_output=True, text=True, timeout=60, check=False)
        assert KEY not in done.stdout + done.stderr
        assert "Traceback (most" not in done.stderr
        return done

    def figures(self, **figures: Any) -> None:
        (self.folder / "figures.json").write_text(json.dumps(figures))

    def speed(self, server: FakeOpenAI, *factors: float) -> None:
        """How many times slower than usual the server is, by run."""
        self.figures(speeds={f"http://127.0.0.1:{server.port}": factors})

    def change_plan(self, change: Callable[[dict[str, Any]], object]) -> None:
        plan = json.loads((self.tree / "plan.json").read_text())
        change(plan)
        (self.tree / "plan.json").write_text(json.dumps(plan))

    def calls(self) -> list[dict[str, Any]]:
        known: list[dict[str, Any]] = json.loads((self.folder / "calls.json").read_text())
        return known

    def baseline(self, service: str = "coder") -> Path:
        (found,) = (self.folder / "baselines" / service).glob("*.json")
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with serving("coder", KEY) as server, serving("coder", KEY) as candidate:
        plan = with_service(two_on_one_gpu(), "coder", port=server.port, max_model_len=2048, concurrency=4)
        plan = with_service(plan, "general", port=candidate.port, candidate_of="coder", served_name="coder")
        made = Bench(write_tree(plan, tmp_path / "tree"), tmp_path, server, candidate)
        write_executable(tmp_path / "vllm", FAKE_VLLM)
        (tmp_path / "key").write_text(KEY + "\n")
        made.figures()
        write_snapshot(tmp_path / "hf", "org/coder-awq")
        write_snapshot(tmp_path / "hf", "org/general", commit="89abcde" + "0" * 33)
        yield made


def options(words: list[str]) -> dict[str, str]:
    return {word: after for word, after in pairwise(words) if word.startswith("--")}


def test_the_load_follows_from_the_plan(bench: Bench) -> None:
    done = bench.run("coder")
    assert done.returncode == 0, done.stderr
    calls = bench.calls()
    assert len(calls) == 3
    given = options(calls[0]["words"])
    assert (given["--backend"], given["--endpoint"]) == ("openai-chat", "/v1/chat/completions")
    assert given["--base-url"] == f"http://127.0.0.1:{bench.server.port}"
    assert (given["--random-input-len"], given["--random-output-len"]) == ("1024", "128")
    assert (given["--num-prompts"], given["--max-concurrency"]) == ("50", "4")
    assert given["--tokenizer"].endswith("/snapshots/0123456789abcdef0123456789abcdef01234567")
    # The same prompts, but never from the prefix cache of the run before.
    assert len({options(call["words"])["--seed"] for call in calls}) == 1
    assert len({options(call["words"])["--extra-body"] for call in calls}) == 3


def test_the_key_reaches_vllm_by_the_environment_alone_and_no_proxy_does(bench: Bench) -> None:
    bench.run("coder")
    call = bench.calls()[0]
    assert call["environment"] == {"OPENAI_API_KEY": KEY}
    assert KEY not in " ".join(call["words"])


def test_a_short_context_gets_short_prompts(bench: Bench) -> None:
    bench.change_plan(lambda plan: plan["services"][0].update(max_model_len=256))
    assert bench.run("coder", "--runs", "1").returncode == 0
    given = options(bench.calls()[0]["words"])
    assert (given["--random-input-len"], given["--random-output-len"]) == ("128", "64")
    done = bench.run("coder", "--input-len", "250", "--output-len", "7")
    assert done.returncode == 2
    assert "exceed the context, 256" in done.stderr


def test_each_task_is_measured_in_its_own_way(bench: Bench) -> None:
    bench.change_plan(lambda plan: plan["services"][0].update(task="completion"))
    assert bench.run("coder", "--runs", "1").returncode == 0
    bench.change_plan(lambda plan: plan["services"][0].update(task="embed"))
    done = bench.run("coder", "--runs", "1", "--format", "json")
    assert done.returncode == 0, done.stderr
    completion, embed = (options(call["words"]) for call in bench.calls())
    assert (completion["--backend"], completion["--endpoint"]) == ("openai", "/v1/completions")
    assert (embed["--backend"], embed["--endpoint"]) == ("openai-embeddings", "/v1/embeddings")
    for task, backend, path, data in (
        ("score", "vllm-rerank", "/v1/rerank", "random-rerank"),
        ("classify", "vllm-pooling", "/pooling", "random"),
    ):
        bench.change_plan(lambda plan, task=task: plan["services"][0].update(task=task))  # type: ignore[misc]
        assert bench.run("coder", "--runs", "1").returncode == 0
        given = options(bench.calls()[-1]["words"])
        assert [given[name] for name in ("--backend", "--endpoint", "--dataset-name")] == [backend, path, data]
    # Nothing is generated, so there is no first token to wait for.
    assert not {"--random-output-len", "--extra-body", "--ignore-eos"} & set(bench.calls()[1]["words"])
    metrics = json.loads(done.stdout)["services"][0]["metrics"]
    assert set(metrics) == {"total_token_throughput", "median_e2el_ms", "p95_e2el_ms"}


def test_the_first_run_writes_the_baseline_and_the_next_keeps_it(bench: Bench) -> None:
    assert "written to" in bench.run("coder").stdout
    before = bench.baseline().read_text()
    done = bench.run("coder")
    assert done.returncode == 0
    assert "against its baseline" in done.stdout
    assert bench.baseline().read_text() == before
    assert "0123456" in bench.baseline().name
    # `stackc calibrate --speed` reads it.
    found = read_bench(before)
    assert (found.title, found.speed.served) == ("NVIDIA RTX PRO 6000", Served("org/coder-awq", "awq", 1))
    assert (found.speed.concurrency, found.speed.prompt, found.speed.answer) == (4, 1024, 128)
    assert (found.speed.ttft_ms, found.speed.tpot_ms, found.speed.output_rate) == (20, 20, 100)


def test_a_slower_server_is_a_regression(bench: Bench) -> None:
    bench.run("coder")
    bench.speed(bench.server, 1.2)
    done = bench.run("coder", "--format", "json")
    assert done.returncode == 24
    report = json.loads(done.stdout)["services"][0]
    assert report["regressions"] == 9
    assert bench.run("coder", "--tolerance", "25").returncode == 0
    # Accepted, it is the new measure.
    assert bench.run("coder", "--update-baseline").returncode == 0
    assert bench.run("coder").returncode == 0


def test_a_faster_server_is_none(bench: Bench) -> None:
    bench.run("coder")
    bench.speed(bench.server, 0.5)
    assert bench.run("coder").returncode == 0


def test_what_the_runs_differ_by_themselves_is_no_regression(bench: Bench) -> None:
    bench.speed(bench.server, 1.0, 1.12, 0.88)
    bench.run("coder")
    bench.speed(bench.server, 1.25, 1.4, 1.1)
    assert bench.run("coder").returncode == 0
    # A machine that is as noisy as can be does not hide a server that is half as fast.
    bench.speed(bench.server, 2.1, 4.0, 1.0)
    assert bench.run("coder").returncode == 24


def test_another_revision_is_compared_with_the_newest_one_before_it(bench: Bench) -> None:
    bench.run("coder")
    bench.server.version = "0.34.0"
    bench.speed(bench.server, 1.5)
    done = bench.run("coder")
    assert done.returncode == 24
    assert "against coder-awq-01234567-awq-0.33.0-" in done.stdout
    assert len(list((bench.folder / "baselines/coder").glob("*.json"))) == 2
    listed = json.loads(bench.run("coder", "--list", "--format", "json").stdout)
    assert [each["revision"].split("-")[4] for each in listed] == ["0.33.0", "0.34.0"]


def test_a_report_for_people_is_called_text_as_everywhere_and_by_its_old_name(bench: Bench) -> None:
    """A cron job that says `human`, the word of earlier releases, must not end with a usage error after an upgrade."""
    bench.run("coder")
    listed = [bench.run("coder", "--list", *form) for form in ((), ("--format", "text"), ("--format", "human"))]
    assert {each.returncode for each in listed} == {0}
    assert len({each.stdout for each in listed}) == 1
    assert "human" not in bench.run("--help").stdout
    assert bench.run("coder", "--list", "--json").stdout == bench.run("coder", "--list", "--format", "json").stdout


def test_another_load_is_never_compared(bench: Bench) -> None:
    bench.run("coder")
    bench.server.version = "0.34.0"
    bench.speed(bench.server, 5.0)
    done = bench.run("coder", "--requests", "60")
    assert done.returncode == 0
    assert "nothing to compare with" in done.stdout
    done = bench.run("coder", "--requests", "70", "--compare", "coder-awq-01234567-awq-0.33.0")
    assert done.returncode == 2
    assert "another load" in done.stderr


def test_a_named_revision_is_compared_with(bench: Bench) -> None:
    bench.run("coder")
    first = bench.baseline().stem
    bench.server.version = "0.34.0"
    bench.run("coder")
    bench.server.version = "0.35.0"
    bench.speed(bench.server, 1.5)
    done = bench.run("coder", "--compare", first)
    assert (done.returncode, done.stdout.count("against")) == (24, 1)
    assert f"against {first}" in done.stdout
    unknown = bench.run("coder", "--compare", "nothing")
    assert unknown.returncode == 2
    assert first in unknown.stderr


def test_a_candidate_is_compared_with_what_it_would_replace(bench: Bench) -> None:
    bench.speed(bench.candidate, 1.5)
    done = bench.run("coder", "general")
    assert done.returncode == 24, done.stderr
    assert "against coder, measured now" in done.stdout
    # Both got the same load, though the candidate alone could take more.
    assert len({options(call["words"])["--max-concurrency"] for call in bench.calls()}) == 1
    # The service itself is none the worse for a candidate that is faster.
    bench.figures(speeds={f"http://127.0.0.1:{bench.candidate.port}": [0.5]})
    done = bench.run("coder", "general", "--update-baseline")
    assert done.returncode == 0
    alone = bench.run("general", "--update-baseline", "--format", "json")
    against = [each["against"] for each in json.loads(alone.stdout)["services"][0]["comparisons"]]
    assert [name.startswith("coder-awq") for name in against] == [True]


def test_a_failed_request_makes_the_run_invalid(bench: Bench) -> None:
    bench.figures(completed=49, errors=["", "Internal Server Error"])
    done = bench.run("coder")
    assert done.returncode == 1
    assert "1 of 50 requests failed, such as: Internal Server Error" in done.stderr
    assert not (bench.folder / "baselines/coder").exists()


def test_answers_that_are_too_short_make_the_run_invalid(bench: Bench) -> None:
    bench.figures(total_output_tokens=17)
    done = bench.run("coder")
    assert done.returncode == 1
    assert "17 tokens were generated instead of 6400" in done.stderr


def test_a_crash_of_vllm_is_shown_without_the_key(bench: Bench) -> None:
    bench.figures(crash=True)
    done = bench.run("coder")
    assert done.returncode == 1
    assert "ended with 3" in done.stderr
    assert "it says [key]" in done.stderr


@pytest.mark.parametrize(
    "damage",
    ["", "{", '{"schema": 1}', '{"schema": 9, "metrics": {}}', '{"schema": 1, "metrics": {"a": {"median": "x"}}}'],
)
def test_a_damaged_baseline_is_named_before_anything_is_measured(bench: Bench, damage: str) -> None:
    bench.run("coder")
    calls = len(bench.calls())
    bench.baseline().write_text(damage)
    done = bench.run("coder")
    assert done.returncode == 4
    assert str(bench.baseline()) in done.stderr
    assert len(bench.calls()) == calls


def test_servers_that_cannot_be_measured_are_told_apart(bench: Bench) -> None:
    (bench.folder / "wrong").write_text("sk-another")
    assert bench.run("coder", "--api-key-file", str(bench.folder / "wrong")).returncode == 5
    assert bench.run("coder", "--api-key-file", "/nowhere").returncode == 4
    bench.server.name = "another"
    assert bench.run("coder").returncode == 6
    bench.server.health = 503
    assert bench.run("coder").returncode == 3
    assert bench.run("nobody").returncode == 2
    assert bench.run("general", STACKC_VLLM="/nowhere").returncode == 4
    assert bench.run("coder", "--runs", "0").returncode == 2


def test_two_measurements_at_once_are_refused(bench: Bench) -> None:
    (bench.folder / "baselines").mkdir()
    with (bench.folder / "baselines/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = bench.run("coder")
    assert done.returncode == 4
    assert "another measurement" in done.stderr


def test_a_link_in_the_place_of_the_lock_is_not_written_through(bench: Bench) -> None:
    """Root may measure, in a folder that the servers' user can write to."""
    precious = bench.folder / "precious"
    precious.write_text("precious")
    (bench.folder / "baselines").mkdir()
    (bench.folder / "baselines/.lock").symlink_to(precious)
    assert bench.run("coder").returncode == 4
    assert precious.read_text() == "precious"


def test_through_the_gateway_a_client_key_is_used(bench: Bench) -> None:
    (bench.folder / "clients").write_text(f"# for measurements\nbench:{CLIENT_KEY}\nother:sk-other\n")
    gateway = {"host": "0.0.0.0", "port": bench.server.port, "routes": [{"service": "coder"}]}
    bench.change_plan(lambda plan: plan.update(gateway=gateway))
    bench.change_plan(lambda plan: plan["secrets"].update(client_keys=str(bench.folder / "clients")))
    bench.server.key = CLIENT_KEY
    done = bench.run("coder", "--through-gateway", "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert bench.calls()[0]["environment"] == {"OPENAI_API_KEY": CLIENT_KEY}
    assert json.loads(bench.baseline().read_text())["conditions"]["route"] == "gateway"
    assert bench.run("general", "--through-gateway").returncode == 2


def test_through_the_gateway_all_replicas_are_one_server_with_the_room_of_all(bench: Bench) -> None:
    gateway = {"host": "0.0.0.0", "port": bench.server.port, "routes": [{"service": "coder"}]}
    replica = {"replicas": 2, "replica_of": "coder", "candidate_of": None, "concurrency": 4, "max_model_len": 2048}
    bench.change_plan(lambda plan: plan.update(gateway=gateway))
    bench.change_plan(lambda plan: plan["services"][1].update(replica))
    bench.change_plan(lambda plan: plan["secrets"].update(client_keys=None))
    bench.server.key = None
    done = bench.run("--through-gateway", "--runs", "1")
    assert done.returncode == 0, done.stderr
    loads = [options(call["words"])["--max-concurrency"] for call in bench.calls()]
    assert loads == ["8"], "each route once, with what its replicas take together"
