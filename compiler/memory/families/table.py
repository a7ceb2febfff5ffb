"""Which reader takes which architecture. Everything that stackc can account for is in these tables.

A reader is named, `module.function` of this package, and imported when it is asked for: a stack needs two or three of
these fifty modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config

Reader = Callable[[str, Config], Architecture]

# Dense decoders and encoders.
TEXT_MODELS: Mapping[str, str] = {
    # vllm/model_executor/models/registry.py maps all of these to one class.
    **dict.fromkeys(
        (
            "LlamaForCausalLM",
            "LLaMAForCausalLM",
            "InternLM3ForCausalLM",
            "IQuestCoderForCausalLM",
            "TeleChat3ForCausalLM",
            "LlamaModel",
            "MistralModel",
            "MistralForCausalLM",
            "Ministral3ForCausalLM",
        ),
        "dense.llama",
    ),
    "Ernie4_5ForCausalLM": "dense.ernie",
    "Phi3ForCausalLM": "dense.phi3",
    "Qwen2ForCausalLM": "dense.qwen2",
    "Qwen2Model": "dense.qwen2",
    "MiMoForCausalLM": "dense.qwen2",
    "Qwen3ForCausalLM": "dense.qwen3",
    "GraniteForCausalLM": "dense.granite",
    "GraniteSWAForCausalLM": "dense.granite",
    "SolarForCausalLM": "dense.solar",
    "NemotronForCausalLM": "dense.nemotron",
    "ExaoneForCausalLM": "dense.exaone",
    "Exaone4ForCausalLM": "dense.exaone4",
    "Glm4ForCausalLM": "dense.glm4",
    "StableLmForCausalLM": "dense.stablelm",
    "OrionForCausalLM": "dense.orion",
    "MiniCPMForCausalLM": "dense.minicpm",
    "InternLM2ForCausalLM": "dense.internlm2",
    "CohereForCausalLM": "dense.cohere",
    "Cohere2ForCausalLM": "dense.cohere",
    "ApertusForCausalLM": "dense.apertus",
    "HyperCLOVAXForCausalLM": "dense.hyperclovax",
    "DeciLMForCausalLM": "per_layer.decilm",
    "GemmaForCausalLM": "gemma.gemma",
    "Gemma2ForCausalLM": "gemma.gemma2",
    "Gemma2Model": "gemma.gemma2",
    "Gemma3ForCausalLM": "gemma.gemma3",
    "Gemma3TextModel": "gemma.gemma3_embedding",
    "MuseGlimmerForCausalLM": "muse.text",
    "GPT2LMHeadModel": "early.gpt2",
    "GPTJForCausalLM": "early.gptj",
    "OPTForCausalLM": "early.opt",
    "BloomForCausalLM": "early.bloom",
    "FalconForCausalLM": "early.falcon",
    "ChatGLMModel": "early.chatglm",
    "ChatGLMForConditionalGeneration": "early.chatglm",
    "ArceeForCausalLM": "transformers_backend.arcee",
    "CwmForCausalLM": "transformers_backend.gated_decoder",
    "GlmForCausalLM": "transformers_backend.glm",
    "GPTBigCodeForCausalLM": "transformers_backend.gpt_bigcode",
    "GPTNeoXForCausalLM": "transformers_backend.gpt_neox",
    "HunYuanDenseV1ForCausalLM": "transformers_backend.gated_decoder",
    "Jais2ForCausalLM": "transformers_backend.jais2",
    "OlmoForCausalLM": "transformers_backend.olmo",
    "Olmo2ForCausalLM": "transformers_backend.olmo2",
    "Olmo3ForCausalLM": "transformers_backend.olmo2",
    "PhiForCausalLM": "transformers_backend.phi",
    "SeedOssForCausalLM": "transformers_backend.seed_oss",
    "SmolLM3ForCausalLM": "transformers_backend.gated_decoder",
    "Starcoder2ForCausalLM": "transformers_backend.starcoder2",
    "VaultGemmaForCausalLM": "transformers_backend.vault_gemma",
    "BertModel": "encoder.bert",
    "BertForMaskedLM": "encoder.bert_vocabulary",
    "BertForSequenceClassification": "encoder.bert_sequence",
    "BertForTokenClassification": "encoder.bert_tokens",
    "RobertaModel": "encoder.bert",
    "RobertaForMaskedLM": "encoder.bert",
    "RobertaForSequenceClassification": "encoder.roberta_sequence",
    "RobertaForTokenClassification": "encoder.bert_tokens",
    "XLMRobertaModel": "encoder.bert",
    "XLMRobertaForSequenceClassification": "encoder.roberta_sequence",
    "XLMRobertaForTokenClassification": "encoder.bert_tokens",
    "ModernBertModel": "encoder.modernbert",
    "ModernBertForSequenceClassification": "encoder.modernbert_sequence",
    "ModernBertForTokenClassification": "encoder.modernbert_tokens",
    "NomicBertModel": "encoder.nomic_bert",
    "GteModel": "encoder.gte",
    "GteNewModel": "encoder.gte",
    "GteNewForSequenceClassification": "encoder.gte_sequence",
    "InternLM2ForRewardModel": "rewards.internlm2_reward",
    "LlamaBidirectionalForSequenceClassification": "rewards.llama_encoder_sequence",
    "LlamaBidirectionalModel": "rewards.llama_encoder",
    "Qwen2ForProcessRewardModel": "rewards.qwen2_process_reward",
    "Qwen2ForRewardModel": "rewards.qwen2_reward",
}

# All models that read images or sound.
VISION_MODELS: Mapping[str, str] = {
    "Cohere2VisionForConditionalGeneration": "vision_models.cohere2_vision",
    "DeepseekOCRForCausalLM": "vision_models.deepseek_ocr",
    "DotsOCRForCausalLM": "vision_models.dots_ocr",
    "Ernie4_5_VLMoeForConditionalGeneration": "vision_ernie.ernie45_vl",
    "Exaone4_5_ForConditionalGeneration": "vision_models.exaone4_5",
    "Gemma3ForConditionalGeneration": "vision_models.gemma3",
    "Gemma3nForConditionalGeneration": "gemma3n.gemma3n",
    "Gemma4ForCausalLM": "gemma4.gemma4_text",
    "Gemma4ForConditionalGeneration": "gemma4.gemma4",
    "Gemma4UnifiedForConditionalGeneration": "gemma4.gemma4_unified",
    "Glm4vForConditionalGeneration": "vision_models.glm4v",
    "Glm4vMoeForConditionalGeneration": "vision_models.glm4v_moe",
    "GlmOcrForConditionalGeneration": "vision_models.glm_ocr",
    "Granite4VisionForConditionalGeneration": "vision_models.granite4_vision",
    "H2OVLChatModel": "vision_intern_kin.h2ovl",
    "Idefics3ForConditionalGeneration": "vision_models.idefics3",
    "InternVLChatModel": "vision.internvl",
    "InternVLForConditionalGeneration": "vision_models.internvl",
    "KimiK25ForConditionalGeneration": "vision_models.kimi_k25",
    "KimiK3ForConditionalGeneration": "vision_models.kimi_k3",
    "KimiVLForConditionalGeneration": "vision_models.kimi_vl",
    "Llama4ForConditionalGeneration": "vision_models.llama4",
    "InternS1ForConditionalGeneration": "vision_models.internvl",
    "Lfm2VlForConditionalGeneration": "vision_models.lfm2_vl",
    "MiniCPMV": "vision_minicpm.minicpmv",
    "LightOnOCRForConditionalGeneration": "vision_models.lighton_ocr",
    "LlavaForConditionalGeneration": "vision.llava",
    "LlavaNextForConditionalGeneration": "vision_models.llava_next",
    "LlavaOnevisionForConditionalGeneration": "vision_models.llava_onevision",
    "Mistral3ForConditionalGeneration": "vision.mistral3",
    "MiniMaxM3SparseForConditionalGeneration": "minimax_m3.minimax_m3",
    "MuseGlimmerForConditionalGeneration": "vision_models.muse_glimmer",
    "Ovis2_5": "vision_ovis.ovis2_5",
    "Ovis2_6ForCausalLM": "vision_ovis.ovis2_5",
    "Ovis2_6_MoeForCausalLM": "vision_ovis.ovis2_5",
    "PaddleOCRVLForConditionalGeneration": "vision_models.paddleocr_vl",
    "PaliGemmaForConditionalGeneration": "vision_models.paligemma",
    "Phi3VForCausalLM": "vision.phi3_vision",
    "PixtralForConditionalGeneration": "pixtral.pixtral",
    "QianfanOCRForConditionalGeneration": "vision_intern_kin.qianfan_ocr",
    "Qwen2AudioForConditionalGeneration": "omni.qwen2_audio",
    "Qwen2_5OmniForConditionalGeneration": "omni.qwen2_5_omni",
    "Qwen2_5OmniModel": "omni.qwen2_5_omni",
    "Qwen3ASRForConditionalGeneration": "omni.qwen3_asr",
    "Qwen3OmniMoeForConditionalGeneration": "omni.qwen3_omni",
    "Qwen2_5_VLForConditionalGeneration": "vision.qwen2_5_vl",
    "Qwen2VLForConditionalGeneration": "vision.qwen2_vl",
    "Qwen4ExpForConditionalGeneration": "vision_models.qwen4_exp_vision",
    "Qwen3_5ForConditionalGeneration": "vision_models.qwen3_5",
    "Qwen3_5MoeForConditionalGeneration": "vision_models.qwen3_5",
    "Qwen3VLForConditionalGeneration": "vision.qwen3_vl",
    "Qwen3VLMoeForConditionalGeneration": "vision_models.qwen3_vl_moe",
    "SkyworkR1VChatModel": "vision_intern_kin.skywork_r1v",
    "SmolVLMForConditionalGeneration": "vision_models.idefics3",
    "StepVLForConditionalGeneration": "vision_step.step_vl",
}

# Experts, latent attention and recurrent states.
OTHER_MODELS: Mapping[str, str] = {
    "DeepseekForCausalLM": "mla.deepseek",
    "DeepseekV2ForCausalLM": "mla.deepseek",
    "DeepseekV3ForCausalLM": "mla.deepseek",
    "DeepseekV32ForCausalLM": "mla.sparse",
    "DeepseekV4ForCausalLM": "deepseek_v4.deepseek_v4",
    "Glm4MoeLiteForCausalLM": "mla.glm4_lite",
    "GlmMoeDsaForCausalLM": "mla.sparse",
    "MiniCPM3ForCausalLM": "mla.minicpm3",
    "Mistral4ForCausalLM": "mla.deepseek",
    "MistralLarge3ForCausalLM": "mla.deepseek",
    "AXK1ForCausalLM": "mla.axk1",
    "LongcatFlashForCausalLM": "longcat.longcat_flash",
    "AfmoeForCausalLM": "moe_scored.afmoe",
    "BailingMoeForCausalLM": "moe_scored.bailing_moe",
    "BailingMoeV2ForCausalLM": "moe_scored.bailing_moe",
    "Cohere2MoeForCausalLM": "moe_scored.cohere2_moe",
    "ExaoneMoEForCausalLM": "moe_scored.exaone_moe",
    "ExaoneMoeForCausalLM": "moe_scored.exaone_moe",
    "HYV3ForCausalLM": "moe_scored.hy_v3",
    "Ernie4_5_MoeForCausalLM": "moe.ernie45_moe",
    "Glm4MoeForCausalLM": "moe.glm4_moe",
    "GptOssForCausalLM": "moe.gpt_oss",
    "GraniteMoeForCausalLM": "moe.granite_moe",
    "FlexOlmoForCausalLM": "transformers_moe.flex_olmo",
    "GraniteMoeSWAForCausalLM": "moe.granite_moe_swa",
    "HunYuanMoEV1ForCausalLM": "transformers_moe.hunyuan_moe",
    "MellumForCausalLM": "transformers_moe.mellum",
    "GraniteMoeSharedForCausalLM": "moe.granite_moe",
    "LagunaForCausalLM": "moe_windows.laguna",
    "Llama4ForCausalLM": "moe_windows.llama4",
    "MiMoV2FlashForCausalLM": "moe_windows.mimo_v2",
    "MiniMaxM2ForCausalLM": "moe.minimax_m2",
    "MiniMaxM3SparseForCausalLM": "minimax_m3.minimax_m3_text",
    "MixtralForCausalLM": "moe.mixtral",
    "OlmoeForCausalLM": "moe.olmoe",
    "PhiMoEForCausalLM": "moe.phimoe",
    "Qwen2MoeForCausalLM": "moe.qwen2_moe",
    "Qwen3MoeForCausalLM": "moe.qwen3_moe",
    "Step3p5ForCausalLM": "moe_windows.step3p5",
    "FalconH1ForCausalLM": "hybrid.falcon_h1",
    "FalconMambaForCausalLM": "states.mamba",
    "GraniteMoeHybridForCausalLM": "hybrid.granite_hybrid",
    "JambaForCausalLM": "hybrid.jamba",
    "KimiLinearForCausalLM": "kimi.kimi_linear",
    "Lfm2ForCausalLM": "states.lfm2",
    "Lfm2MoeForCausalLM": "states.lfm2_moe",
    "Mamba2ForCausalLM": "states.mamba2",
    "MambaForCausalLM": "states.mamba",
    "NemotronHForCausalLM": "hybrid.nemotron_h",
    "OlmoHybridForCausalLM": "olmo_hybrid.olmo_hybrid",
    "Zamba2ForCausalLM": "states.zamba2",
    "Qwen3NextForCausalLM": "qwen_hybrid.qwen3_next",
    "Qwen4ExpForCausalLM": "qwen4_exp.qwen4_exp_text",
    "Qwen3_5ForCausalLM": "qwen_hybrid.qwen3_5",
    "Qwen3_5MoeForCausalLM": "qwen_hybrid.qwen3_5",
}


class Readers(Mapping[str, Reader]):
    """Readers by the names of the architectures that they take."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def __getitem__(self, architecture: str) -> Reader:
        module, function = self._names[architecture].split(".")
        reader: Reader = getattr(importlib.import_module(f"compiler.memory.families.{module}"), function)
        return reader

    def __contains__(self, architecture: object) -> bool:
        return architecture in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


FAMILIES = Readers({**TEXT_MODELS, **VISION_MODELS, **OTHER_MODELS})
