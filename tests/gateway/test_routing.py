"""Each request reaches the server of the model that it names, and nothing else reaches any server."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.units import KIB
from tests.gateway.machine import Machine, gateway_plan, machine_with, wait_until
from tests.gateway.servers import BACKEND_KEY, KEY, STREAM_CHUNKS, STREAM_GAP, Client

CHAT_PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
]
MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(["model", "model ", "Model", "messages", "__proto__", "constructor", ""]) | st.text(max_size=4),
        st.sampled_from(["coder", "general", "general-candidate", "CODER", "", "coder\0", "@route_0"])
        | st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), st.lists, max_leaves=5),
    ),
    max_size=5,
)


def members_text(members: list[tuple[str, object]], *, escaped: bool) -> bytes:
    """A JSON object in which a key may come twice."""
    pairs = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=escaped)}" for key, value in members]
    return ("{" + ", ".join(pairs) + "}").encode("utf-8", "surrogatepass")


def head(rest: str) -> bytes:
    """The head of a request that a test sends by hand."""
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}"]
    return "\r\n".join([*lines, "Content-Type: application/json", rest, "", ""]).encode()


def asked(machine: Machine) -> int:
    return sum(len(server.seen) for server in machine.servers.values())


@pytest.mark.parametrize("path", CHAT_PATHS)
def test_the_model_decides_which_server_answers(machine: Machine, path: str) -> None:
    answer = machine.client.post(path, {"model": "coder", "input": "é×漢😀"})
    assert (answer.status, answer.data["server"], answer.headers["x-stackc-service"]) == (200, "coder", "coder")
    assert machine.servers["coder"].seen[-1].path == path


def test_the_body_arrives_byte_by_byte(machine: Machine) -> None:
    body = b' {"model" :"coder",\n"x":"\\u00e9 \xc3\xa9",  "y":1e0}  '
    assert machine.client.send("POST", "/v1/chat/completions", body).status == 200
    assert machine.servers["coder"].seen[-1].body == body


@pytest.mark.parametrize(
    "path",
    [
        "/", "/metrics", "/tokenize", "/pooling", "/invocations", "/load", "/version", "/v1", "/v1/embeddings",
        "/v1/chat/completions/", "/v1/chat/completions/render", "/v1/responses/resp_1", "/v1/load_lora_adapter",
        "/V1/chat/completions", "/v1/models/../../metrics", "/v1/chat/completions%00", "/docs", "/openapi.json",
        "/inference/v1/generate", "/sleep", "/conf/clients.conf", "/@route_0", "/@unanswered", "/error/401",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_of_the_servers_can_be_reached(machine: Machine, path: str, method: str) -> None:
    before = asked(machine)
    answer = machine.client.send(method, path, b'{"model": "coder"}' if method == "POST" else None)
    assert answer.status in (400, 404)
    assert asked(machine) == before


@pytest.mark.parametrize(
    "path", ["/metrics/../v1/chat/completions", "/v1//chat/completions", "/v1/chat/%63ompletions?a=/metrics"]
)
def test_a_server_sees_the_path_that_was_allowed_and_no_other_spelling(machine: Machine, path: str) -> None:
    assert machine.client.send("POST", path, b'{"model": "coder"}').status == 200
    assert machine.servers["coder"].seen[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b'"coder"', 400, "invalid_json"),
        (b'{"model": "coder"} x', 400, "invalid_json"),
        (b'\xef\xbb\xbf{"model": "coder"}', 400, "invalid_json"),
        ('{"model": "coder"}'.encode("utf-16"), 400, "invalid_json"),
        (b"[" * 1_000_000, 400, "invalid_json"),
        (b'{"model": "coder", "x": ' + b"[" * 40 + b"]" * 40 + b"}", 400, "invalid_json"),
        (b"{}", 400, "model_required"),
        (b'{"model": null}', 400, "model_required"),
        (b'{"model": ["coder"]}', 400, "model_required"),
        (b'{"__proto__": {"model": "coder"}}', 400, "model_required"),
        (b'{"model": ""}', 404, "model_not_found"),
        (b'{"model": "coder\\u0000"}', 404, "model_not_found"),
        (b'{"model": "CODER"}', 404, "model_not_found"),
        (b'{"model": "constructor"}', 404, "model_not_found"),
        (b'{"model": "__proto__"}', 404, "model_not_found"),
        (b'{"model": "@route_0"}', 404, "model_not_found"),
        (b'{"model": "general-candidate"}', 404, "model_not_found"),
        (b'{"model": "' + b"x" * 100_000 + b'"}', 404, "model_not_found"),
    ],
)
def test_what_names_no_model_is_refused_by_the_gateway_itself(
    machine: Machine, body: bytes, status: int, code: str
) -> None:
    before = asked(machine)
    answer = machine.client.send("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert len(answer.body) < 1000, "an error must not send a body back"
    assert asked(machine) == before


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=MEMBERS, escaped=st.booleans())
def test_gateway_and_server_read_the_same_model(
    machine: Machine, members: list[tuple[str, object]], escaped: bool
) -> None:
    answer = machine.client.send("POST", "/v1/completions", members_text(members, escaped=escaped))
    if answer.status == 200:
        served = answer.headers["x-stackc-service"]
        assert machine.servers[served].seen[-1].model == served.removesuffix("-candidate")
    else:
        assert dict(members).get("model") not in ("coder", "general")


def test_the_last_of_two_models_counts_as_it_does_in_python(machine: Machine) -> None:
    answer = machine.client.send("POST", "/v1/completions", b'{"model": "general", "model": "coder"}')
    assert answer.headers["x-stackc-service"] == "coder"
    assert machine.servers["coder"].seen[-1].model == "coder"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "application/jsonx", ""])
def test_only_json_is_taken(machine: Machine, content_type: str) -> None:
    before = asked(machine)
    answer = machine.client.send("POST", "/v1/completions", b'{"model": "coder"}', {"Content-Type": content_type})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert asked(machine) == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/coder", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_with_those_there_are(machine: Machine, method: str, path: str, allowed: str) -> None:
    answer = machine.client.send(method, path)
    assert (answer.status, answer.headers["allow"], answer.error["code"]) == (405, allowed, "method_not_allowed")


def test_the_models_of_the_stack_are_listed_once_with_the_length_that_both_revisions_take(machine: Machine) -> None:
    listed = machine.client.get("/v1/models").data
    assert listed["object"] == "list"
    assert {card["id"]: card["max_model_len"] for card in listed["data"]} == {"coder": 16384, "general": 8192}
    assert {card["owned_by"] for card in listed["data"]} == {"vllm"}
    assert machine.client.get("/v1/models/general").data["id"] == "general"
    assert machine.client.get("/v1/models/none").error["code"] == "model_not_found"


def test_thirty_megabytes_reach_the_server(machine: Machine) -> None:
    answer = machine.client.chat("coder", image="A" * 30_000_000)
    assert answer.status == 200
    assert answer.data["length"] > 30_000_000


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(machine: Machine) -> None:
    with socket.create_connection(("127.0.0.1", machine.port), timeout=60) as connection:
        connection.sendall(head("Content-Length: 40000000"))
        reply = connection.recv(65536)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in reply


def test_a_body_in_chunks_is_routed_too(machine: Machine) -> None:
    chunks = b"".join(f"{len(part):x}\r\n{part}\r\n".encode() for part in ('{"mod', 'el": "cod', 'er"}', ""))
    with socket.create_connection(("127.0.0.1", machine.port), timeout=60) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + chunks)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert machine.servers["coder"].seen[-1].model == "coder"


def test_a_body_of_tiny_chunks_that_outgrows_the_memory_is_refused(nginx: str, tmp_path: Path) -> None:
    """nginx writes it to a file, which the gateway's JavaScript does not read."""
    with (
        machine_with(tmp_path, gateway_plan(max_body=64 * KIB)) as machine,
        TemporaryDirectory() as folder,
    ):
        # Where this test runs as root, nginx's workers do not, and see nothing of pytest's folders.
        Path(folder).chmod(0o755)
        machine.environment["STACKC_GATEWAY_DIR"] = f"{folder}/run"
        with machine.running():
            refuse_tiny_chunks(machine)


def refuse_tiny_chunks(machine: Machine) -> None:
    body = json.dumps({"model": "coder", "x": "A" * 60 * KIB})
    with socket.create_connection(("127.0.0.1", machine.port), timeout=60) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + "".join(f"1\r\n{c}\r\n" for c in body).encode())
        connection.sendall(b"0\r\n\r\n")
        reply = connection.recv(65536)
    assert reply.startswith(b"HTTP/1.1 413 "), reply
    assert b"Content-Length" in reply
    assert machine.client.chat("coder").status == 200


def test_a_stream_arrives_as_it_is_made(machine: Machine) -> None:
    answer = machine.client.chat("coder", stream=True)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    gaps = [later - earlier for earlier, later in zip(answer.times, answer.times[1:], strict=False)]
    assert len(gaps) == STREAM_CHUNKS
    # What is gathered first and passed on then comes all at once.
    assert sum(gaps) > STREAM_GAP, gaps


def test_a_slow_client_holds_up_nobody(machine: Machine) -> None:
    with socket.create_connection(("127.0.0.1", machine.port), timeout=60) as connection:
        body = b'{"model": "coder"}'
        connection.sendall(head(f"Content-Length: {len(body)}"))
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
            if byte == ord(":"):
                assert machine.client.chat("coder").status == 200
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_ends_its_generation(machine: Machine) -> None:
    with socket.create_connection(("127.0.0.1", machine.port), timeout=60) as connection:
        body = json.dumps({"model": "coder", "stream": True, "chunks": 50, "gap": 0.05}).encode()
        connection.sendall(head(f"Content-Length: {len(body)}") + body)
        connection.recv(1024)
    wait_until(lambda: machine.servers["coder"].abandoned == 1)


def test_a_server_learns_who_asks_and_never_the_key(machine: Machine) -> None:
    forged = {"X-Stackc-Client": "root", "X-Request-Id": "forged", "X-Forwarded-For": "8.8.8.8"}
    forged |= {"X-Api-Key": KEY, "Cookie": KEY, "X-Data-Parallel-Rank": "1"}
    answer = machine.client.chat("coder", headers=forged)
    headers = {name.lower(): value for name, value in machine.servers["coder"].seen[-1].headers.items()}
    assert headers["x-stackc-client"] == "alice"
    assert headers["authorization"] == f"Bearer {BACKEND_KEY}"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"] == answer.headers["x-request-id"] != "forged"
    assert KEY not in str(headers)
    assert not {"x-api-key", "cookie", "x-data-parallel-rank"} & headers.keys()
    assert "nginx/" not in answer.headers["server"]


def test_a_server_that_is_down_is_said_to_be_at_once_and_the_others_answer(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ("coder",)) as machine, machine.running():
        answer = machine.client.chat("general")
        assert (answer.status, answer.error["code"]) == (503, "server_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "general" in answer.error["message"]
        assert machine.client.chat("coder").status == 200


def test_a_generation_that_breaks_off_is_not_asked_for_again(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        machine.servers["coder"].breaks_off = True
        answer = machine.client.chat("coder")
        assert (answer.status, answer.error["code"]) == (502, "server_error")
        assert len(machine.servers["coder"].seen) == 1
        machine.servers["coder"].breaks_off = False
        machine.servers["coder"].key = "another"
        assert machine.client.chat("coder").error["code"] == "gateway_key_refused"


def test_many_streams_at_once_all_end(machine: Machine) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(Client(machine.port).chat("coder", stream=True, gap=0.05).body))
        for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [body[-14:] for body in answers] == [b"data: [DONE]\n\n"] * 60
