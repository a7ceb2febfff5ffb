"""Specs and locks that somebody, or something, has changed."""

from __future__ import annotations

import copy
import random
from typing import Any

from tests.fuzz.bases import Bases
from tests.fuzz.case import Case
from tests.fuzz.mutation import mutated, mutated_text
from tests.fuzz.writing import as_json, as_lock, as_yaml


def make_spec(case: Case) -> None:
    """A spec whose structure is off."""
    rng, bases = case.rng, case.bases
    pair = rng.choice(bases.stacks)
    lock = as_lock(rng, pair.lock) if rng.random() < 0.8 else None
    spec = mutated(rng, pair.spec, bases.specs, bases.spec_keys, rng.choice((1, 1, 1, 2, 3, 6)))
    if rng.random() < 0.05 and isinstance(spec, dict) and isinstance(spec.get("services"), dict) and spec["services"]:
        first = next(iter(spec["services"].values()))
        spec["services"] |= {f"s{index}": copy.deepcopy(first) for index in range(rng.randrange(2, 80))}
    case.pair(pair.name, as_yaml(rng, spec), lock)
    case.commands = [case.often_json("compile")]
    if rng.random() < 0.1:
        case.commands.append(("explain", f"stacks/{pair.name}.yaml"))


def make_spec_text(case: Case) -> None:
    """A spec whose text is off: a slip, a wrong encoding, a merge that nobody finished."""
    pair, other = case.rng.choice(case.bases.pairs), case.rng.choice(case.bases.pairs)
    text = mutated_text(case.rng, pair.spec_text, other.spec_text, case.rng.choice((1, 1, 2, 4)))
    case.pair(pair.name, text, pair.lock_text)
    case.commands = [case.often_json("compile")]


def make_lock(case: Case) -> None:
    """A lock whose structure is off."""
    rng, bases = case.rng, case.bases
    pair = rng.choice(bases.stacks)
    lock = mutated(rng, pair.lock, bases.locks, bases.lock_keys, rng.choice((1, 1, 1, 2, 3)))
    case.pair(pair.name, as_json(pair.spec), as_lock(rng, lock))
    case.commands = [case.often_json("compile")]
    if rng.random() < 0.2:
        case.commands.append(("explain", f"stacks/{pair.name}.yaml"))
    if rng.random() < 0.1:
        case.commands.append(("lock",))


def make_lock_text(case: Case) -> None:
    """A lock whose text is off."""
    locked = [pair for pair in case.bases.pairs if pair.lock_text is not None]
    pair, other = case.rng.choice(locked), case.rng.choice(locked)
    text = mutated_text(case.rng, pair.lock_text or b"", other.lock_text or b"", case.rng.choice((1, 1, 2, 4)))
    case.pair(pair.name, pair.spec_text, text)
    case.commands = [case.often_json("compile")]


def make_config(case: Case) -> None:
    """A lock that holds a configuration with absurd values."""
    rng = case.rng
    config = odd_config(rng, case.bases)
    block = config.pop("quantization_config", None)
    facts: dict[str, Any] = {
        "source": "https://huggingface.co", "commit": "a" * 40, "license": "mit",
        "chat_template": "tokenizer_config.json", "weights": [{"path": "model.safetensors", "size": 1000}],
        "config": config, "unconfirmed": ["tensors"],
    }  # fmt: skip
    if isinstance(block, dict):
        facts |= {"quantization": block, "quantization_file": "config.json"}
    spec = one_service(rng, "a/b")
    asked = spec["services"]["s"]["quantization"]
    answered = {"model": "a/b", "quantization": [asked], "candidates": ["a/b"]}
    case.pair("x", as_json(spec), as_lock(rng, {"schema": 1, "services": {"s": answered}, "models": {"a/b": facts}}))
    case.commands = [case.often_json("compile", *(("--assume", "full") if rng.random() < 0.2 else ()))]
    case.what = str(config.get("architectures"))[:80]


def odd_config(rng: random.Random, bases: Bases) -> dict[str, Any]:
    """A real configuration, some of whose values are not as its author meant them."""
    config = copy.deepcopy(rng.choice(bases.configs))
    if rng.random() < 0.2:
        config["quantization_config"] = copy.deepcopy(rng.choice(bases.blocks))
    changed = mutated(rng, config, bases.configs, bases.config_keys, rng.choice((1, 1, 1, 2, 2, 4)))
    return changed if isinstance(changed, dict) else config


_CARDS = ("h100-80gb", "h100-80gb", "b200", "rtx-pro-6000", "t4", "a10")
_SERVICE_KEYS: dict[str, tuple[Any, ...]] = {
    "kv_cache_dtype": ("fp8",), "tensor_parallel_size": (2, 3, 4, 8), "pipeline_parallel_size": (2, 3, 4),
    "expert_parallel": (True,), "max_num_seqs": (1, 7, 1024), "max_num_batched_tokens": (16, 8192, "1M"),
}  # fmt: skip


def one_service(rng: random.Random, model: str) -> dict[str, Any]:
    """A spec with one service, on cards that may be too few."""
    service: dict[str, Any] = {
        "model": model, "quantization": rng.choice(("auto", "auto", "none")), "port": 8000,
        "context": rng.choice(("2K", "max", "1", "128K", {"min": 1, "max": "1M"})),
        "task": rng.choice(("completion", "completion", "embed", "chat")),
        "concurrency": rng.choice((1, "max", 8, 256)),
    }  # fmt: skip
    service |= {key: rng.choice(values) for key, values in _SERVICE_KEYS.items() if rng.random() < 0.15}
    return {
        "stack": "x", "engine": {"vllm": "0.33.0"},
        "nodes": {"n": {"gpus": {"model": rng.choice(_CARDS), "count": rng.choice((1, 1, 2, 8))}}},
        "services": {"s": service}, "policy": {"trust_remote_code": "allow", "gated": "allow", "margin": "allow"},
        "targets": rng.choice((["scripts"], ["scripts", "systemd", "compose", "quadlet"])),
    }  # fmt: skip
