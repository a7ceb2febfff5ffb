"""The emitted programs on real servers: a chat, an embedder and a ranker, as planned and otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_process import free_port
from tests.engine.prometheus import run_prometheus
from tests.engines.llama_cpp.random_models import EMBEDDING, qwen3
from tests.engines.llama_cpp.server.tree import Tree, tree_of
from tests.gguf.writer import tensor
from tools.setup_llama_server import BUILD

pytestmark = pytest.mark.engine

# enum llama_pooling_type of include/llama.h
LAST, RANK = 3, 4


def compile_tree(home: Path, services: Mapping[str, Mapping[str, Any]]) -> Tree:
    given = {"context": 512, "concurrency": 2}
    spec = {
        "stack": "small",
        "engine": {"llama.cpp": BUILD},
        "nodes": {"here": {"cpu": {"memory": "8GiB"}}},
        "services": {name: {**given, "port": free_port(), **service} for name, service in services.items()},
        "secrets": {"api_key": str(home / "key")},
        "monitoring": {"scrape_seconds": 5},
    }
    path = home / "small.yaml"
    path.write_text(json.dumps(spec))
    return tree_of(home, path)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    home = tmp_path_factory.mktemp("trio")
    qwen3().write(home / "chat.gguf")
    embedder = qwen3()
    embedder.set({"pooling_type": LAST})
    embedder.write(home / "embed.gguf")
    ranker = qwen3()
    ranker.set({"pooling_type": RANK, "classifier.output_labels": ["yes", "no"]})
    ranker.tensors.append(tensor("cls.output.weight", "f32", EMBEDDING, 2))
    ranker.write(home / "rank.gguf")
    services = {
        "chat": {"model": str(home / "chat.gguf"), "features": ["structured-output"]},
        "embed": {"model": str(home / "embed.gguf"), "task": "embed"},
        "rank": {"model": str(home / "rank.gguf"), "task": "score"},
    }
    tree = compile_tree(home, services)
    with tree.serving(*services):
        yield tree


def test_every_server_is_what_the_plan_says(trio: Tree) -> None:
    code, checks = trio.checks("--requests", "2")
    assert code == 0, [each for each in checks.values() if each["status"] == "fail"]
    asked = [("chat", name) for name in ("chat", "completion", "stream", "structured-output", "budget")]
    asked += [("embed", "embedding"), ("rank", "rerank"), ("stack", "together")]
    for name in ("health", "key", "model", "guard", "revision", "context", "slots", "overlong", "metrics", "memory"):
        asked += [(service, name) for service in ("chat", "embed", "rank")]
    asked += [(service, "rule-metrics") for service in ("chat", "embed", "rank")]
    # A skip would prove nothing; with random weights the text that answers may not be the first.
    fine = {"ok", "warn"}
    assert {key: checks[key] for key in asked if checks[key]["status"] not in fine} == {}
    assert checks["embed", "embedding"]["detail"] == "64 numbers, length 1.000 as planned"


@pytest.mark.parametrize("name", ["chat", "embed", "rank"])
def test_its_buffers_are_those_of_the_ledger(name: str, trio: Tree) -> None:
    _, checks = trio.checks(name, "--requests", "0", "--server-log", str(trio.log(name)))
    assert checks[name, "buffers"]["status"] == "ok", checks[name, "buffers"]


def test_without_its_log_buffers_are_left_out_with_a_word(trio: Tree) -> None:
    _, checks = trio.checks("chat", "--requests", "0")
    assert checks["chat", "buffers"]["status"] == "skip"
    assert "--server-log" in checks["chat", "buffers"]["detail"]


def service(plan: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in plan["services"] if each["name"] == name)
    return found


def test_servers_that_are_others_than_planned_are_told(trio: Tree, tmp_path: Path) -> None:
    """The same servers beside a plan that says something else of each."""

    def change(plan: dict[str, Any]) -> None:
        service(plan, "chat")["max_num_seqs"] = 3
        service(plan, "chat")["max_model_len"] = 1024
        service(plan, "embed")["model"]["file"] = "other.gguf"
        service(plan, "embed")["embedding"]["dimension"] = 32
        service(plan, "rank")["served_name"] = "other"
        for server in plan["devices"][0]["servers"]:
            server["rows"] = [row | {"bytes": dict.fromkeys(row["bytes"], 2**10)} for row in server["rows"]]

    other = trio.beside(tmp_path / "tree", change)
    code, checks = other.checks("--requests", "0")
    assert code == 6, "the first check that fails is that of a model that is not served"
    failed = {key for key, each in checks.items() if each["status"] == "fail"}
    assert failed >= {
        *(("chat", name) for name in ("slots", "context", "memory")),
        *(("embed", name) for name in ("revision", "embedding", "memory")),
        ("rank", "model"),
    }
    _, checks = other.checks("chat", "--requests", "0", "--server-log", str(trio.log("chat")))
    assert checks["chat", "buffers"]["status"] == "fail"


def test_a_key_that_the_server_does_not_know_ends_it_with_5(trio: Tree) -> None:
    (trio.home / "wrong").write_text("sk-of-somebody-else\n")
    code, checks = trio.checks("chat", "--api-key-file", str(trio.home / "wrong"))
    assert code == 5
    assert checks["chat", "version"]["status"] == "skip"


def test_prometheus_shows_the_key_and_panels_have_series(trio: Tree, tmp_path: Path) -> None:
    """A rule or a panel over a name that the server does not expose would stay silent."""
    names = ("chat", "embed", "rank")
    for name in names:
        trio.run("smoke-test", name, "--requests", "1")
    monitoring = trio.folder / "monitoring"
    with run_prometheus(monitoring / "prometheus.yml", tmp_path) as prometheus:
        # Each is scraped at its own time, and a rate takes two scrapes.
        for name in names:
            prometheus.wait_for(f'rate(llamacpp:prompt_tokens_total{{service="{name}"}}[1m])', 60)
        assert {target["health"] for target in prometheus.targets()} == {"up"}
        board = json.loads(next(monitoring.rglob("dashboards/*.json")).read_text())
        asked = [query["expr"] for panel in board["panels"] for query in panel.get("targets", ())]
        empty = [each for each in asked if not prometheus.query(each.replace("$__rate_interval", "1m"))]
        assert asked
        assert not empty


def test_bench_leaves_them_out_with_a_word(trio: Tree) -> None:
    done = trio.run("bench", "--baselines", str(trio.home / "baselines"))
    assert (done.returncode, done.stdout.strip()) == (0, "")
    assert "left out" in done.stderr
    assert trio.run("bench", "chat").returncode == 2


def test_evaluate_asks_them(trio: Tree) -> None:
    cases = trio.home / "cases.json"
    case = {"name": "any", "prompt": "hello", "checks": [{"regex": "(?s).*"}], "max_tokens": 4}
    cases.write_text(json.dumps({"cases": [case]}))
    done = trio.run("evaluate", str(cases), "--service", "chat", "--api-key-file", str(trio.home / "key"))
    assert done.returncode == 0, done.stdout + done.stderr
