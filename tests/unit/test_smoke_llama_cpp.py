"""The smoke test's questions to llama-server, each to a server as planned and to one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import Basis, Embedding, LedgerRow, Plan, RowKind, ServerLedger
from compiler.targets.plan_json import plan_object
from compiler.units import MIB, ByteRange
from tests.unit.gguf_samples import PARTS, alone_on_cpu, beside_vllm
from tests.unit.plan_samples import with_service

# Of which the plan knows the beginning.
COMMIT = "89abcde" + "0" * 33
SNAPSHOT = f"/var/lib/stackc/hf/hub/models--org--general/snapshots/{COMMIT}"
# As `--verbosity 4` prints them, with colours off.
LOG = """\
0.00.182.000 I llama_model_loader: loaded meta data with 20 key-value pairs and 46 tensors from /x.gguf
0.00.183.784 I load_tensors:        CUDA0 model buffer size =    40.00 MiB
0.00.183.784 I load_tensors:    CUDA_Host model buffer size =     9.00 MiB
0.00.185.656 I llama_kv_cache:      CUDA0 KV buffer size =    16.00 MiB
0.00.388.649 I sched_reserve:      CUDA0 compute buffer size =    64.00 MiB
0.00.389.000 I sched_reserve:      CUDA0 compute buffer size =     5.14 MiB
"""


@dataclass
class LlamaServer:
    """What it answers by path; whatever is posted is answered with `posted`, in turn."""

    answers: dict[str, Any] = field(default_factory=dict)
    posted: list[tuple[int, Any]] = field(default_factory=list)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    key: str | None = "right"
    opens: str | None = "right"

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if path != "/health" and self.key != self.opens:
            return SimpleNamespace(status=401, body=b"{}")
        status, value = self.posted.pop(0) if method == "POST" else (200, self.answers[path])
        if body is not None:
            self.bodies.append(body)
        text = json.dumps(value)
        return SimpleNamespace(status=status, body=text.encode(), json=lambda: json.loads(text))

    def with_key(self, key: str | None) -> LlamaServer:
        return replace(self, key=key)


def props(**changes: Any) -> dict[str, Any]:
    answer = {
        "build_info": "b10434-7e4c0a9",
        "model_path": f"{SNAPSHOT}/{PARTS[0].path}",
        "total_slots": 8,
        "default_generation_settings": {"n_ctx": 16384},
    }
    return {"/props": answer | changes}


@pytest.fixture
def ask(scripts: SimpleNamespace) -> Callable[..., str]:
    """Ask one question of a server that should be `general` of a plan."""

    def question(check: str, server: LlamaServer, plan: Plan | None = None, **changes: Any) -> str:
        data = plan_object(plan or beside_vllm())
        service = next(each for each in data["services"] if each["engine"] == "llama.cpp")
        target = scripts.probes.Target(server, service, "general", "b10434", True, 0.2, data)
        module = next(each for each in (scripts.llama_cpp, scripts.probes, scripts.answers) if hasattr(each, check))
        answer: str = getattr(module, check)(target._replace(**changes))
        return answer

    return question


@pytest.fixture(scope="module")
def slots() -> int:
    return beside_vllm().service("general").max_num_seqs


def test_the_planned_build_is_told_from_another(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    assert ask("check_version", LlamaServer(props())) == "llama.cpp b10434-7e4c0a9"
    with pytest.raises(scripts.stack.StackError, match="b10435-x, the plan is for b10434"):
        ask("check_version", LlamaServer(props(build_info="b10435-x")))


def test_a_build_without_a_number_is_known_by_its_commit(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    assert ask("check_version", LlamaServer(props(build_info="b1-7e4c0a9"))) == "llama.cpp b1-7e4c0a9"
    with pytest.raises(scripts.stack.StackError, match="b1-1234567"):
        ask("check_version", LlamaServer(props(build_info="b1-1234567")))
    with pytest.raises(scripts.stack.Warned, match="has no number"):
        ask("check_version", LlamaServer(props(build_info="b0-")))


def test_who_has_no_key_learns_nothing_of_the_build_and_the_key_is_what_fails(
    ask: Callable[..., str], scripts: SimpleNamespace
) -> None:
    shut = LlamaServer(props(), key="another")
    with pytest.raises(scripts.stack.Skipped):
        ask("check_version", shut)
    with pytest.raises(scripts.stack.StackError, match="401") as refused:
        ask("check_key", shut)
    assert refused.value.code == 5


def test_the_key_is_tried_where_it_is_asked_for(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    """The list of models is open to everyone: it would say that any key is right."""
    answers = {**props(), "/slots": [], "/metrics": "", "/v1/models": {}}
    assert ask("check_guard", LlamaServer(answers)) == "no key and a wrong key get 401"
    with pytest.raises(scripts.stack.StackError, match="a wrong key: HTTP 200"):
        ask("check_guard", LlamaServer(answers, opens="wrong", key=None))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{SNAPSHOT}/{PARTS[1].path}", "serves"),
        (f"{SNAPSHOT.replace(COMMIT, 'f' * 40)}/{PARTS[0].path}", "serves commit ffff"),
        (f"{SNAPSHOT.replace('general', 'coder')}/{PARTS[0].path}", "serves"),
        ("", "serves"),
    ],
)
def test_another_file_or_commit_fails(path: str, said: str, ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    assert COMMIT in ask("check_file", LlamaServer(props()))
    with pytest.raises(scripts.stack.StackError, match=said):
        ask("check_file", LlamaServer(props(model_path=path)))


def test_a_file_of_a_folder_is_known_by_its_path(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    plan = alone_on_cpu()
    model = replace(plan.service("tiny").model, repository=None, folder="/srv/models/", commit=None)
    plan = with_service(plan, "tiny", model=model)
    path = f"/srv/models/{PARTS[0].path}"
    assert ask("check_file", LlamaServer(props(model_path=path)), plan) == path
    with pytest.raises(scripts.stack.StackError, match="/srv/other"):
        ask("check_file", LlamaServer(props(model_path="/srv/other")), plan)


def test_fewer_slots_or_a_smaller_context_fail(ask: Callable[..., str], scripts: SimpleNamespace, slots: int) -> None:
    service = beside_vllm().service("general")
    right = {"total_slots": slots, "default_generation_settings": {"n_ctx": service.max_model_len}}
    assert ask("check_slots", LlamaServer(props(**right))) == f"{slots} slots"
    assert str(service.max_model_len) in ask("check_context", LlamaServer(props(**right)))
    with pytest.raises(scripts.stack.StackError, match=f"{slots - 1} slots"):
        ask("check_slots", LlamaServer(props(total_slots=slots - 1)))
    for wrong in ({"n_ctx": 256}, {}, None):
        with pytest.raises(scripts.stack.StackError, match="a slot has"):
            ask("check_context", LlamaServer(props(default_generation_settings=wrong)))


def test_images_are_read_where_that_is_planned(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    plan = beside_vllm()
    model = replace(plan.service("general").model, projector="mmproj-f16.gguf")
    seeing = with_service(plan, "general", model=model)
    with pytest.raises(scripts.stack.Skipped, match="text alone"):
        ask("check_images", LlamaServer())
    answers = props(modalities={"vision": True})
    server = LlamaServer(answers, posted=[(200, {}), (500, {})])
    assert ask("check_images", server, seeing) == "an image is answered"
    with pytest.raises(scripts.stack.StackError, match="HTTP 500"):
        ask("check_images", server, seeing)
    with pytest.raises(scripts.stack.StackError, match="reads no images"):
        ask("check_images", LlamaServer(props(modalities={"vision": False})), seeing)


def with_rows(*rows: LedgerRow) -> Plan:
    plan = beside_vllm()
    (device,) = plan.devices
    return replace(plan, devices=(replace(device, servers=(ServerLedger("general", rows),)),))


def row(kind: RowKind, low: float, high: float) -> LedgerRow:
    sizes = (int(each * MIB) for each in (low, high, high))
    return LedgerRow(kind, kind.value, ByteRange(*sizes), Basis.DERIVED, "x")


ROWS = {
    RowKind.WEIGHTS: row(RowKind.WEIGHTS, 40, 40),
    RowKind.KV_CACHE: row(RowKind.KV_CACHE, 16, 16),
    RowKind.BUFFERS: row(RowKind.BUFFERS, 4, 6),
}


def test_buffers_of_the_log_lie_within_the_ledger(ask: Callable[..., str], tmp_path: Path) -> None:
    """A buffer that is reserved again replaces the one before; main memory beside a GPU is not the GPU's."""
    (tmp_path / "log").write_text(LOG)
    said = ask("check_buffers", LlamaServer(), with_rows(*ROWS.values()), log=tmp_path / "log")
    assert said == "device 0: weights 40.00 MiB; device 0: kv cache 16.00 MiB; device 0: buffers 5.14 MiB"


def test_a_projector_s_buffer_is_not_the_model_s(
    ask: Callable[..., str], scripts: SimpleNamespace, tmp_path: Path
) -> None:
    """Its weights are in no line, and what it reserves for an image replaces nothing of the model's."""
    line = "0.00.050.632 I reserve_compute_meta:      CUDA0 compute buffer size =    24.50 MiB\n"
    (tmp_path / "log").write_text(LOG + line)
    weights = replace(row(RowKind.WEIGHTS, 9, 9), title="projector")
    for low, high in ((24.5, 30), (1, 24)):
        images = replace(row(RowKind.ACTIVATION, low, high), title="projector's compute buffer")
        plan = with_rows(*ROWS.values(), weights, images)
        if high < 24.5:
            with pytest.raises(scripts.stack.StackError, match=r"compute buffer of images 24\.50 MiB"):
                ask("check_buffers", LlamaServer(), plan, log=tmp_path / "log")
        else:
            said = ask("check_buffers", LlamaServer(), plan, log=tmp_path / "log")
            assert said.endswith("buffers 5.14 MiB; device 0: compute buffer of images 24.50 MiB")


@pytest.mark.parametrize(
    "wrong",
    [
        row(RowKind.WEIGHTS, 41, 41),
        row(RowKind.KV_CACHE, 8, 8),
        row(RowKind.BUFFERS, 0, 5),
        row(RowKind.BUFFERS, 6, 9),
    ],
    ids=lambda row: f"{row.kind.value}-{row.bytes.high // MIB}",
)
def test_a_buffer_beyond_its_rows_fails(
    wrong: LedgerRow, ask: Callable[..., str], scripts: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text(LOG)
    plan = with_rows(*{**ROWS, wrong.kind: wrong}.values())
    with pytest.raises(scripts.stack.StackError, match="the ledger has"):
        ask("check_buffers", LlamaServer(), plan, log=tmp_path / "log")


def test_the_last_start_of_a_log_counts(ask: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG.replace("40.00", "99.00") + LOG)
    assert "weights 40.00 MiB" in ask("check_buffers", LlamaServer(), with_rows(*ROWS.values()), log=tmp_path / "log")


@pytest.mark.parametrize("text", ["", "hello\n" * 100, "llama_model_loader: loaded meta data with 1\n", "x" * 10_000])
def test_a_log_that_says_nothing_is_no_failure_and_no_pass(
    text: str, ask: Callable[..., str], scripts: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(scripts.stack.Skipped, match="--verbosity 4"):
        ask("check_buffers", LlamaServer(), log=tmp_path / "log")
    with pytest.raises(scripts.stack.Skipped, match="cannot be read"):
        ask("check_buffers", LlamaServer(), log=tmp_path / "none")


def test_a_server_that_loads_is_waited_for(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    """Its 503 says so; of vLLM's server three of them mean that its engine is dead."""
    said = iter([503, 503, 503, 503, 200])
    server = SimpleNamespace(host="h", port=1)
    server.within = lambda _: SimpleNamespace(request=lambda *_: SimpleNamespace(status=next(said)))
    scripts.probes.time.sleep, slept = (lambda _: None), scripts.probes.time.sleep
    try:
        assert ask("check_health", server, ready_seconds=60) == "h:1 is ready"
    finally:
        scripts.probes.time.sleep = slept


def embedding_plan() -> Plan:
    return with_service(beside_vllm(), "general", task="embed", embedding=Embedding(2, None))


def test_a_text_beyond_the_context_may_be_the_servers_fault(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    """It says 500 of a text that is read as a whole."""
    refused = LlamaServer(posted=[(500, {}), (200, {})])
    assert "HTTP 500" in ask("check_overlong", refused, embedding_plan())
    with pytest.raises(scripts.stack.StackError, match="HTTP 200"):
        ask("check_overlong", LlamaServer(posted=[(200, {}), (200, {})]), embedding_plan())


def test_texts_to_rank_are_words_since_it_takes_no_tokens(ask: Callable[..., str]) -> None:
    server = LlamaServer(posted=[(500, {}), (200, {})])
    plan = with_service(beside_vllm(), "general", task="score", labels=1)
    ask("check_overlong", server, plan)
    long, short = (body["documents"][0].split() for body in server.bodies)
    assert (len(long), len(short)) == (plan.service("general").max_model_len + 1, 1)


def test_it_gives_no_labels(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    with pytest.raises(scripts.stack.Skipped, match="it ranks"):
        ask("check_labels", LlamaServer(), with_service(beside_vllm(), "general", task="score", labels=1))


def test_embeddings_have_length_1_whatever_the_model(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    def answered(*vectors: list[float]) -> LlamaServer:
        return LlamaServer(posted=[(200, {"data": [{"embedding": vector} for vector in vectors]})])

    assert "as planned" in ask("check_embedding", answered([1.0, 0.0], [0.0, 1.0]), embedding_plan())
    with pytest.raises(scripts.stack.StackError, match="not 1"):
        ask("check_embedding", answered([2.0, 0.0], [0.0, 2.0]), embedding_plan())


def generated(message: Mapping[str, Any], reason: str = "stop") -> tuple[int, Any]:
    choice = {"message": message, "finish_reason": reason}
    return 200, {"choices": [choice], "usage": {"completion_tokens": 4}}


def test_a_tool_is_asked_for_without_its_name(ask: Callable[..., str], scripts: SimpleNamespace) -> None:
    """A model that calls none is no fault of the server: it cannot be forced."""
    plan = with_service(beside_vllm(), "general", features=("tools",))
    call = {"function": {"name": "get_weather", "arguments": '{"city": "Rome", "unit": "celsius"}'}}
    server = LlamaServer(posted=[generated({"tool_calls": [call]}, "tool_calls"), generated({})])
    assert "get_weather" in ask("check_tools", server, plan)
    assert [body["tool_choice"] for body in server.bodies] == ["required", "auto"]
    with pytest.raises(scripts.stack.Warned, match="called no tool"):
        ask("check_tools", LlamaServer(posted=[generated({"content": "Sunny."}, "length")]), plan)
    other = {"function": {"name": "other", "arguments": "{}"}}
    with pytest.raises(scripts.stack.StackError, match="for other"):
        ask("check_tools", LlamaServer(posted=[generated({"tool_calls": [other]})]), plan)
