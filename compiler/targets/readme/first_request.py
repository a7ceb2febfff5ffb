"""The first request to a stack: what a client asks, where, and with which key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.hosts import is_wildcard
from compiler.plan.ir import Plan
from compiler.targets.readme.tables import entrance_address, http_address

REQUESTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
    "completion": ("/v1/completions", {"prompt": "Hello", "max_tokens": 16}),
    "embed": ("/v1/embeddings", {"input": "Hello"}),
    "score": ("/v1/rerank", {"query": "Hello", "documents": ["Good day", "Goodbye"]}),
    "classify": ("/classify", {"input": "Hello"}),
}
"""Path and body, without the model's name, by task."""


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """An example that works as it stands.

    Attributes:
        url: of the gateway where there is one, else of the first server.
        body: JSON, which is Python too: texts, numbers, lists and maps alone.
        key_file: on the server, which holds the key that the servers ask for; None where a client has its own, or none.
        has_key: whether a request has a key.
    """

    url: str
    body: str
    key_file: str | None
    has_key: bool


def first_request(plan: Plan) -> FirstRequest:
    """To the first server that clients reach."""
    if plan.gateway is not None:
        route = plan.gateway.routes[0]
        service, name, key_file = plan.service(route.service), route.name, None
        address = entrance_address(plan.gateway, reachable(plan.gateway.host))
        has_key = plan.secrets.client_keys is not None
    else:
        service = plan.services[0]
        name, key_file = service.served_name, plan.secrets.api_key
        address, has_key = http_address(reachable(service.host), service.port), key_file is not None
    path, asked = REQUESTS[service.task]
    return FirstRequest(address + path, json.dumps({"model": name, **asked}), key_file, has_key)


def reachable(host: str) -> str:
    """An address of this machine for one that stands for all of them."""
    return "127.0.0.1" if is_wildcard(host) else host
