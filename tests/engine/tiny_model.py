"""Write a small Qwen2 model with random weights, a tokenizer and a chat template: `tiny_model.py FOLDER`.

Runs with the Python of `.engine/cpu`, offline. The model says nothing sensible, but loads and answers as any other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]
from safetensors.torch import save_file  # type: ignore[import-not-found]
from tokenizers import (  # type: ignore[import-not-found]
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)

HIDDEN = 128
# vLLM's attention on the CPU takes no head of 16: such a server turns healthy and fails on the first request.
HEADS, KV_HEADS, HEAD = 4, 2, 32
INTERMEDIATE = 256
LAYERS = 2
POSITIONS = 512
END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, end_of_turn = write_tokenizer(folder)
    write_config(folder, vocabulary, end_of_turn)
    write_weights(folder, vocabulary)


def write_tokenizer(folder: Path) -> tuple[int, int]:
    """A byte-level tokenizer, which knows every text. Returns the size of its vocabulary and the end of a turn."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[END_OF_TEXT, TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a small model answers with noise, and that is enough to test a server"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "model_max_length": POSITIONS,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(folder / "tokenizer_config.json", settings)
    # Rows come in multiples of 64, as vLLM pads them.
    return -(-tokenizer.get_vocab_size() // 64) * 64, tokenizer.token_to_id(END_OF_TURN)


def write_config(folder: Path, vocabulary: int, end_of_turn: int) -> None:
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": vocabulary,
        "max_position_embeddings": POSITIONS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "eos_token_id": end_of_turn,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"eos_token_id": end_of_turn})


def write_weights(folder: Path, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.ones(shape, dtype=torch.bfloat16)
        if name.endswith("norm.weight")
        else (torch.randn(shape, generator=generator) * 0.05).to(torch.bfloat16)
        for name, shape in shapes(vocabulary).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Qwen2 checkpoint by name."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (vocabulary, HIDDEN),
    }
    for layer in range(LAYERS):
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in layer_shapes().items()}
    return found


def layer_shapes() -> dict[str, tuple[int, ...]]:
    rows = {"q": HEADS * HEAD, "k": KV_HEADS * HEAD, "v": KV_HEADS * HEAD}
    attention: dict[str, tuple[int, ...]] = {"self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD)}
    for name, size in rows.items():
        attention |= {f"self_attn.{name}_proj.weight": (size, HIDDEN), f"self_attn.{name}_proj.bias": (size,)}
    return attention | {
        "mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
