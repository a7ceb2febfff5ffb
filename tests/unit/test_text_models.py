"""Dense decoders, encoders and poolers: bytes and caches that vLLM 0.33.0 itself answered for such configs.

The heads and widths are those of public models; layers are few, since they repeat. A difference of one norm is a family
that is read wrongly, and a ledger that promises memory it does not have.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from compiler.checkpoints.architecture import HeadCache
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split


@dataclass(frozen=True)
class Case:
    """A config, weight bytes of the first rank by TP and PP, and caches by layers, window and bytes of a token."""

    architecture: str
    model_type: str
    keys: dict[str, Any]
    weights: dict[tuple[int, int], int]
    caches: list[tuple[int, int | None, int]] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        named = {"architectures": [self.architecture], "model_type": self.model_type, "torch_dtype": "bfloat16"}
        return named | self.keys


# fmt: off
CASES = [
    # norms over all of q and k are whole on each rank
    Case("Olmo2ForCausalLM", "olmo2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096}, {(1, 1): 1943126016, (2, 1): 971620352, (2, 2): 485806080, (8, 1): 242991104}, [(4, None, 4096)]),
    Case("OlmoForCausalLM", "olmo", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 8192, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings":
        4096}, {(1, 1): 799539200, (2, 1): 399769600, (2, 2): 199884800, (8, 1): 99942400}, [(4, None, 8192)]),
    Case("Olmo3ForCausalLM", "olmo3", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "sliding_window": 1024}, {(1, 1): 1943126016, (2, 1): 971620352, (2, 2): 485806080, (8, 1):
        242991104}, [(3, 1024, 4096), (1, None, 4096)]),
    Case("GPTNeoXForCausalLM", "gpt_neox", {"num_hidden_layers": 4, "vocab_size": 50304, "hidden_size": 2048,
        "intermediate_size": 8192, "num_attention_heads": 8, "max_position_embeddings": 2048}, {(1, 1): 814964736,
        (2, 1): 407535616, (2, 2): 203763712, (8, 1): 101963776}, [(4, None, 8192)]),
    Case("PhiForCausalLM", "phi", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2560,
        "intermediate_size": 10240, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        4096}, {(1, 1): 957716480, (2, 1): 478904320, (2, 2): 239447040, (8, 1): 119795200}, [(4, None, 10240)]),
    Case("PhiForCausalLM", "phi", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        4096, "qk_layernorm": True}, {(1, 1): 665511936, (2, 1): 332793856, (2, 2): 166392832, (8, 1): 83255296},
        [(4, None, 8192)]),
    Case("GlmForCausalLM", "glm", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 13696, "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "head_dim": 128, "pad_token_id": 1}, {(1, 1): 2157031424, (2, 1): 1078552576, (2, 2): 539272192, (8,
        1): 275986432}, [(4, None, 1024)]),
    Case("SmolLM3ForCausalLM", "smollm3", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 11008, "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings":
        4096, "pad_token_id": 1}, {(1, 1): 756322304, (2, 1): 378179584, (2, 2): 221921280, (8, 1): 96669696}, [(4,
        None, 2048)]),
    Case("SeedOssForCausalLM", "seed_oss", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 5120,
        "intermediate_size": 27648, "num_attention_heads": 80, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "head_dim": 128}, {(1, 1): 4976994304, (2, 1): 2488543232, (2, 2): 1244266496, (8, 1): 622204928},
        [(4, None, 4096)]),
    Case("ArceeForCausalLM", "arcee", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2560,
        "intermediate_size": 18432, "num_attention_heads": 20, "num_key_value_heads": 4, "max_position_embeddings":
        4096, "head_dim": 128}, {(1, 1): 1209185280, (2, 1): 604615680, (2, 2): 302305280}, [(4, None, 2048)]),
    Case("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", {"num_hidden_layers": 4, "vocab_size": 32003,
        "hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 4,
        "max_position_embeddings": 4096, "head_dim": 128}, {(1, 1): 648583168, (2, 1): 324311040, (2, 2): 162153472,
        (8, 1): 83204096}, [(4, None, 2048)]),
    Case("CwmForCausalLM", "cwm", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings":
        4096, "head_dim": 128, "sliding_window": 1024}, {(1, 1): 648581120, (2, 1): 324308992, (2, 2): 162152448,
        (8, 1): 83202048}, [(1, None, 2048), (3, 1024, 2048)]),
    Case("Jais2ForCausalLM", "jais2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings":
        4096, "head_dim": 128}, {(1, 1): 548061184, (2, 1): 274083840, (2, 2): 137037824, (8, 1): 70699008}, [(4,
        None, 2048)]),
    # positions are a table that is neither padded nor divided
    Case("GPT2LMHeadModel", "gpt2", {"n_layer": 4, "vocab_size": 50257, "n_embd": 768, "n_head": 12, "n_positions":
        1024}, {(1, 1): 135545856, (2, 1): 68579328, (2, 2): 54394368}, [(4, None, 3072)]),
    Case("GPTJForCausalLM", "gptj", {"n_layer": 4, "vocab_size": 50400, "n_embd": 4096, "n_head": 16, "n_positions":
        2048, "rotary_dim": 64}, {(1, 1): 2437237248, (2, 1): 1218675968, (2, 2): 815940864, (8, 1): 304755008},
        [(4, None, 16384)]),
    # embeddings narrower than the layers
    Case("OPTForCausalLM", "opt", {"num_hidden_layers": 4, "vocab_size": 50272, "hidden_size": 1024, "ffn_dim":
        4096, "num_attention_heads": 16, "max_position_embeddings": 2048, "word_embed_proj_dim": 512,
        "do_layer_norm_before": False}, {(1, 1): 158576640, (2, 1): 82460672, (2, 2): 57255936, (8, 1): 25373696},
        [(4, None, 4096)]),
    Case("OPTForCausalLM", "opt", {"num_hidden_layers": 4, "vocab_size": 50272, "hidden_size": 768, "ffn_dim": 3072,
        "num_attention_heads": 12, "max_position_embeddings": 2048, "word_embed_proj_dim": 768}, {(1, 1): 137121792,
        (2, 1): 70155264, (2, 2): 55970304}, [(4, None, 3072)]),
    # one KV head
    Case("FalconForCausalLM", "falcon", {"num_hidden_layers": 4, "vocab_size": 65024, "hidden_size": 4544,
        "num_attention_heads": 71, "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False,
        "bias": False, "alibi": False}, {(1, 1): 2247516928}, [(4, None, 256)]),
    # windows are one token wider than the config says
    Case("Cohere2ForCausalLM", "cohere2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "sliding_window": 4096}, {(1, 1): 2007539712, (2, 1): 1003790336, (2, 2): 567566336, (8, 1):
        250978304}, [(3, 4097, 4096), (1, None, 4096)]),
    # norms of q and k are divided
    Case("CohereForCausalLM", "cohere", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 12288,
        "intermediate_size": 33792, "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "use_qk_norm": True}, {(1, 1): 13371146240, (2, 1): 6685634560, (2, 2): 3539830784, (8, 1):
        1671500800}, [(4, None, 4096)]),
    Case("Exaone4ForCausalLM", "exaone4", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "head_dim": 64, "sliding_window": 512, "sliding_window_pattern": 4}, {(1, 1): 547918848, (2, 1):
        273978368, (2, 2): 136987136, (8, 1): 68523008}, [(3, 512, 2048), (1, None, 2048)]),
    Case("NemotronForCausalLM", "nemotron", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 3072,
        "intermediate_size": 9216, "num_attention_heads": 24, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "head_dim": 128}, {(1, 1): 1048424448, (2, 1): 524267520, (2, 2): 262127616, (8, 1): 131149824}, [(4,
        None, 4096)]),
    Case("GraniteForCausalLM", "granite", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "tie_word_embeddings": True}, {(1, 1): 617910272, (2, 1): 308973568, (2, 2): 187318272, (8, 1):
        77271040}, [(4, None, 2048)]),
    # sinks are divided like heads
    Case("GraniteSWAForCausalLM", "granite", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention", "sliding_attention",
        "full_attention"]}, {(1, 1): 749244672, (2, 1): 374640768, (2, 2): 187318336, (8, 1): 93687840}, [(2, 128,
        2048), (2, None, 2048)]),
    Case("Glm4ForCausalLM", "glm4", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 13696, "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "head_dim": 128, "attention_bias": False, "pad_token_id": 1}, {(1, 1): 2157060096, (2, 1): 1078599680,
        (2, 2): 539295744, (8, 1): 276045824}, [(4, None, 1024)]),
    # table, norm and head on every stage
    Case("StableLmForCausalLM", "stablelm", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        4096, "use_qkv_bias": True}, {(1, 1): 673832960, (2, 1): 336953344, (2, 2): 234147840, (8, 1): 84293632},
        [(4, None, 8192)]),
    Case("Ministral3ForCausalLM", "ministral3", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 3072,
        "intermediate_size": 9216, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "head_dim": 128, "tie_word_embeddings": True}, {(1, 1): 1128192000, (2, 1): 564123648, (2, 2):
        331309056, (8, 1): 141072384}, [(4, None, 4096)]),
    # transformers takes 4096 where there is no sliding_window
    Case("MistralForCausalLM", "mistral", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096}, {(1, 1): 2270240768, (2, 1): 1135157248, (2, 2): 567574528, (8, 1): 283844608}, [(4, 4096, 4096)]),
    # a score head instead of the output head
    Case("Qwen2ForSequenceClassification", "qwen2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size":
        2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "id2label": {"0": "a", "1": "b", "2": "c"}}, {(1, 1): 483737600, (2, 1):
        241899520, (2, 2): 153793536, (8, 1): 63668224}, [(4, None, 1024)]),
    # no output head
    Case("Qwen3Model", "qwen3", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "head_dim": 128}, {(1, 1): 508860416, (2, 1): 254449664, (2, 2): 160056320, (8, 1): 63641600}, [(4,
        None, 4096)]),
    # registered as generating: the output head stays
    Case("Qwen2Model", "qwen2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings":
        4096}, {(1, 1): 615047168, (2, 1): 307542016, (2, 2): 153768960, (8, 1): 80060416}, [(4, None, 1024)]),
    Case("Phi3ForSequenceClassification", "phi3", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 3072,
        "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        4096, "sliding_window": 2047, "pad_token_id": 1}, {(1, 1): 1103050752, (2, 1): 551565312, (2, 2): 325042176,
        (8, 1): 137951232}, [(4, 2047, 12288)]),
    # attention in both directions caches nothing
    Case("Gemma3TextModel", "gemma3_text", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 768,
        "intermediate_size": 1152, "num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings":
        4096, "head_dim": 256, "use_bidirectional_attention": True, "sliding_window": 512}, {(1, 1): 83097088}, []),
    Case("Gemma2ForSequenceClassification", "gemma2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size":
        2304, "intermediate_size": 9216, "num_attention_heads": 8, "num_key_value_heads": 4,
        "max_position_embeddings": 4096, "head_dim": 256}, {(1, 1): 770701824, (2, 1): 385399296, (2, 2): 229648896,
        (8, 1): 101140992}, [(2, 4096, 4096), (2, None, 4096)]),
    Case("RobertaForSequenceClassification", "roberta", {"num_hidden_layers": 4, "vocab_size": 50265, "hidden_size":
        768, "intermediate_size": 3072, "num_attention_heads": 12, "max_position_embeddings": 514,
        "type_vocab_size": 1, "pad_token_id": 1}, {(1, 1): 137324552, (2, 1): 69866504}, []),
    Case("XLMRobertaForTokenClassification", "xlm-roberta", {"num_hidden_layers": 4, "vocab_size": 250002,
        "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "max_position_embeddings": 514,
        "type_vocab_size": 1, "pad_token_id": 1}, {(1, 1): 614191112, (2, 1): 307126280, (8, 1): 76827656}, []),
    # heads for labels are float32
    Case("BertForSequenceClassification", "bert", {"num_hidden_layers": 4, "vocab_size": 30522, "hidden_size": 384,
        "intermediate_size": 1536, "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2},
        {(1, 1): 38679560, (2, 1): 19646984}, []),
    Case("BertForTokenClassification", "bert", {"num_hidden_layers": 4, "vocab_size": 30522, "hidden_size": 384,
        "intermediate_size": 1536, "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2},
        {(1, 1): 38088200, (2, 1): 19055624}, []),
    Case("BertForMaskedLM", "bert", {"num_hidden_layers": 4, "vocab_size": 30522, "hidden_size": 384,
        "intermediate_size": 1536, "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2},
        {(1, 1): 61884276, (2, 1): 42851700}, []),
    # no norm before the first attention
    Case("ModernBertModel", "modernbert", {"num_hidden_layers": 4, "vocab_size": 50368, "hidden_size": 768,
        "intermediate_size": 1152, "num_attention_heads": 12, "max_position_embeddings": 8192}, {(1, 1): 117487104,
        (2, 1): 58750464}, []),
    Case("ModernBertForSequenceClassification", "modernbert", {"num_hidden_layers": 4, "vocab_size": 50368,
        "hidden_size": 768, "intermediate_size": 1152, "num_attention_heads": 12, "max_position_embeddings": 8192},
        {(1, 1): 119855624, (2, 1): 61118984}, []),
    Case("OrionForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 5120,
        "intermediate_size": 15360, "num_attention_heads": 40, "num_key_value_heads": 40, "max_position_embeddings":
        4096}, {(1, 1): 3383152640, (2, 1): 1691668480, (2, 2): 1010012160, (8, 1): 423055360}, [(4, None, 20480)]),
    Case("SolarForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "bskcn_1": [1], "bskcn_2": [2], "bskcn_3": [3], "bskcn_4": [1], "bskcn_tv": [0.9, 0.8]}, {(1, 1):
        2270240768, (2, 1): 1135157248, (2, 2): 567574528, (8, 1): 283844608}, [(4, None, 4096)]),
    Case("MiniCPMForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2304,
        "intermediate_size": 5760, "num_attention_heads": 36, "num_key_value_heads": 36, "max_position_embeddings":
        4096, "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256}, {(1, 1): 783917568, (2, 1): 391979520,
        (2, 2): 269867520}, [(4, None, 9216)]),
    Case("InternLM3ForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 10240, "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "qkv_bias": True, "bias": False, "head_dim": 128}, {(1, 1): 1817292800, (2, 1): 908683264, (2, 2):
        454337536, (8, 1): 233519104}, [(4, None, 1024)]),
    # a window for every layer
    Case("LlamaForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 4096,
        "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "sliding_window": 1024}, {(1, 1): 1943085056, (2, 1): 971579392, (2, 2): 485785600, (8, 1):
        242950144}, [(4, 1024, 4096)]),
    Case("Qwen2ForCausalLM", "qwen2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "use_sliding_window": True, "max_window_layers": 0, "sliding_window": 1024}, {(1, 1): 615047168, (2,
        1): 307542016, (2, 2): 153768960, (8, 1): 80060416}, [(4, 1024, 1024)]),
    Case("Qwen2ForCausalLM", "qwen2", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "use_sliding_window": True, "max_window_layers": 4, "sliding_window": 1024}, {(1, 1): 615047168, (2,
        1): 307542016, (2, 2): 153768960, (8, 1): 80060416}, [(4, None, 1024)]),
    # tied where the config does not say
    Case("Ernie4_5ForCausalLM", "ernie4_5", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 1024,
        "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "head_dim": 128, "use_bias": False}, {(1, 1): 178931712, (2, 1): 89475072, (2, 2): 61153280, (8, 1):
        23955456}, [(4, None, 1024)]),
    Case("LlamaModel", "llama", {"num_hidden_layers": 4, "vocab_size": 32003, "hidden_size": 2048,
        "intermediate_size": 5632, "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings":
        4096}, {(1, 1): 615026688, (2, 1): 307531776, (2, 2): 153763840, (8, 1): 77959168}, [(4, None, 1024)]),
    # two norms in parallel
    Case("FalconForCausalLM", "falcon", {"num_hidden_layers": 4, "vocab_size": 65024, "hidden_size": 8192,
        "num_attention_heads": 128, "num_kv_heads": 8, "new_decoder_architecture": True, "parallel_attn": True,
        "bias": False, "alibi": False}, {(1, 1): 6501466112, (2, 1): 3250880512, (2, 2): 1891794944, (8, 1):
        812941312}, [(4, None, 2048)]),
    # attention is gated by a projection of its own
    Case("MuseGlimmerForCausalLM", "muse_glimmer_text", {"num_hidden_layers": 4, "vocab_size": 202048,
        "hidden_size": 6656, "intermediate_size": 19968, "num_attention_heads": 32, "num_key_value_heads": 2,
        "head_dim": 128, "max_position_embeddings": 131072, "sliding_window": 2048, "layer_types":
        ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"], "layer_rope_theta":
        [500000.0, 500000.0, 500000.0, 0]}, {(1, 1): 9250894848, (2, 1): 4625560576, (2, 2): 3657618432, (8, 1):
        1166783488}, [(3, 2048, 1024), (1, None, 1024)]),
    Case("XLMRobertaModel", "xlm-roberta", {"num_hidden_layers": 4, "vocab_size": 250002, "hidden_size": 1024,
        "intermediate_size": 4096, "num_attention_heads": 16, "max_position_embeddings": 514, "type_vocab_size": 1,
        "pad_token_id": 1, "position_embedding_type": "absolute"}, {(1, 1): 614182912, (2, 1): 307118080, (8, 1):
        76819456}, []),
    # sizes by the keys of GPT-2
    Case("NomicBertModel", "nomic_bert", {"n_layer": 4, "vocab_size": 30528, "n_embd": 768, "n_inner": 3072,
        "n_head": 12, "n_positions": 8192, "type_vocab_size": 2, "max_trained_positions": 2048, "qkv_proj_bias":
        False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "activation_function": "swiglu", "rotary_emb_fraction":
        1.0, "rotary_emb_base": 1000, "rotary_emb_scale_base": None, "rotary_emb_interleaved": False,
        "rotary_scaling_factor": None, "layer_norm_epsilon": 1e-12}, {(1, 1): 122514432, (2, 1): 61271040}, []),
    Case("InternLM2ForCausalLM", "llama", {"num_hidden_layers": 4, "vocab_size": 92544, "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        4096, "bias": False}, {(1, 1): 3261145088, (2, 1): 1630609408, (2, 2): 1194369024, (8, 1): 407707648}, [(4,
        None, 4096)]),
    # names of GPT
    Case("ExaoneForCausalLM", "llama", {"num_layers": 4, "num_hidden_layers": 4, "vocab_size": 102400,
        "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "max_position_embeddings": 4096, "activation_function": "silu", "layer_norm_epsilon":
        1e-05}, {(1, 1): 3422625792, (2, 1): 1711349760, (2, 2): 855670784, (8, 1): 427892736}, [(4, None, 4096)]),
    # a head size by default
    Case("GemmaForCausalLM", "gemma", {"num_hidden_layers": 4, "vocab_size": 256000, "hidden_size": 3072,
        "intermediate_size": 24576, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings":
        8192}, {(1, 1): 3787511808, (2, 1): 1893783552, (2, 2): 1340110848, (8, 1): 473487360}, [(4, None, 16384)]),
    # every second layer has a window
    Case("Gemma2ForCausalLM", "gemma2", {"num_hidden_layers": 4, "vocab_size": 256000, "hidden_size": 2304,
        "intermediate_size": 9216, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 8192}, {(1, 1): 1802580480, (2, 1): 901329408, (2, 2): 745579008, (8, 1):
        230109696}, [(2, 4096, 4096), (2, None, 4096)]),
    # a pattern of its own
    Case("Gemma3ForCausalLM", "gemma3_text", {"num_hidden_layers": 4, "vocab_size": 262144, "hidden_size": 1152,
        "intermediate_size": 6912, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 2}, {(1, 1): 818718976,
        (2, 1): 411740416, (2, 2): 356866304}, [(2, 512, 1024), (2, None, 1024)]),
    Case("RobertaForMaskedLM", "roberta", {"num_hidden_layers": 4, "vocab_size": 50265, "hidden_size": 768,
        "intermediate_size": 3072, "num_attention_heads": 12, "max_position_embeddings": 514, "type_vocab_size": 1,
        "pad_token_id": 1}, {(1, 1): 134956032, (2, 1): 67497984}, []),
    # a window for every layer
    Case("Starcoder2ForCausalLM", "starcoder2", {"num_hidden_layers": 4, "vocab_size": 49152, "hidden_size": 3072,
        "intermediate_size": 12288, "num_attention_heads": 24, "num_key_value_heads": 2, "max_position_embeddings":
        16384, "sliding_window": 4096}, {(1, 1): 1069834240, (2, 1): 534996992, (2, 2): 342989824, (8, 1):
        138589184}, [(4, 4096, 1024)]),
    # biases everywhere
    Case("NemotronForCausalLM", "nemotron", {"num_hidden_layers": 4, "vocab_size": 256000, "hidden_size": 3072,
        "intermediate_size": 9216, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 4096, "attention_bias": True, "mlp_bias": True}, {(1, 1): 3800313856, (2, 1):
        1900236800, (2, 2): 950112256, (8, 1): 475179008}, [(4, None, 4096)]),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.architecture)
def test_weights_are_those_that_vllm_builds(case: Case) -> None:
    architecture = read_architecture(case.config)
    for (tensor, pipeline), expected in case.weights.items():
        parallelism = Parallelism(tensor, pipeline)
        check_split(architecture, None, parallelism)
        assert rank_weights(architecture, None, parallelism, served_dtype="bfloat16") == expected, (tensor, pipeline)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.architecture)
def test_caches_are_those_that_vllm_plans(case: Case) -> None:
    caches = [cache for layer in read_architecture(case.config).layers for cache in layer.caches]
    heads = [cache for cache in caches if isinstance(cache, HeadCache)]
    found = Counter((cache.window, cache.kv_heads * (cache.head_dim + cache.value_dim) * 2) for cache in heads)
    assert found == Counter({(window, size): layers for layers, window, size in case.caches})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.architecture)
def test_absurd_values_are_read_or_refused(case: Case) -> None:
    for key, value in case.keys.items():
        for absurd in (-1, "many", [None], 2**63):
            if isinstance(value, bool) and absurd == 2**63:
                continue
            with suppress(ConfigError):
                read_architecture(case.config | {key: absurd})


def test_layers_that_are_alike_are_one_object() -> None:
    for case in CASES:
        layers = read_architecture(case.config).layers
        assert len({id(layer) for layer in layers}) == len(set(layers))


DECILM: dict[str, Any] = {
    "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "hidden_size": 8192, "vocab_size": 128256,
    "num_attention_heads": 64, "num_hidden_layers": 3, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    "block_configs": [
        {"attention": {"n_heads_in_group": 8, "no_op": False}, "ffn": {"ffn_mult": 2.625, "no_op": False}},
        {"attention": {"n_heads_in_group": None, "no_op": True}, "ffn": {"ffn_mult": 1.3125, "no_op": False}},
        {"attention": {"n_heads_in_group": 16, "no_op": False}, "ffn": {"no_op": True}},
    ],
}  # fmt: skip


def test_layers_of_pruned_models_differ_in_size() -> None:
    architecture = read_architecture(DECILM)
    heads = [cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, HeadCache)]
    assert [cache.kv_heads for cache in heads] == [8, 4]
    # int(2 * 2.625 * 8192 / 3) is 14336, a multiple of 256.
    assert architecture.intermediate_size == 14336


@pytest.mark.parametrize(
    ("blocks", "key"),
    [
        ([], "block_configs"),
        ([7, 7, 7], "block_configs[0]"),
        ([{"attention": {"n_heads_in_group": 7}, "ffn": {"ffn_mult": 1}}] * 3, "n_heads_in_group"),
        ([{"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": -1}}] * 3, "ffn_mult"),
        ([{"attention": {"no_op": True}, "ffn": {"no_op": True}}] * 3, "block_configs"),
    ],
)
def test_blocks_that_cannot_be_are_named(blocks: list[Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_architecture(DECILM | {"block_configs": blocks})
    assert key in str(error.value)
