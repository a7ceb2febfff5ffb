"""Recorded GGUF files: bytes by the quantizer's rule are those of the published files."""

from __future__ import annotations

import pytest

from tests.hub.gguf_headers import Headers
from tests.hub.recordings import read_recordings

# Of the tables in the publishers' cards and of the Hub's lists, in GB; of the coder that of Ollama's blob.
PUBLISHED_GB = {
    "Llama-3.1-Nemotron-70B-Instruct-HF-Q4_K_M.gguf": 42.52,
    "Llama-3.1-Nemotron-70B-Instruct-HF-Q5_K_M.gguf": 49.95,
    "Llama-3.1-Nemotron-70B-Instruct-HF-Q6_K.gguf": 57.89,
    "Llama-3.1-Nemotron-70B-Instruct-HF-Q8_0.gguf": 74.98,
    "Qwen_Qwen3-4B-Q4_K_M.gguf": 2.50,
    "Qwen_Qwen3-4B-Q5_K_M.gguf": 2.89,
    "Qwen_Qwen3-4B-Q6_K.gguf": 3.31,
    "Qwen_Qwen3-4B-Q8_0.gguf": 4.28,
    "Qwen_Qwen3-4B-bf16.gguf": 8.05,
    "Qwen_Qwen3-8B-Q6_K.gguf": 6.73,
    "Qwen_Qwen3-8B-Q8_0.gguf": 8.71,
    "Qwen_Qwen3-8B-bf16.gguf": 16.39,
    "nomic-embed-text-v1.5.f16.gguf": 0.274,
    "qwen2.5-coder-7b-instruct-q4_k_m.gguf": 4.683,
}
# A header of 150,000 tokens and as many merges takes 6 MB, and of 30,000 without merges 0.6.
MOST_HEADER_GB, ROUNDING_GB = 0.008, 0.005
ALL = [each.contents for each in read_recordings() if isinstance(each.contents, Headers)]


def data_bytes(name: str) -> int:
    (headers,) = (each for each in ALL if name in each)
    return sum(tensor.bytes for tensor in headers.shapes.quantized(headers.mixtures[name]))


@pytest.mark.parametrize("name", PUBLISHED_GB)
def test_the_sum_of_the_tensors_is_that_of_the_published_file(name: str) -> None:
    header = PUBLISHED_GB[name] - data_bytes(name) / 1e9
    assert -ROUNDING_GB <= header <= MOST_HEADER_GB + ROUNDING_GB


def test_types_by_the_rule_are_those_of_the_quantizers_own_snapshot() -> None:
    """tests/snapshots/meta-llama-3.1-70b-instruct.schema of b11434 × the shape; and 64 factors of rotation in f32."""
    assert data_bytes("Llama-3.1-Nemotron-70B-Instruct-HF-Q4_K_M.gguf") == 42_512_531_456 + 64 * 4
    assert data_bytes("Llama-3.1-Nemotron-70B-Instruct-HF-Q5_K_M.gguf") == 49_941_954_560 + 64 * 4
