"""Rows of drafts for `benchmarks.oracle`: what vLLM 0.33.0 says of pairs of a model and a draft, without a GPU.

`python -m tests.engine.draft_oracle HUB [SECONDS]` takes configs from HUB, a folder `ORGANISATION__NAME` for each
model, and prints an answer a line. Each pair is configured as a server would be and built on torch's meta device: bytes
of the draft as it is loaded, and blocks of both caches. The engine's half is the same file.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

GIB = 2**30
LENGTH, BATCHED_TOKENS, CACHE_GIB = 2048, 8192, 16
METHODS = {"ngram": "ngram", "draft": "draft_model", "eagle3": "eagle3"}
# Classes whose EAGLE-3 heads are accounted for, and whose configs need nothing else of their repositories.
CLASSES = frozenset(
    {
        "LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM", "GptOssForCausalLM",
    }
)  # fmt: skip
_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
_DRAFTS_EACH = 2
_SHOWN = 300


def questions(hub: Path) -> Iterator[Json]:
    """Lookups, heads and smaller models beside every config that differs from those before it."""
    configs = _configs(hub)
    for name, config in configs.items():
        limit = config["num_attention_heads"]
        yield _question(name, "ngram", None, 1)
        for ranks in (1, 2, 4):
            if limit % ranks == 0:
                yield _question(name, "eagle3", _head(config), ranks)
        yield _question(name, "eagle3", _head(config) | {"num_hidden_layers": 2, "draft_vocab_size": 16_000}, 1)
        for draft in _smaller(config, configs):
            yield from (_question(name, "draft", draft, ranks) for ranks in (1, 2))


def _configs(hub: Path) -> dict[str, Json]:
    found: dict[str, Json] = {}
    seen = set()
    for path in sorted(hub.glob("*/config.json")):
        config = json.loads(path.read_text())
        kind = (*config.get("architectures", ()), *(config.get(key) for key in (*_SIZES, "num_hidden_layers")))
        is_plain = "quantization_config" not in config and config.get("num_key_value_heads") is not None
        if is_plain and kind[:1] and kind[0] in CLASSES and kind not in seen and "auto_map" not in config:
            seen.add(kind)
            found[path.parent.name.replace("__", "/", 1)] = config
    return found


def _head(config: Mapping[str, Any]) -> Json:
    """A head of the model's own sizes, as SpecForge trains them."""
    return {key: config[key] for key in _SIZES if config.get(key) is not None} | {
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "num_hidden_layers": 1,
        "draft_vocab_size": min(32_000, config["vocab_size"]), "max_position_embeddings": 2048,
        "torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    }  # fmt: skip


def _smaller(config: Json, configs: Mapping[str, Json]) -> list[Json]:
    alike = [
        each
        for each in configs.values()
        if each["vocab_size"] == config["vocab_size"] and each["hidden_size"] < config["hidden_size"]
    ]
    return sorted(alike, key=lambda each: int(each["hidden_size"]))[:_DRAFTS_EACH]


def _question(model: str, method: str, draft: Json | None, ranks: int) -> Json:
    return {
        "model": model, "gpu": "H100", "tensor_parallel_size": ranks, "pipeline_parallel_size": 1, "dtype": "bfloat16",
        "max_model_len": LENGTH, "kv_cache_gib": CACHE_GIB,
        "speculate": {"method": method, "tokens": 3, "config": draft},
    }  # fmt: skip


def answered(row: Json, hub: Path, oracle: Any, ranks: list[Any]) -> Json:
    """The row with what vLLM says."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text((hub / row["model"].replace("/", "__", 1) / "config.json").read_text())
        asked = row["speculate"]
        options: Json = {
            "max-model-len": LENGTH, "max-num-seqs": 64, "max-num-batched-tokens": BATCHED_TOKENS, "dtype": "bfloat16",
            "kv-cache-memory-bytes": CACHE_GIB * GIB, "tensor-parallel-size": row["tensor_parallel_size"],
            "spec-method": METHODS[asked["method"]], "spec-tokens": asked["tokens"],
        }  # fmt: skip
        if asked["config"] is not None:
            (Path(folder) / "draft").mkdir()
            Path(folder, "draft/config.json").write_text(json.dumps(asked["config"]))
            options["spec-model"] = f"{folder}/draft"
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        question = {"folder": folder, "capability": "9.0", "memory": 80 * GIB, "arguments": words}
        try:
            answer = oracle.answer(question, ranks)
        except (Exception, SystemExit) as error:  # whatever it ends with is the answer
            return row | {"refused": f"{type(error).__name__}: {error}"[:_SHOWN]}
    return row | {key: answer[key] for key in ("weight_bytes", "draft_bytes", "num_blocks", "block_size")}


def _answer_all() -> None:
    oracle = importlib.import_module("tests.engine.planner_oracle")
    oracle.CARD.update(capability=(9, 0), memory=80 * GIB)
    oracle.pose_as_gpu()
    registry = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda look: look()  # type: ignore[attr-defined]
    asked, ranks = json.load(sys.stdin), []  # type: ignore[var-annotated]
    end = time.monotonic() + asked["seconds"]
    for row in asked["rows"]:
        if time.monotonic() < end:
            sys.stdout.write(json.dumps(answered(row, Path(asked["hub"]), oracle, ranks)) + "\n")
            sys.stdout.flush()


def ask(rows: list[Json], hub: Path, seconds: int) -> list[Json]:
    """Those rows that vLLM answers in so many seconds."""
    process = importlib.import_module("tests.engine.engine_process")
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [process.engine_python(), __file__], input=json.dumps({"rows": rows, "hub": str(hub), "seconds": seconds}),
            env=process.parser_environment(process.GPU_RELEASE) | {"VLLM_CACHE_ROOT": cache},
            capture_output=True, text=True, check=False, timeout=seconds + 120,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    """Answer what the standard input asks, or ask it of the engine."""
    if len(sys.argv) == 1:
        _answer_all()
        return
    hub, seconds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    for row in ask(list(questions(hub)), hub, seconds):
        sys.stdout.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
