"""Files params.json with the widths of published models and few layers."""

from __future__ import annotations

from typing import Any

TOWER = {
    "image_token_id": 10, "image_break_token_id": 12, "image_end_token_id": 13, "intermediate_size": 4096,
    "num_hidden_layers": 4, "num_attention_heads": 16, "mm_projector_id": "patch_merge", "spatial_merge_size": 2,
    "hidden_size": 1024, "num_channels": 3, "image_size": 1540, "max_image_size": 1540, "patch_size": 14,
    "rope_theta": 10000.0, "add_pre_mm_projector_layer_norm": True, "adapter_bias": False,
}  # fmt: skip
_SCALING = {"original_max_position_embeddings": 8192, "beta": 0.1}
_YARN = {"original_max_position_embeddings": 8192, "factor": 128, "apply_scale": False, "beta": 32, "alpha": 1}
_MOE = {
    "expert_parallel": 1, "expert_model_parallel": 1, "route_every_n": 1, "first_k_dense_replace": 0,
    "num_experts": 128, "num_experts_per_tok": 4, "num_expert_groups": 1, "num_expert_groups_per_tok": 1,
    "routed_scale": 1.0, "expert_hidden_dim": 2048, "num_shared_experts": 1,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "dim": 4096, "n_layers": 3, "head_dim": 128, "hidden_dim": 12288, "n_heads": 32, "n_kv_heads": 32,
    "rope_theta": 10000.0, "norm_eps": 1e-06, "vocab_size": 131072, "tied_embeddings": False,
    "max_position_embeddings": 1048576, "llama_4_scaling": _SCALING, "q_lora_rank": 1024, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 64, "kv_lora_rank": 256, "v_head_dim": 128, "yarn": _YARN, "moe": _MOE, "dtype": "bfloat16",
}  # fmt: skip
FP8 = {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}
DENSE: dict[str, Any] = {
    "dim": 3072, "n_layers": 4, "head_dim": 128, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8,
    "rope_theta": 1000000.0, "norm_eps": 1e-05, "vocab_size": 131072, "tied_embeddings": True,
    "max_position_embeddings": 262144, "dtype": "bfloat16",
}  # fmt: skip
OLDER = {key: value for key, value in TOWER.items() if key not in ("mm_projector_id", "spatial_merge_size",
         "add_pre_mm_projector_layer_norm", "adapter_bias")}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "latent, images, fp8": {**LATENT, **FP8, "vision_encoder": TOWER},
    "latent, images": {**LATENT, "vision_encoder": TOWER},
    "latent": {**LATENT, "moe": {**_MOE, "first_k_dense_replace": 1}},
    "latent without experts": {key: value for key, value in LATENT.items() if key != "moe"},
    "dense, images, tied": {**DENSE, "vision_encoder": TOWER},
    "dense, older images": {**DENSE, "tied_embeddings": False, "vision_encoder": OLDER},
    "dense, windows, fp8": {**DENSE, **FP8, "tied_embeddings": False, "sliding_window": [4096, None]},
}
