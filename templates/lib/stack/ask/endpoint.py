"""Where the requests of a measurement or an evaluation go: one server, or the gateway before it, with the right key.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_ENVIRONMENT, EXIT_USAGE, WILDCARD_HOSTS, JsonObject, StackError, probe_host, secret_file
from stack.ask.server import Reply, Server, ServerError
from stack.keys import read_api_key, read_client_key

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
        return f"http://{host}:{self.server.port}"


def find_endpoint(
    plan: JsonObject, service: JsonObject, *, through_gateway: bool, key_file: str | None, seconds: float
) -> Endpoint:
    """The way to a service. `seconds` bounds one request."""
    if through_gateway:
        gateway = _gateway_of(plan, service)
        key = read_api_key(Path(key_file)) if key_file else _client_key(plan)
        host = "127.0.0.1" if gateway["host"] in WILDCARD_HOSTS else gateway["host"]
        return Endpoint(service, Server(host, gateway["port"], key, seconds), key, GATEWAY)
    path = Path(key_file) if key_file else secret_file(plan, "api_key")
    key = None if path is None else read_api_key(path)
    return Endpoint(service, Server(probe_host(service), service["port"], key, seconds), key, DIRECT)


def _gateway_of(plan: JsonObject, service: JsonObject) -> JsonObject:
    gateway: JsonObject | None = plan.get("gateway")
    if gateway is None:
        raise StackError(EXIT_USAGE, f"stack {plan['stack']} has no gateway")
    if service["name"] not in [route["service"] for route in gateway["routes"]]:
        raise StackError(EXIT_USAGE, f"the gateway has no route to {service['name']} alone: ask its server")
    return gateway


def _client_key(plan: JsonObject) -> str | None:
    """With which clients come to the gateway."""
    path = secret_file(plan, "client_keys")
    return None if path is None else read_client_key(path)


def check_ready(endpoint: Endpoint) -> None:
    """Raise unless the model answers: 3 unreachable, 5 the key is refused, 6 another model is served."""
    where = f"{endpoint.name} ({endpoint.base_url})"
    if endpoint.route == DIRECT:
        status = _ask(endpoint, "/health").status
        if status != 200:
            raise StackError(EXIT_UNREACHABLE, f"{where} is not ready: HTTP {status} from /health")
    reply = _ask(endpoint, "/v1/models")
    if reply.status in (401, 403):
        raise StackError(EXIT_REFUSED, f"{where} refuses {'the key' if endpoint.key else 'requests without a key'}")
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
    return found.partition("+")[0] or str(plan["engine"]["vllm"])


def find_vllm(plan: JsonObject) -> Path:
    """The vLLM of the caller, of the plan or of PATH, in this order."""
    named = os.environ.get("STACKC_VLLM")
    for name in [named] if named else [plan["paths"]["vllm"], "vllm"]:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise StackError(EXIT_ENVIRONMENT, f"no vLLM at {named or plan['paths']['vllm']}: set STACKC_VLLM")


def use_state(plan: JsonObject) -> None:
    """Find models where the units keep them, unless the caller says otherwise."""
    folder = Path(plan["paths"]["state"]) / "hf"
    if "HF_HOME" not in os.environ and folder.is_dir():
        os.environ["HF_HOME"] = str(folder)
