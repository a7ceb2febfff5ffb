"""GGUF files of 0.7 to 2.5 MB with random weights, which the real server loads and answers with: a family each.

    python -m tests.engines.llama_cpp.random_models qwen3moe tiny.gguf

The keys and tensors are those that src/models/*.cpp of b10435 asks for. Every token is ASCII: random tokens that ended
in the middle of a UTF-8 character would be an error of the server's.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from compiler.gguf.model import Tensor
from tests.gguf.writer import Typed, Value, encoded, padded, tensor, write

LAYERS = 4
EMBEDDING, FEED_FORWARD = 64, 128
HEADS, KV_HEADS, HEAD = 4, 2, 16
VOCABULARY = 320
TRAINED_CONTEXT = 1 << 17
_LEARNED_POSITIONS = 4096

# Tools are written and called as Qwen's models do.
_CHAT = """\
{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TOOL_CALL = "<tool_call>\n"
_IMAGES = ("\n\n", "<|img_thumbnail|>", "<global-img>", "<fake_token_around_image>")
"""What stands around the parts of an image (tools/mtmd/mtmd.cpp, init_vision)."""


def _vocabulary() -> dict[str, Value]:
    """Bytes of ASCII as GPT-2 writes them, three control tokens, those of calls and of images, and words to fill up."""
    characters = ["Ġ", *map(chr, range(33, 127)), "Ċ"]
    tokens = [*characters, "<|endoftext|>", "<|im_start|>", "<|im_end|>", TOOL_CALL, *_IMAGES]
    normal, control, user_defined = 1, 3, 4
    words = [f"w{number}" for number in range(len(tokens), VOCABULARY)]
    kinds = [*[normal] * len(characters), *[control] * 3, *[user_defined] * (1 + len(_IMAGES)), *[normal] * len(words)]
    start = len(characters)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [*tokens, *words],
        "tokenizer.ggml.token_type": Typed("i32", kinds),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": start,
        "tokenizer.ggml.eos_token_id": start + 2,
        "tokenizer.ggml.seperator_token_id": start + 1,  # llama.cpp's own spelling
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _CHAT,
    }


@dataclass
class Model:
    """A model that is being put together; the architecture stands before each of its keys."""

    architecture: str
    keys: dict[str, Value] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = {"general.architecture": self.architecture, "general.name": f"tiny-{self.architecture}"}
        self.set(
            {
                "block_count": LAYERS,
                "context_length": TRAINED_CONTEXT,
                "embedding_length": EMBEDDING,
                "feed_forward_length": FEED_FORWARD,
                "vocab_size": VOCABULARY,
                "attention.head_count": HEADS,
                "attention.layer_norm_rms_epsilon": 1e-6,
            }
        )

    def set(self, keys: Mapping[str, Value]) -> None:
        """Set keys of the architecture."""
        self.keys.update({f"{self.architecture}.{key}": value for key, value in keys.items()})

    def add(self, layer: int | None, tensors: Mapping[str, tuple[int, ...]]) -> None:
        """Add tensors of a layer, or of none; a name without a suffix is a weight."""
        prefix = "" if layer is None else f"blk.{layer}."
        for name, shape in tensors.items():
            whole = name if name.endswith((".bias", ".weight", "ssm_a")) else f"{name}.weight"
            self.tensors.append(tensor(prefix + whole, "f32", *shape))

    def add_attention(self, layer: int, *, gated: int = 1, normed: bool = False, head: int = HEAD) -> None:
        """Add grouped-query attention."""
        kv = (EMBEDDING, KV_HEADS * head)
        names = {"attn_q": (EMBEDDING, gated * HEADS * head), "attn_k": kv, "attn_v": kv}
        self.add(layer, {**names, "attn_output": (HEADS * head, EMBEDDING)})
        if normed:
            self.add(layer, {"attn_q_norm": (head,), "attn_k_norm": (head,)})

    def add_feed_forward(self, layer: int, suffix: str = "", *experts: int) -> None:
        """Add a gated feed-forward part, or one for each expert."""
        up, down = (EMBEDDING, FEED_FORWARD, *experts), (FEED_FORWARD, EMBEDDING, *experts)
        self.add(layer, {f"ffn_gate{suffix}": up, f"ffn_up{suffix}": up, f"ffn_down{suffix}": down})

    def add_experts(self, layer: int) -> None:
        """Add four experts and what chooses two of them."""
        self.add(layer, {"ffn_gate_inp": (EMBEDDING, 4)})
        self.add_feed_forward(layer, "_exps", 4)

    def add_norms(self, layer: int, *names: str) -> None:
        """Add norms of the residual's width."""
        self.add(layer, dict.fromkeys(names, (EMBEDDING,)))

    def write_sparse(self, path: Path) -> None:
        """Write the file with holes for weights, which take no disk."""
        write(path, self.keys | _vocabulary(), self.tensors)

    def write(self, path: Path, seed: int = 1) -> None:
        """Write the file, with weights that are the same for a seed."""
        numbers = random.Random(seed)
        with path.open("wb") as file:
            file.write(encoded(self.keys | _vocabulary(), self.tensors))
            for each in self.tensors:
                middle = 1.0 if "norm" in each.name else 0.0
                data = array("f", (numbers.gauss(middle, 0.02) for _ in range(each.bytes // 4))).tobytes()
                file.write(data.ljust(padded(len(data)), b"\0"))


def _decoder(architecture: str, *, tied: bool = False, head: int = HEAD, norm: str = "output_norm") -> Model:
    model = Model(architecture)
    model.set({"attention.head_count_kv": KV_HEADS, "attention.key_length": head, "attention.value_length": head})
    model.set({"rope.dimension_count": head})
    model.add(None, {"token_embd": (EMBEDDING, VOCABULARY), norm: (EMBEDDING,)})
    if not tied:
        model.add(None, {"output": (EMBEDDING, VOCABULARY)})
    return model


def llama(head: int = HEAD) -> Model:
    """Dense."""
    model = _decoder("llama", head=head)
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add_attention(layer, head=head)
        model.add_feed_forward(layer)
    return model


def qwen2(head: int = HEAD) -> Model:
    """Dense, with biases; its heads are as wide together as the residual."""
    model, heads = _decoder("qwen2", head=head), EMBEDDING // head
    kv = -(-heads // 2) * head
    model.set({"attention.head_count": heads, "attention.head_count_kv": kv // head})
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        for name, width in (("attn_q", EMBEDDING), ("attn_k", kv), ("attn_v", kv)):
            model.add(layer, {name: (EMBEDDING, width), f"{name}.bias": (width,)})
        model.add(layer, {"attn_output": (EMBEDDING, EMBEDDING)})
        model.add_feed_forward(layer)
    return model


def qwen3(head: int = HEAD) -> Model:
    """Dense, tied, with norms of queries and keys."""
    model = _decoder("qwen3", tied=True, head=head)
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add_attention(layer, normed=True, head=head)
        model.add_feed_forward(layer)
    return model


def qwen3moe(head: int = HEAD) -> Model:
    """Four experts, two of them used."""
    model = _decoder("qwen3moe", head=head)
    model.set({"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": FEED_FORWARD})
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add_attention(layer, normed=True, head=head)
        model.add_experts(layer)
    return model


def gemma3(head: int = HEAD) -> Model:
    """A window of 256 tokens in each layer but the last of six; with seven layers, in six."""
    model = _decoder("gemma3", tied=True, head=head)
    model.set({"block_count": 7, "attention.sliding_window": 256})
    for layer in range(7):
        model.add_norms(layer, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
        model.add_attention(layer, normed=True, head=head)
        model.add_feed_forward(layer)
    return model


def deepseek2(head: int = HEAD) -> Model:
    """Multi-head latent attention, one dense layer, a shared expert."""
    # For heads of 64, CUDA's kernel wants a latent of 512.
    latent, rope, nope, value = (32 if head == HEAD else 512), head, 16, 16
    model = _decoder("deepseek2", head=latent + rope)
    model.set(
        {
            "attention.head_count_kv": 1,
            "attention.value_length": latent,
            "attention.key_length_mla": nope + rope,
            "attention.value_length_mla": value,
            "attention.kv_lora_rank": latent,
            "attention.q_lora_rank": latent,
            "rope.dimension_count": rope,
            "leading_dense_block_count": 1,
            "expert_count": 4,
            "expert_used_count": 2,
            "expert_shared_count": 1,
            "expert_feed_forward_length": FEED_FORWARD,
            "expert_weights_scale": 1.0,
            "expert_gating_func": 2,
        }
    )
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add(
            layer,
            {
                "attn_q_a_norm": (latent,),
                "attn_kv_a_norm": (latent,),
                "attn_q_a": (EMBEDDING, latent),
                "attn_q_b": (latent, HEADS * (nope + rope)),
                "attn_kv_a_mqa": (EMBEDDING, latent + rope),
                "attn_k_b": (nope, latent, HEADS),
                "attn_v_b": (latent, value, HEADS),
                "attn_output": (HEADS * value, EMBEDDING),
            },
        )
        if layer:
            model.add_experts(layer)
            model.add_feed_forward(layer, "_shexp")
        else:
            model.add_feed_forward(layer)
    return model


def lfm2(head: int = HEAD) -> Model:
    """Short convolutions, and attention in every second layer: a state of each slot beside the cache."""
    heads = EMBEDDING // head  # it knows no other length of heads
    kv_heads = -(-heads // 2)
    model = _decoder("lfm2", tied=True, head=head, norm="token_embd_norm")
    model.set({"attention.head_count": heads, "attention.head_count_kv": [0, kv_heads] * (LAYERS // 2)})
    model.set({"shortconv.l_cache": 3})
    square, kv = (EMBEDDING, EMBEDDING), (EMBEDDING, kv_heads * head)
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        if layer % 2:
            model.add(layer, {"attn_q": square, "attn_k": kv, "attn_v": kv, "attn_output": square})
            model.add(layer, {"attn_q_norm": (head,), "attn_k_norm": (head,)})
        else:
            projections = {"shortconv.in_proj": (EMBEDDING, 3 * EMBEDDING), "shortconv.out_proj": square}
            model.add(layer, {"shortconv.conv": (3, EMBEDDING), **projections})
        model.add_feed_forward(layer)
    return model


def qwen3next(head: int = HEAD) -> Model:
    """Gated delta nets, and gated attention in every fourth layer, with experts."""
    state, key_heads, value_heads = 16, 2, 4
    key, value = state * key_heads, state * value_heads
    model = _decoder("qwen3next", head=head)
    model.set({"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": FEED_FORWARD})
    model.set({"expert_shared_feed_forward_length": FEED_FORWARD, "full_attention_interval": 4})
    model.set({"ssm.conv_kernel": 4, "ssm.state_size": state, "ssm.inner_size": value})
    model.set({"ssm.group_count": key_heads, "ssm.time_step_rank": value_heads})
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "post_attention_norm")
        if layer % 4 == 3:
            model.add_attention(layer, gated=2, normed=True, head=head)
        else:
            model.add(
                layer,
                {
                    "attn_qkv": (EMBEDDING, 2 * key + value),
                    "attn_gate": (EMBEDDING, value),
                    "ssm_conv1d": (4, 2 * key + value),
                    "ssm_dt.bias": (value_heads,),
                    "ssm_a": (value_heads,),
                    "ssm_ba": (EMBEDDING, 2 * value_heads),
                    "ssm_norm": (state,),
                    "ssm_out": (value, EMBEDDING),
                },
            )
        model.add_experts(layer)
        model.add(layer, {"ffn_gate_inp_shexp": (EMBEDDING,)})
        model.add_feed_forward(layer, "_shexp")
    return model


def _seeing(architecture: str, text: Model, head: int) -> Model:
    """The text part of a model of images, which rotates by three positions."""
    model = Model(architecture)
    model.keys |= {
        f"{architecture}.{key.partition('.')[2]}": value for key, value in text.keys.items() if "general" not in key
    }
    model.set({"rope.dimension_sections": Typed("i32", [head // 4, head // 8, head // 8, 0])})
    model.tensors = text.tensors
    return model


def qwen2vl(head: int = HEAD) -> Model:
    """A Llama with biases, as wide as its heads together."""
    heads = EMBEDDING // head
    model = _seeing("qwen2vl", _decoder("llama", head=head), head)
    model.set({"attention.head_count": heads, "attention.head_count_kv": heads})
    square = (EMBEDDING, EMBEDDING)
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add(layer, dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square))
        model.add(layer, {f"attn_{name}.bias": (EMBEDDING,) for name in "qkv"})
        model.add_feed_forward(layer)
    return model


def qwen3vl(head: int = HEAD) -> Model:
    """A Qwen3 to whose first two layers images add."""
    model = _seeing("qwen3vl", qwen3(head), head)
    model.set({"n_deepstack_layers": 2})
    return model


MEAN, CLS, LAST, RANK = 1, 2, 3, 4


def bert(head: int = HEAD, pooling: int = MEAN) -> Model:
    """An encoder that embeds: the mean of its tokens."""
    model = Model("bert")
    model.set({"attention.head_count": EMBEDDING // head})
    model.keys["tokenizer.ggml.token_type_count"] = 2
    model.set({"context_length": _LEARNED_POSITIONS})
    model.set({"attention.layer_norm_epsilon": 1e-6, "attention.causal": False, "pooling_type": pooling})
    model.add(None, {"token_embd": (EMBEDDING, VOCABULARY), "position_embd": (EMBEDDING, _LEARNED_POSITIONS)})
    model.add(
        None, {"token_types": (EMBEDDING, 2), "token_embd_norm": (EMBEDDING,), "token_embd_norm.bias": (EMBEDDING,)}
    )
    square = (EMBEDDING, EMBEDDING)
    for layer in range(LAYERS):
        model.add(layer, {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square})
        model.add(layer, {"ffn_up": (EMBEDDING, FEED_FORWARD), "ffn_down": (FEED_FORWARD, EMBEDDING)})
        norms = ("attn_output_norm", "layer_output_norm")
        model.add(layer, {name + suffix: (EMBEDDING,) for name in norms for suffix in (".weight", ".bias")})
    return model


def reranker(head: int = HEAD) -> Model:
    """The same encoder with a head that says how well a document fits a question."""
    model = bert(head, RANK)
    model.keys["general.name"] = "tiny-reranker"
    model.add(None, {"cls": (EMBEDDING, EMBEDDING), "cls.bias": (EMBEDDING,)})
    model.add(None, {"cls.output": (EMBEDDING, 1), "cls.output.bias": (1,)})
    return model


DECODERS: Mapping[str, Callable[[int], Model]] = {
    each.__name__: each
    for each in (llama, qwen2, qwen3, qwen3moe, gemma3, deepseek2, lfm2, qwen3next, qwen2vl, qwen3vl)
}
POOLING: Mapping[str, Callable[[int], Model]] = {"bert": bert, "reranker": reranker}
WIDE_HEAD = 64
"""For which CUDA has a kernel of flash attention; it has none for `HEAD`."""
MODELS: Mapping[str, Callable[[], Model]] = {
    name + suffix: partial(make, head)
    for name, make in {**DECODERS, **POOLING}.items()
    for suffix, head in (("", HEAD), ("-wide", WIDE_HEAD))
}


if __name__ == "__main__":
    MODELS[sys.argv[1]]().write(Path(sys.argv[2]))
