"""Encryption at the gateway, and teams: a renewal and a revocation cost no other client a request."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Team, Tls
from tests.gateway.certificates import Pair, make_pair
from tests.gateway.machine import Machine, free_port, gateway_plan, machine_with, wait_until
from tests.gateway.servers import KEY, Client

TEAM_KEY = "research-0123456789abcdef"
NEXT_KEY = "research-9876543210fedcba"
HSTS = 86_400


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The certificate that the gateway starts with."""
    return make_pair(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(nginx: str, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A gateway with TLS, a port without, and a team that may ask for one model, twice at once."""
    root = tmp_path_factory.mktemp("gateway")
    # For root nginx has workers of another user, who may not look into pytest's folders.
    challenges = Path(tempfile.mkdtemp(prefix="stackc-acme-"))
    challenges.chmod(0o755)
    (challenges / ".well-known/acme-challenge").mkdir(parents=True)
    (challenges / ".well-known/acme-challenge/token-1").write_text("token-1.thumbprint")
    names = ("llm.example.org",)
    tls = Tls(str(pair.certificate), str(pair.key), names, free_port(), hsts=HSTS, challenges=str(challenges))
    teams = (Team("narrow", 1, 1, ()), Team("research", None, 20, ("coder",)))
    with machine_with(root, gateway_plan(tls=tls, teams=teams)) as machine:
        machine.keys.write_text(f"alice:{KEY}\nresearch:{TEAM_KEY}\nnarrow:narrow-0123456789abcdef\n")
        with machine.running():
            yield machine
    shutil.rmtree(challenges)


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trusts this certificate alone."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


class SecureClient:
    """Asks by TLS for the name in the certificate."""

    def __init__(self, port: int, context: ssl.SSLContext, key: str = KEY) -> None:
        self.port, self.context, self.key = port, context, key

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
            connection = http.client.HTTPConnection("llm.example.org", self.port)
            connection.sock = self.context.wrap_socket(plain, server_hostname="llm.example.org")
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            return answer.status, json.loads(text), {name.lower(): value for name, value in answer.getheaders()}

    def chat(self, model: str) -> tuple[int, Any, dict[str, str]]:
        """A chat of one message."""
        return self.ask("POST", "/v1/chat/completions", {"model": model, "messages": []})


def test_clients_are_answered_by_tls_and_told_to_keep_to_it(secure: Machine, pair: Pair) -> None:
    status, body, headers = SecureClient(secure.port, trusting(pair.certificate)).chat("coder")
    assert (status, body["server"]) == (200, "coder")
    assert headers["strict-transport-security"] == f"max-age={HSTS}"
    assert secure.gateway("status").returncode == 0


@pytest.mark.parametrize(
    ("ciphers", "is_taken"), [("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-AES128-SHA", False)]
)
def test_of_tls_1_2_only_ciphers_that_hold_are_taken(secure: Machine, ciphers: str, is_taken: bool) -> None:
    words = ("-connect", f"127.0.0.1:{secure.port}", "-tls1_2", "-cipher", ciphers)
    done = subprocess.run(["openssl", "s_client", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (f"Cipher is {ciphers}".encode() in done.stdout) is is_taken


def test_a_request_without_tls_is_not_served(secure: Machine) -> None:
    before = len(secure.servers["coder"].seen)
    answer = Client(secure.port).chat("coder")
    assert (answer.status, answer.error["code"]) == (400, "tls_required")
    assert len(secure.servers["coder"].seen) == before


def test_the_port_without_tls_sends_browsers_on_and_refuses_programs(secure: Machine) -> None:
    assert secure.plan.gateway is not None
    assert secure.plan.gateway.tls is not None
    port = secure.plan.gateway.tls.http_port
    assert port is not None
    browser = Client(port, None).send("GET", "/v1/models?x=1", None, {"Host": f"llm.example.org:{port}"})
    assert browser.status == 308
    assert browser.headers["location"] == f"https://llm.example.org:{secure.port}/v1/models?x=1"
    before = len(secure.servers["coder"].seen)
    program = Client(port).chat("coder")
    assert (program.status, program.error["code"]) == (403, "tls_required")
    assert len(secure.servers["coder"].seen) == before
    token = Client(port, None).send("GET", "/.well-known/acme-challenge/token-1", None, {})
    assert (token.status, token.body) == (200, b"token-1.thumbprint")
    assert Client(port, None).send("GET", "/.well-known/acme-challenge/../../client-keys", None, {}).status != 200


def test_a_team_may_ask_for_its_models_alone(secure: Machine, pair: Pair) -> None:
    team = SecureClient(secure.port, trusting(pair.certificate), TEAM_KEY)
    assert team.chat("coder")[0] == 200
    status, body, _ = team.chat("general")
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    assert team.chat("nobody")[1]["error"]["code"] == "model_not_found"
    assert [card["id"] for card in team.ask("GET", "/v1/models")[1]["data"]] == ["coder"]
    assert team.ask("GET", "/v1/models/general")[0] == 404
    last = secure.last_request("research")
    assert last["client"] == "research"
    assert TEAM_KEY not in secure.log.read_text()


def test_a_team_has_a_rate_of_its_own(secure: Machine, pair: Pair) -> None:
    narrow = SecureClient(secure.port, trusting(pair.certificate), "narrow-0123456789abcdef")
    statuses = [narrow.chat("coder")[0] for _ in range(12)]
    assert statuses[0] == 200
    assert 429 in statuses
    wide = SecureClient(secure.port, trusting(pair.certificate))
    assert {wide.chat("coder")[0] for _ in range(12)} == {200}


def test_files_that_do_not_belong_together_are_refused_and_the_old_ones_stay(secure: Machine, pair: Pair) -> None:
    other = make_pair(secure.root / "other")
    good = pair.key.read_bytes()
    for text, said in ((other.key.read_bytes(), "key values mismatch"), (b"nothing\n", "no PRIVATE KEY")):
        pair.key.write_bytes(text)
        done = secure.gateway("reload")
        pair.key.write_bytes(good)
        assert done.returncode in (19, 20)
        assert said in done.stderr
    assert SecureClient(secure.port, trusting(pair.certificate)).chat("coder")[0] == 200


def test_a_renewal_and_a_revocation_under_load_cost_nobody_else_a_request(secure: Machine, pair: Pair) -> None:
    renewed = make_pair(secure.root / "renewed")
    context = trusting(pair.certificate)
    context.load_verify_locations(str(renewed.certificate))
    load = Load(SecureClient(secure.port, context))
    team = SecureClient(secure.port, context, TEAM_KEY)
    with load:
        wait_until(lambda: len(load.statuses) >= 20)
        shutil.copy(renewed.certificate, pair.certificate)
        shutil.copy(renewed.key, pair.key)
        assert secure.gateway("reload").returncode == 0
        assert SecureClient(secure.port, trusting(renewed.certificate)).chat("coder")[0] == 200
        # A second key beside the first, then the first away: a team changes its key without a gap.
        keys = secure.keys.read_text()
        secure.keys.write_text(f"{keys}research:{NEXT_KEY}\n")
        assert secure.gateway("reload").returncode == 0
        assert {replace_key(team, key).chat("coder")[0] for key in (TEAM_KEY, NEXT_KEY)} == {200}
        open_answer = threading.Thread(target=load.record, args=(replace_key(team, TEAM_KEY), 1.5))
        open_answer.start()
        wait_until(lambda: any(b'"gap"' in each.body for each in secure.servers["coder"].seen))
        secure.keys.write_text(f"{keys}research:{NEXT_KEY}\n".replace(f"research:{TEAM_KEY}\n", ""))
        assert secure.gateway("reload").returncode == 0
        assert [replace_key(team, key).chat("coder")[0] for key in (TEAM_KEY, NEXT_KEY)] == [401, 200]
        open_answer.join(60)
        wait_until(lambda: len(load.statuses) >= 60)
    secure.keys.write_text(keys)
    assert secure.gateway("reload").returncode == 0
    assert set(load.statuses) == {200}, load.errors


def replace_key(client: SecureClient, key: str) -> SecureClient:
    """The same client with another key."""
    return SecureClient(client.port, client.context, key)


class Load:
    """About twenty requests a second, in a block; `statuses` of all of them, -1 for one that broke off."""

    def __init__(self, client: SecureClient) -> None:
        self.client, self.statuses, self.errors = client, list[int](), list[str]()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(120)

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self.record(self.client)

    def record(self, client: SecureClient, gap: float | None = None) -> None:
        """One request; with a gap, a stream that takes twice as long."""
        body = {"model": "coder", "messages": []}
        try:
            if gap is None:
                self.statuses.append(client.ask("POST", "/v1/chat/completions", body)[0])
            else:
                self.statuses.append(client_stream(client, {**body, "stream": True, "chunks": 2, "gap": gap}))
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.errors.append(repr(error))
            self.statuses.append(-1)


def client_stream(client: SecureClient, body: dict[str, Any]) -> int:
    """The status of a stream that came to its end, else -1."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as plain:
        connection = http.client.HTTPConnection("llm.example.org", client.port)
        connection.sock = client.context.wrap_socket(plain, server_hostname="llm.example.org")
        headers = {"Authorization": f"Bearer {client.key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status if b"[DONE]" in answer.read() else -1


def test_what_is_missing_is_told_at_the_start(nginx: str, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "tls")
    tls = Tls(str(pair.certificate), str(tmp_path / "nothing.pem"))
    with machine_with(tmp_path, gateway_plan(tls=tls), ()) as machine:
        done = machine.gateway("run")
        assert (done.returncode, "nothing.pem: cannot read it" in done.stderr) == (19, True), done.stderr
        with_passphrase = replace(tls, key=str(pair.key))
        pair.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with machine_with(tmp_path / "2", gateway_plan(tls=with_passphrase), ()) as machine:
        done = machine.gateway("check")
        assert (done.returncode, "passphrase" in done.stderr) == (19, True), done.stderr
