"""Published models whose config.json has an `auto_map`, by what of it decides: the type, the class, and what is mapped.

The last item is what the engine lacks: a word of the reason why code is needed, or None where both are known, or where
code would not help. `tests/engine/test_remote_code.py` asks vLLM and transformers themselves.
"""

from __future__ import annotations

_BOTH = ("AutoConfig", "AutoModelForCausalLM")
_MORE = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
_ALL = (*_MORE, "AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification")

# model_type, architecture, keys of auto_map, what is lacking
WITH_CODE: tuple[tuple[str, str, tuple[str, ...], str | None], ...] = (
    ("chatglm", "ChatGLMModel", _ALL, None),
    ("deepseek_v3", "DeepseekV3ForCausalLM", _MORE, None),
    ("exaone", "ExaoneForCausalLM", _BOTH, "model type `exaone`"),
    ("glm4_moe", "Glm4MoeForCausalLM", _MORE, None),
    ("internlm2", "InternLM2ForCausalLM", _MORE, "model type `internlm2`"),
    ("kimi_k2", "DeepseekV3ForCausalLM", _MORE, None),
    ("kimi_k25", "KimiK25ForConditionalGeneration", _MORE, None),
    ("kimi_k3", "KimiK3ForConditionalGeneration", _MORE, None),
    ("laguna", "LagunaForCausalLM", _BOTH, None),
    ("minicpm3", "MiniCPM3ForCausalLM", _ALL, None),
    ("minimax_m2", "MiniMaxM2ForCausalLM", _BOTH, None),
    ("minimax_m3_vl", "MiniMaxM3SparseForConditionalGeneration", ("AutoConfig",), None),
    ("nemotron-nas", "DeciLMForCausalLM", _BOTH, "model type `nemotron-nas`"),
    ("nemotron_h", "NemotronHForCausalLM", _MORE, None),
    ("phi3", "Phi3ForCausalLM", (*_BOTH, "AutoTokenizer"), None),
    ("phi3_v", "Phi3VForCausalLM", _BOTH, "model type `phi3_v`"),
    ("phimoe", "PhiMoEForCausalLM", _BOTH, None),
    ("qwen2", "Qwen2ForCausalLM", ("AutoModel", "AutoModelForCausalLM"), None),
    # No class any more, with and without code: that is told instead.
    ("baichuan", "BaichuanForCausalLM", _BOTH, None),
    ("qwen", "QWenLMHeadModel", _BOTH, None),
)
