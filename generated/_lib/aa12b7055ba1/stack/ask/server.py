"""A client for one server: HTTP or TLS, finite times, no proxy; where it, or the gateway, is found; its process.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from stack import (
    EXIT_ENVIRONMENT,
    EXIT_USAGE,
    WILDCARD_HOSTS,
    JsonObject,
    StackError,
    probe_host,
    secret_file,
    service_of,
)
from stack.ask.dialects import dialect_of
from stack.ask.tls import Encryption, encryption_of
from stack.keys import read_api_key, read_client_key

MAX_BODY = 64 * 2**20
CONNECT_SECONDS = 5.0
_CHUNK = 2**16


class ServerError(Exception):
    """No usable answer: refused, too slow, cut off, too large, or not HTTP."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> JsonObject:
        """The body as a JSON object."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ServerError(f"the answer is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ServerError("the answer is not a JSON object")
        return value


class Event(NamedTuple):
    """One server-sent event and the seconds since the request."""

    seconds: float
    data: str


class Server:
    """One server. The key goes into a header and nowhere else."""

    def __init__(
        self, host: str, port: int, key: str | None, seconds: float, encryption: Encryption | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.encryption = encryption
        self._key = key
        self._seconds = seconds

    def with_key(self, key: str | None) -> Server:
        """The same server, asked with another key or none."""
        return Server(self.host, self.port, key, self._seconds, self.encryption)

    def within(self, seconds: float) -> Server:
        """The same server, asked with no more patience than so many seconds, and no less than one."""
        return Server(self.host, self.port, self._key, min(self._seconds, max(1.0, seconds)), self.encryption)

    def has_key(self, key: str | None) -> bool:
        """Whether it is asked with this key."""
        return self._key == key

    def request(self, method: str, path: str, body: JsonObject | None = None) -> Reply:
        """Ask and read the whole answer."""
        with self._send(method, path, body) as (response, _):
            content = bytearray()
            while chunk := response.read(_CHUNK):
                content += chunk
                if len(content) > MAX_BODY:
                    raise ServerError(f"{path}: the answer is larger than {MAX_BODY} bytes")
            if response.length:
                raise ServerError(f"{path}: the answer was cut off, {response.length} bytes are missing")
            return Reply(response.status, self._without_key(bytes(content)))

    def stream(self, path: str, body: JsonObject) -> Iterator[Event]:
        """Ask and yield every event as it arrives."""
        with self._send("POST", path, body) as (response, start):
            if response.status != 200:
                raise ServerError(f"HTTP {response.status}")
            size = 0
            while size <= MAX_BODY:
                line = response.readline(MAX_BODY)
                elapsed = time.monotonic() - start
                if not line:
                    return
                size += len(line)
                if line.startswith(b"data:"):
                    yield Event(elapsed, self._without_key(line[5:]).decode("utf-8", "replace").strip())
            raise ServerError(f"the stream is larger than {MAX_BODY} bytes")

    @contextmanager
    def _send(
        self, method: str, path: str, body: JsonObject | None
    ) -> Iterator[tuple[http.client.HTTPResponse, float]]:
        # Connecting is quick or hopeless; only the answer may take its time.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=min(CONNECT_SECONDS, self._seconds))
        start = time.monotonic()
        late = threading.Event()
        try:
            connection.connect()
            if self.encryption is not None:
                connection.sock = self.encryption.wrap(connection.sock)
            connection.sock.settimeout(self._seconds)
            with _deadline(connection.sock, self._seconds, late):
                connection.request(method, path, None if body is None else json.dumps(body), self._headers(body))
                yield connection.getresponse(), start
        except (OSError, http.client.HTTPException, ServerError) as error:
            # An answer that the deadline has ended looks cut off.
            reason = self._late(path) if late.is_set() else _reason(path, error)
            raise ServerError(self._without_key(reason.encode()).decode()) from None
        finally:
            connection.close()
        if late.is_set():
            raise ServerError(self._late(path))

    def _without_key(self, said: bytes) -> bytes:
        # What a server says is printed and logged, and one that looks for a fault may say what it was asked with.
        return said if self._key is None else said.replace(self._key.encode(), b"[key]")

    def _late(self, path: str) -> str:
        return f"{path}: no whole answer in {self._seconds:g} s"

    def _headers(self, body: JsonObject | None) -> dict[str, str]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        return headers if self._key is None else {**headers, "Authorization": f"Bearer {self._key}"}


def _reason(path: str, error: Exception) -> str:
    return str(error) if isinstance(error, ServerError) else f"{path}: {str(error) or type(error).__name__}"


@contextmanager
def _deadline(connection: socket.socket, seconds: float, late: threading.Event) -> Iterator[None]:
    """End the connection when the time is up: a socket's own timeout begins anew with every byte that drips in."""

    def give_up() -> None:
        late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


EXIT_FAILED, EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_NOT_SERVED = 1, 3, 5, 6
DIRECT, GATEWAY = "server", "gateway"


class Endpoint(NamedTuple):
    """A model that answers. `route` says whether requests go to its server or through the gateway."""

    service: JsonObject
    server: Server
    key: str | None
    route: str

    @property
    def name(self) -> str:
        """The service."""
        return str(self.service["name"])

    @property
    def model(self) -> str:
        """What requests call the model."""
        return str(self.service["served_name"])

    @property
    def base_url(self) -> str:
        """The address without `/v1`."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return f"{'http' if self.server.encryption is None else 'https'}://{host}:{self.server.port}"


def find_endpoint(
    plan: JsonObject, service: JsonObject, *, through_gateway: bool, key_file: str | None, seconds: float
) -> Endpoint:
    """The way to a service. `seconds` bounds one request."""
    if through_gateway:
        gateway = _gateway_of(plan, service)
        key = read_api_key(Path(key_file)) if key_file else _client_key(plan)
        return Endpoint(service, gateway_server(gateway, key, seconds), key, GATEWAY)
    path = Path(key_file) if key_file else secret_file(plan, "api_key")
    key = None if path is None else read_api_key(path)
    return Endpoint(service, Server(probe_host(service), service["port"], key, seconds), key, DIRECT)


def gateway_server(gateway: JsonObject, key: str | None, seconds: float, host: str | None = None) -> Server:
    """The gateway, as whoever is on its machine asks it, or at another host."""
    near = "127.0.0.1" if gateway["host"] in WILDCARD_HOSTS else gateway["host"]
    return Server(host or near, gateway["port"], key, seconds, encryption_of(gateway))


def limited_teams(plan: JsonObject) -> dict[str, list[str]]:
    """Names of clients with limits of their own, and the models that each may ask for; none for all."""
    return {team["name"]: team["models"] for team in plan["gateway"].get("teams") or []}


def _gateway_of(plan: JsonObject, service: JsonObject) -> JsonObject:
    gateway: JsonObject | None = plan.get("gateway")
    if gateway is None:
        raise StackError(EXIT_USAGE, f"stack {plan['stack']} has no gateway")
    if service_of(service) not in [route["service"] for route in gateway["routes"]]:
        raise StackError(EXIT_USAGE, f"the gateway has no route to {service['name']} alone: ask its server")
    return gateway


def _client_key(plan: JsonObject) -> str | None:
    """With which clients come to the gateway."""
    path = secret_file(plan, "client_keys")
    return None if path is None else read_client_key(path, limited_teams(plan))


def check_ready(endpoint: Endpoint) -> None:
    """Raise unless the model answers: 3 unreachable, 5 the key is refused, 6 another model is served."""
    where = f"{endpoint.name} ({endpoint.base_url})"
    if endpoint.route == DIRECT:
        status = _ask(endpoint, "/health").status
        if status != 200:
            raise StackError(EXIT_UNREACHABLE, f"{where} is not ready: HTTP {status} from /health")
    guarded = dialect_of(endpoint.service).guarded[0] if endpoint.route == DIRECT else "/v1/models"
    if _ask(endpoint, guarded).status in (401, 403):
        raise StackError(EXIT_REFUSED, f"{where} refuses {'the key' if endpoint.key else 'requests without a key'}")
    reply = _ask(endpoint, "/v1/models")
    if reply.status != 200:
        raise StackError(EXIT_FAILED, f"{where}: HTTP {reply.status} from /v1/models")
    names = _served(reply, where)
    if endpoint.model not in names:
        served = ", ".join(names) or "nothing"
        raise StackError(EXIT_NOT_SERVED, f"{where} does not serve {endpoint.model}, but {served}")


def _ask(endpoint: Endpoint, path: str) -> Reply:
    try:
        return endpoint.server.request("GET", path)
    except ServerError as error:
        raise StackError(EXIT_UNREACHABLE, f"{endpoint.name} ({endpoint.base_url}) is not ready: {error}") from error


def _served(reply: Reply, where: str) -> list[str]:
    try:
        cards = reply.json().get("data")
    except ServerError as error:
        raise StackError(EXIT_FAILED, f"{where}: /v1/models: {error}") from error
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        raise StackError(EXIT_FAILED, f"{where}: /v1/models holds no list of models")
    return [str(card.get("id")) for card in cards]


def running_version(plan: JsonObject, service: JsonObject) -> str:
    """The release that the server says it is, which the plan only asks for. `0.33.0+cpu` counts as 0.33.0."""
    # The gateway hides /version, and the server needs no key for it.
    server = Server(probe_host(service), service["port"], None, 10.0)
    try:
        found = str(server.request("GET", "/version").json().get("version", ""))
    except ServerError as error:
        raise StackError(EXIT_UNREACHABLE, f"{service['name']} does not tell its version: {error}") from error
    return found.partition("+")[0] or str(plan["engines"]["vllm"]["version"])


def find_vllm(plan: JsonObject) -> Path:
    """The vLLM of the caller, of the plan or of PATH, in this order."""
    named, planned = os.environ.get("STACKC_VLLM"), plan["paths"].get("vllm")
    names = [named] if named else [*([planned] if planned else []), "vllm"]
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise StackError(EXIT_ENVIRONMENT, f"no vLLM at {names[0]}: set STACKC_VLLM")


def use_state(plan: JsonObject) -> None:
    """Find models where the units keep them, unless the caller says otherwise."""
    folder = Path(plan["paths"]["state"]) / "hf"
    if "HF_HOME" not in os.environ and folder.is_dir():
        os.environ["HF_HOME"] = str(folder)


PROC = Path("/proc")
_LISTENING = "0A"


class Process:
    """A process that must stay alive. Its start time tells it from a later one with the same number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._born = _stat(pid)[19:20]

    def is_gone(self) -> bool:
        """Whether it ended, reaped or not."""
        fields = _stat(self.pid)
        return not fields or fields[0] in ("Z", "X") or fields[19:20] != self._born


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none for no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The name, in parentheses, may hold anything.
    return text.rpartition(")")[2].split()


def listeners(port: int) -> set[int]:
    """Processes that listen on a TCP port, as far as this user may see; in a container they have another /proc."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return {pid for pid in _pids() if sockets and sockets & set(_open_files(pid))}


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def _open_files(pid: int) -> Iterator[str]:
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(PROC / str(pid) / "fd" / name)
        except OSError:
            continue


def with_children(roots: Iterable[int]) -> set[int]:
    """These processes and all that descend from them: vLLM keeps its engine and its workers as children."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children.get(pid, [])
    return found


def proportional_memory(pid: int) -> int | None:
    """Bytes of main memory of one process, shared pages divided among their users; None where that is not shown."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
