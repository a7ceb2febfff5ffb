"""Headers of real models' shapes sum to the totals that their publishers' checkpoints have, to the byte."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from benchmarks.checkpoints import CONFIGS, Shard, kinds_of, recording, shards, stored
from compiler.lock.models import TensorFacts
from compiler.resolve.reading.safetensors import aggregate, read_tensors

ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM",
                 "mistral": "MistralForCausalLM"}  # fmt: skip

# Model: type, hidden and intermediate size, layers, heads, KV heads, vocabulary, tied embeddings, head_dim where the
# config has one; then the bytes of all tensors: parameters times two, all of these being bfloat16 throughout.
TOTALS = [
    ("01-ai/Yi-1.5-34B", "llama", 7168, 20480, 60, 56, 8, 64000, False, None, 68_777_834_496),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", 576, 1536, 30, 9, 3, 49152, True, None, 269_030_016),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", "llama", 960, 2560, 32, 15, 5, 49152, True, None, 723_642_240),
    ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "llama", 2048, 5632, 22, 32, 4, 32000, False, None, 2_200_096_768),
    ("meta-llama/Llama-3.2-1B-Instruct", "llama", 2048, 8192, 16, 32, 8, 128256, True, 64, 2_471_628_800),
    ("meta-llama/Llama-3.2-3B-Instruct", "llama", 3072, 8192, 28, 24, 8, 128256, True, 128, 6_425_499_648),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama", 4096, 14336, 32, 32, 8, 128256, False, None, 16_060_522_496),
    ("meta-llama/Llama-3.1-70B-Instruct", "llama", 8192, 28672, 80, 64, 8, 128256, False, None, 141_107_412_992),
    ("mistralai/Mistral-7B-Instruct-v0.2", "mistral", 4096, 14336, 32, 32, 8, 32000, False, None, 14_483_464_192),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", 4096, 14336, 32, 32, 8, 32768, False, None, 14_496_047_104),
    ("Qwen/Qwen1.5-110B", "qwen2", 8192, 49152, 80, 64, 8, 152064, False, None, 222_419_828_736),
    ("Qwen/Qwen2-0.5B-Instruct", "qwen2", 896, 4864, 24, 14, 2, 151936, True, None, 988_065_536),
    ("Qwen/Qwen2.5-3B-Instruct", "qwen2", 2048, 11008, 36, 16, 2, 151936, True, None, 6_171_877_376),
    ("Qwen/Qwen2.5-7B-Instruct", "qwen2", 3584, 18944, 28, 28, 4, 152064, False, None, 15_231_233_024),
    ("Qwen/Qwen2.5-14B-Instruct", "qwen2", 5120, 13824, 48, 40, 8, 152064, False, None, 29_540_067_328),
    ("Qwen/Qwen2.5-32B-Instruct", "qwen2", 5120, 27648, 64, 40, 8, 152064, False, None, 65_527_752_704),
    ("Qwen/Qwen2.5-72B", "qwen2", 8192, 29568, 80, 64, 8, 152064, False, None, 145_412_407_296),
    ("Qwen/Qwen3-4B", "qwen3", 2560, 9728, 36, 32, 8, 151936, True, 128, 8_044_936_192),
    ("Qwen/Qwen3-8B", "qwen3", 4096, 12288, 36, 32, 8, 151936, False, 128, 16_381_470_720),
    ("Qwen/Qwen3-32B", "qwen3", 5120, 25600, 64, 64, 8, 151936, False, 128, 65_524_246_528),
]


def config(row: tuple[Any, ...]) -> dict[str, Any]:
    _, kind, hidden, intermediate, layers, heads, kv_heads, vocabulary, tied, head_dim, _ = row
    optional = {} if head_dim is None else {"head_dim": head_dim}
    return {
        "architectures": [ARCHITECTURES[kind]], "model_type": kind, "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "tie_word_embeddings": tied,
        "max_position_embeddings": 32768, "torch_dtype": "bfloat16", **optional,
    }  # fmt: skip


def read(found: list[Shard]) -> TensorFacts:
    """What the lock keeps of a checkpoint's headers."""

    def part(shard: Shard, start: int, stop: int) -> bytes:
        return shard.header[start:stop]

    return aggregate(tensor for shard in found for tensor in read_tensors(partial(part, shard), "x", shard.size) or ())


@pytest.mark.parametrize("row", TOTALS, ids=lambda row: row[0])
def test_headers_of_a_real_shape_sum_to_the_known_total(row: tuple[Any, ...]) -> None:
    kinds = kinds_of(config(row))

    facts = read(shards(stored(kinds)))

    assert facts.total_bytes == row[-1]
    assert set(facts.kinds) == set(kinds)


def test_a_checkpoint_whose_files_are_known_one_by_one() -> None:
    """Qwen2.5-32B: 17 files with 771 tensors of 65,527,752,704 bytes."""
    name = "Qwen2.5-32B-Instruct"
    found = shards(stored(kinds_of(CONFIGS[name])))

    assert len(found) == 17
    assert sum(len(shard.names) for shard in found) == 771
    assert read(found).total_bytes == 65_527_752_704
    assert sum(size or 0 for path, size in (recording("a/b", CONFIGS[name]).files or {}).items() if "-of-" in path) == (
        65_527_752_704 + sum(len(shard.header) for shard in found)
    )


def test_an_awq_checkpoint_whose_page_says_895_mb() -> None:
    row = ("TheBloke/deepseek-coder-1.3b-instruct-AWQ", "llama", 2048, 5504, 24, 16, 16, 32256, False, None, 0)
    block = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}

    facts = read(shards(stored(kinds_of({**config(row), "torch_dtype": "float16"}, block))))

    assert facts.total_bytes == 895_283_200
