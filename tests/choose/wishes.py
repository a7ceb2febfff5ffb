"""Wishes and machines for tests, and a registry that is small enough to be asked often."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from compiler.choose.recommend.wish import Cards, Wish
from compiler.registry.read import Registry, registry

_NAMES = (
    "01-ai/Yi-6B-Chat",
    "BAAI/bge-m3",
    "BAAI/bge-reranker-v2-m3",
    "CohereLabs/aya-expanse-8b",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-Coder-14B-Instruct",
    "Qwen/Qwen2.5-Coder-7B-Instruct",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-Embedding-0.6B",
    "Qwen/Qwen3-Embedding-4B",
    "Qwen/Qwen3-Reranker-0.6B",
    "bigcode/starcoder2-15b",
    "google/gemma-3-4b-it",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "microsoft/Orca-2-7b",
    "microsoft/phi-4",
    "mistralai/Mistral-7B-v0.1",
    "mistralai/Mistral-Small-24B-Instruct-2501",
    "openai/gpt-oss-20b",
)


@cache
def some_models() -> Registry:
    """Models of every kind and size, and with licences of every kind."""
    known = registry()
    return Registry({name: known.models[name] for name in _NAMES if name in known.models})


def wishes() -> st.SearchStrategy[Wish]:
    """What people ask for."""
    return st.builds(
        Wish,
        task=st.sampled_from(("chat", "code", "embedding", "rerank", "reasoning")),
        context=st.sampled_from((None, 512, 4096, 16384, 65536)),
        concurrency=st.sampled_from((None, 4, 32)),
        commercial=st.booleans(),
        languages=st.sampled_from(((), ("de",), ("fr", "zh"))),
        needs=st.sampled_from(((), ("tools",), ("reasoning", "tools"))),
        min_rate=st.sampled_from((None, 20.0, 120.0)),
        max_ttft=st.sampled_from((None, 0.5)),
        most_parameters=st.sampled_from((None, 8 * 10**9)),
        methods=st.sampled_from(((), ("awq", "fp8"), ("none",))),
        publishers=st.sampled_from(((), ("Qwen", "openai"))),
    )


def machines() -> st.SearchStrategy[Cards]:
    """Cards that people have."""
    return st.builds(
        Cards, st.sampled_from(("t4", "rtx-3070", "rtx-4090", "l40s", "rtx-pro-6000")), st.sampled_from((1, 2))
    )
