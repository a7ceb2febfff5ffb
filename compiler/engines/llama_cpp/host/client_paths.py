"""What `llama-server` serves with the model's name in a JSON body, and without keeping anything, by task.

tools/server/server.cpp, b10434. Left out: what has no OpenAI form of its own (`/completion`, `/infill`, `/embedding`),
which tokenizes, and which shows or changes the server (`/props`, `/slots`, `/lora-adapters`). It reads no name where it
has one model: the gateway is the one that refuses a wrong one. It gives no labels.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMPLETION = ("/v1/completions",)

CLIENT_PATHS: Mapping[str, tuple[str, ...]] = {
    "chat": ("/v1/chat/completions", *_COMPLETION, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"),
    "completion": _COMPLETION,
    "embed": ("/v1/embeddings",),
    "score": ("/v1/rerank", "/rerank"),
}
