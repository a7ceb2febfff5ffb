"""What clients must know of each engine to ask its servers, as data.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

from typing import NamedTuple

from stack import JsonObject


class Dialect(NamedTuple):
    """How servers of one engine are asked.

    Attributes:
        version: path and key of the answer that names the release.
        guarded: paths, for GET, that the API key guards; the first is asked to learn whether a key opens the server.
        sampling: of a short answer that must hold text: a model that would stop at once looks broken otherwise.
        texts: where one text alone is read, by task.
        overlong: statuses with which a text beyond the context is refused.
        normalizes: whether embeddings have length 1 whatever the model's files say.
        names_call: whether a request may name the tool that must be called, and the answer then calls it, whatever
            the model would rather say.
        hidden: method and path of what a server has for whoever runs it: none of it belongs in front of clients.
    """

    version: tuple[str, str]
    guarded: tuple[str, ...]
    sampling: JsonObject
    texts: dict[str, str]
    overlong: tuple[int, ...]
    normalizes: bool
    names_call: bool
    hidden: tuple[tuple[str, str], ...]


CLIENT_ERRORS = tuple(range(400, 500))

DIALECTS = {
    "vllm": Dialect(
        version=("/version", "version"),
        guarded=("/v1/models",),
        sampling={"max_tokens": 32, "min_tokens": 4, "temperature": 0},
        # A server for scores labels a text too.
        texts={"embed": "/v1/embeddings", "score": "/classify", "classify": "/classify"},
        overlong=CLIENT_ERRORS,
        normalizes=False,
        names_call=True,
        hidden=(
            ("GET", "/metrics"),
            ("GET", "/load"),
            ("POST", "/tokenize"),
            ("POST", "/detokenize"),
            ("POST", "/pooling"),
            ("POST", "/invocations"),
        ),
    ),
    # tools/server/server.cpp and server-http.cpp of b10434; the model's name needs no key there.
    "llama.cpp": Dialect(
        version=("/props", "build_info"),
        guarded=("/props", "/slots", "/metrics"),
        sampling={"max_tokens": 32, "ignore_eos": True, "temperature": 0},
        texts={"embed": "/v1/embeddings"},
        # What is read as a whole and longer than a ubatch is said to be the server's fault.
        overlong=(*CLIENT_ERRORS, 500),
        normalizes=True,
        names_call=False,
        hidden=(
            ("GET", "/metrics"),
            ("GET", "/slots"),
            ("GET", "/props"),
            ("GET", "/lora-adapters"),
            ("POST", "/tokenize"),
            ("POST", "/apply-template"),
            ("POST", "/completion"),
            ("POST", "/infill"),
        ),
    ),
}


def dialect_of(service: JsonObject) -> Dialect:
    """How the server of a service is asked."""
    return DIALECTS[service["engine"]]
