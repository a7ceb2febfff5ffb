"""More models with random weights that make vectors or scores of texts: a class of llama.cpp each.

Keys and tensors are those that src/models/*.cpp of b10435 asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.engines.llama_cpp.random_models import (
    CLS,
    EMBEDDING,
    FEED_FORWARD,
    LAST,
    LAYERS,
    MEAN,
    RANK,
    Model,
    bert,
    gemma3,
    qwen3,
    reranker,
)

SQUARE = (EMBEDDING, EMBEDDING)
WIDENED = (EMBEDDING, 2 * FEED_FORWARD)


def _encoder(architecture: str, head: int, pooling: int = MEAN) -> Model:
    """Keys, and embeddings of tokens."""
    model = Model(architecture)
    model.set({"context_length": 4096, "attention.head_count": EMBEDDING // head, "pooling_type": pooling})
    model.set({"attention.layer_norm_epsilon": 1e-6, "attention.causal": False, "rope.freq_base": 10000.0})
    return model


def _like_bert(architecture: str, head: int) -> Model:
    """BERT without places."""
    model, tensors = _encoder(architecture, head), bert(head).tensors
    model.keys["tokenizer.ggml.token_type_count"] = 2
    model.tensors = [each for each in tensors if each.name != "position_embd.weight"]
    return model


def nomic_bert(head: int) -> Model:
    """Rotated, with a gated FFN."""
    model = _like_bert("nomic-bert", head)
    for layer in range(LAYERS):
        model.add(layer, {"ffn_gate": (EMBEDDING, FEED_FORWARD)})
    return model


def nomic_bert_moe(head: int) -> Model:
    """Four experts in every second layer, two of them used."""
    model = _like_bert("nomic-bert-moe", head)
    model.set({"expert_count": 4, "expert_used_count": 2, "moe_every_n_layers": 2})
    for layer in range(1, LAYERS, 2):
        dense = tuple(f"blk.{layer}.ffn_{name}.weight" for name in ("up", "down"))
        model.tensors = [each for each in model.tensors if each.name not in dense]
        model.add(layer, {"ffn_gate_inp": (EMBEDDING, 4)})
        model.add(layer, {"ffn_up_exps": (EMBEDDING, FEED_FORWARD, 4), "ffn_down_exps": (FEED_FORWARD, EMBEDDING, 4)})
    return model


def jina_bert_v2(head: int) -> Model:
    """Norms of queries and keys, places by a bias of attention, and the gate in one matrix with what it opens."""
    model = _like_bert("jina-bert-v2", head)
    model.tensors = [each for each in model.tensors if not each.name.endswith("ffn_up.weight")]
    names = ("attn_q_norm", "attn_k_norm", "attn_norm_2")
    for layer in range(LAYERS):
        model.add(layer, {name + suffix: (EMBEDDING,) for name in names for suffix in (".weight", ".bias")})
        model.add(layer, {"ffn_up": WIDENED, "ffn_down.bias": (EMBEDDING,), "attn_output.bias": (EMBEDDING,)})
    return model


def jina_bert_v3(head: int) -> Model:
    """Rotated, with biases."""
    model = _like_bert("jina-bert-v3", head)
    for layer in range(LAYERS):
        model.add(layer, {f"attn_{name}.bias": (EMBEDDING,) for name in ("q", "k", "v", "output")})
        model.add(layer, {"ffn_up.bias": (FEED_FORWARD,), "ffn_down.bias": (EMBEDDING,)})
    return model


def modern_bert(head: int, pooling: int = CLS) -> Model:
    """A window in two of three layers; norms before, none in the first."""
    model = _encoder("modern-bert", head, pooling)
    model.set({"attention.sliding_window": 128})
    model.add(None, {"token_embd": (EMBEDDING, 320), "token_embd_norm": (EMBEDDING,), "output_norm": (EMBEDDING,)})
    for layer in range(LAYERS):
        model.add_norms(layer, "ffn_norm", *(("attn_norm",) if layer else ()))
        model.add(layer, {"attn_qkv": (EMBEDDING, 3 * EMBEDDING), "attn_output": SQUARE})
        model.add(layer, {"ffn_up": WIDENED, "ffn_down": (FEED_FORWARD, EMBEDDING)})
    return model


def modern_reranker(head: int) -> Model:
    """With a head, which takes the mean."""
    model = modern_bert(head, RANK)
    model.add(None, {"cls": SQUARE, "cls.norm": (EMBEDDING,), "cls.output": (EMBEDDING, 1), "cls.output.bias": (1,)})
    return model


def neo_bert(head: int) -> Model:
    """Norms before, queries, keys and values from one matrix."""
    model = _encoder("neo-bert", head)
    model.add(None, {"token_embd": (EMBEDDING, 320), "enc.output_norm": (EMBEDDING,)})
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add(layer, {"attn_qkv": (EMBEDDING, 3 * EMBEDDING), "attn_output": SQUARE})
        model.add(layer, {"ffn_up": WIDENED, "ffn_down": (FEED_FORWARD, EMBEDDING)})
    return model


def eurobert(head: int) -> Model:
    """A Llama that sees all tokens."""
    model = _encoder("eurobert", head, LAST)
    model.add(None, {"token_embd": (EMBEDDING, 320), "output_norm": (EMBEDDING,)})
    for layer in range(LAYERS):
        model.add_norms(layer, "attn_norm", "ffn_norm")
        model.add(layer, dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), SQUARE))
        model.add_feed_forward(layer)
    return model


def gemma_embedding(head: int) -> Model:
    """Gemma 3 that sees all tokens, and two matrices after it."""
    decoder = gemma3(head)
    model = Model("gemma-embedding")
    model.set({key.partition(".")[2]: value for key, value in decoder.keys.items() if key.startswith("gemma3.")})
    model.set({"context_length": 2048, "pooling_type": MEAN, "dense_2_feat_in": EMBEDDING, "dense_2_feat_out": 256})
    model.set({"dense_3_feat_in": 256, "dense_3_feat_out": EMBEDDING})
    model.tensors = decoder.tensors
    model.add(None, {"dense_2": (EMBEDDING, 256), "dense_3": (256, EMBEDDING)})
    return model


def qwen3_embedding(head: int) -> Model:
    """A decoder whose last token stands for the text."""
    model = qwen3(head)
    model.set({"pooling_type": LAST})
    return model


def qwen3_reranker(head: int) -> Model:
    """A decoder that says yes or no."""
    model = qwen3(head)
    model.set({"pooling_type": RANK, "classifier.output_labels": ["yes", "no"]})
    model.add(None, {"cls.output": (EMBEDDING, 2)})
    return model


EMBEDDERS: Mapping[str, Callable[[int], Model]] = {
    each.__name__: each
    for each in (
        *(bert, nomic_bert, nomic_bert_moe, jina_bert_v2, jina_bert_v3, modern_bert, neo_bert, eurobert),
        *(gemma_embedding, qwen3_embedding),
    )
}
RERANKERS: Mapping[str, Callable[[int], Model]] = {
    each.__name__: each for each in (reranker, modern_reranker, qwen3_reranker)
}
