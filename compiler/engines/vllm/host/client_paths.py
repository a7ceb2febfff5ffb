"""What vLLM 0.33.0 and 0.32.0 serve with the model's name in a JSON body, and without keeping anything, by task.

For generating models: vllm/entrypoints/openai/*/api_router.py and vllm/entrypoints/anthropic/api_router.py. Stored
responses are off by default (VLLM_ENABLE_RESPONSES_API_STORE), so a response belongs to no revision. Left out: `render`
and `batch`, adapters, and everything outside /v1, which the API key does not guard.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMPLETION = ("/v1/completions",)

CLIENT_PATHS: Mapping[str, tuple[str, ...]] = {
    "chat": ("/v1/chat/completions", *_COMPLETION, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"),
    "completion": _COMPLETION,
    # Of the pooling runner's paths (vllm/entrypoints/pooling/*/api_router.py), those of the task. Some are outside /v1,
    # where the servers ask for no key: the gateway asks its clients for theirs on every path.
    "embed": ("/v1/embeddings",),
    "score": ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score"),
    "classify": ("/classify",),
}
