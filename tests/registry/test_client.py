"""Digests come from registries of any kind, and none of them can hold a run, lead it astray or lie to it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from compiler.resolve.answers import AccessError, MalformedError, MissingError, SourceError, UnavailableError
from compiler.resolve.registry.client import Registries
from compiler.resolve.registry.http import Deadline, get
from compiler.resolve.registry.reference import InvalidReferenceError, Reference, parse_reference
from tests.registry.server import MANIFEST, LoopbackRegistry, digest_of, index, serve

IMAGE = index("amd64", "arm64")
NAME = "vllm/vllm-openai:v0.33.0"


def ask(registry: LoopbackRegistry, name: str = NAME, *, seconds: float = 30, said: list[str] | None = None) -> str:
    told = [] if said is None else said
    return Registries(told.append, seconds=seconds, pause=0.01).digest(parse_reference(f"{registry.host}/{name}"))


def test_the_digest_is_that_of_the_whole_index() -> None:
    with serve({NAME: IMAGE}) as registry:
        assert ask(registry) == digest_of(IMAGE)
        manifest = "/v2/vllm/vllm-openai/manifests/v0.33.0"
        assert registry.asked == [manifest, "/token", manifest]


def test_a_registry_without_tokens_is_sent_none() -> None:
    with serve({NAME: IMAGE}, wants_token=False) as registry:
        assert ask(registry) == digest_of(IMAGE)
        assert registry.credentials == [""]


def test_an_image_for_one_machine_alone_has_a_digest_too() -> None:
    manifest = b'{"schemaVersion": 2, "mediaType": "%s", "config": {}, "layers": []}' % MANIFEST.encode()
    with serve({NAME: manifest}) as registry:
        assert ask(registry) == digest_of(manifest)


@pytest.mark.parametrize(
    ("written", "host", "repository", "tag"),
    [
        ("nginx:1.28.0", "registry-1.docker.io", "library/nginx", "1.28.0"),
        ("docker.io/nginx:1", "registry-1.docker.io", "library/nginx", "1"),
        ("vllm/vllm-openai:v0.33.0", "registry-1.docker.io", "vllm/vllm-openai", "v0.33.0"),
        ("ghcr.io/berriai/litellm:v1", "ghcr.io", "berriai/litellm", "v1"),
        ("nvcr.io/nvidia/k8s/dcgm-exporter:4.5.3", "nvcr.io", "nvidia/k8s/dcgm-exporter", "4.5.3"),
        ("quay.io:443/a/b:c", "quay.io:443", "a/b", "c"),
        ("localhost/a:b", "localhost", "a", "b"),
    ],
)
def test_names_are_read_as_container_engines_read_them(written: str, host: str, repository: str, tag: str) -> None:
    assert parse_reference(written) == Reference(written, host, repository, tag)


@pytest.mark.parametrize(
    "written", ["nginx", "a/B:c", "a/../b:c", "a:b@sha256:00", "x y:1", "a//b:c", "evil.example/..:x", ":x", "a:"]
)
def test_what_is_no_name_is_asked_nowhere(written: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference(written)


@pytest.mark.parametrize("host", ["ghcr.io", "10.0.0.1:5000", "registry.internal:80", "127.0.0.1.evil.example"])
def test_only_this_machine_is_asked_without_tls(host: str) -> None:
    assert parse_reference(f"{host}/a/b:c").origin == f"https://{host}"
    assert parse_reference("127.0.0.1:5000/a:b").origin == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (404, MissingError, "has no image"),
        (403, AccessError, "wants a login"),
        (500, UnavailableError, "did not answer"),
        (429, UnavailableError, "limits the rate"),
        ("wrong digest", MalformedError, "is not that of its manifest"),
        ("html", MalformedError, "no JSON"),
        ("no index", MalformedError, "no manifest"),
        ("long", MalformedError, "too long"),
        ("cut", UnavailableError, "cannot be reached"),
    ],
)
def test_a_bad_answer_is_told_and_gives_no_digest(fault: int | str, error: type[SourceError], words: str) -> None:
    with serve({NAME: IMAGE}, fault=fault) as registry, pytest.raises(error, match=words):
        ask(registry)


def test_an_image_that_is_not_there_is_told_by_its_name() -> None:
    with serve({}) as registry, pytest.raises(MissingError, match=NAME):
        ask(registry)


@pytest.mark.parametrize("fault", ["drip", "drip of headers", "endless"])
def test_a_registry_that_drips_is_left_in_time(fault: str) -> None:
    """Each byte comes before any silence would be noticed."""
    with serve({NAME: IMAGE}, fault=fault) as registry:
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="too slowly"):
            ask(registry, seconds=0.4)
        assert time.monotonic() - started < 8, "it would have dripped for half an hour"


def test_a_greeting_of_tls_that_drips_is_left_in_time() -> None:
    """While TLS greets, the connection belongs to nobody that a timeout would end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip_a_greeting, args=(server,), daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="too slowly"):
            get(f"https://127.0.0.1:{server.getsockname()[1]}/v2/", {}, Deadline(0.4), 100)
        assert time.monotonic() - started < 8
    thread.join()


def drip_a_greeting(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        for byte in b"\x16\x03\x03\x40\x00\x02" + bytes(16000):
            connection.sendall(bytes([byte]))
            time.sleep(0.02)


@pytest.mark.parametrize("fault", [500, 503, "cut"])
def test_what_fails_in_passing_is_asked_again(fault: int | str) -> None:
    with serve({NAME: IMAGE}, fault=fault, times=2) as registry:
        assert ask(registry) == digest_of(IMAGE)


def test_a_rate_limit_is_waited_for_as_long_as_there_is_time() -> None:
    said: list[str] = []
    with serve({NAME: IMAGE}, fault=429, times=1, headers={"Retry-After": "0"}) as registry:
        assert ask(registry, said=said) == digest_of(IMAGE)
    assert said
    with serve({NAME: IMAGE}, fault=429, headers={"Retry-After": "3600"}) as registry:
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="limits the rate"):
            ask(registry)
        assert time.monotonic() - started < 8


@pytest.mark.parametrize("realm", ["http://auth.example/token", "file:///etc/passwd", "ftp://a/b", "//x", "gopher://x"])
def test_a_challenge_cannot_send_us_anywhere_else_than_https(realm: str) -> None:
    with serve({NAME: IMAGE}, realm=realm) as registry, pytest.raises(MalformedError, match="not https"):
        ask(registry)


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "", "Bearer", 'Bearer service="x"'])
def test_a_registry_with_passwords_says_what_to_do(challenge: str) -> None:
    with serve({NAME: IMAGE}, headers={"WWW-Authenticate": challenge}) as registry:
        with pytest.raises(AccessError, match="wants a login") as caught:
            ask(registry)
        assert "imagetools inspect" in caught.value.helps[0]


@pytest.mark.parametrize("target", ["http://example.org/x", "file:///etc/passwd"])
def test_redirects_stay_safe(target: str) -> None:
    faults = {"fault": 307, "headers": {"Location": target}}
    with serve({NAME: IMAGE}, **faults) as registry, pytest.raises(MalformedError, match="not https"):
        ask(registry)


def test_a_redirect_does_not_carry_the_token_to_another_host() -> None:
    with serve({NAME: IMAGE}, wants_token=False) as other:
        target = f"http://{other.host}/v2/vllm/vllm-openai/manifests/v0.33.0"
        with serve({NAME: IMAGE}, fault=307, headers={"Location": target}) as registry:
            assert ask(registry) == digest_of(IMAGE)
        assert registry.credentials == ["Bearer anonymous-token-1"]
        assert other.credentials == [""]


def test_redirects_end() -> None:
    faults = {"fault": 307, "headers": {"Location": "/v2/again"}}
    with serve({NAME: IMAGE}, **faults) as registry, pytest.raises(MalformedError, match="without end"):
        ask(registry)
