"""Which reader takes which architecture. Everything that stackc can account for is in these tables.

A reader is named, `module.function` of this package, and imported when it is asked for: a stack needs two or three of
these fifty modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import Config

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
        "dense.plain.llama",
    ),
    "Ernie4_5ForCausalLM": "dense.plain.ernie",
    "Phi3ForCausalLM": "dense.plain.phi3",
    "Qwen2ForCausalLM": "dense.plain.qwen2",
    "Qwen2Model": "dense.plain.qwen2",
    "MiMoForCausalLM": "dense.plain.qwen2",
    "Qwen3ForCausalLM": "dense.plain.qwen3",
    "GraniteForCausalLM": "dense.plain.granite",
    "GraniteSWAForCausalLM": "dense.plain.granite",
    "SolarForCausalLM": "dense.plain.solar",
    "NemotronForCausalLM": "dense.plain.nemotron",
    "ExaoneForCausalLM": "dense.plain.exaone",
    "Exaone4ForCausalLM": "dense.plain.exaone4",
    "Glm4ForCausalLM": "dense.plain.glm4",
    "StableLmForCausalLM": "dense.plain.stablelm",
    "OrionForCausalLM": "dense.plain.orion",
    "MiniCPMForCausalLM": "dense.plain.minicpm",
    "InternLM2ForCausalLM": "dense.plain.internlm2",
    "CohereForCausalLM": "dense.plain.cohere",
    "Cohere2ForCausalLM": "dense.plain.cohere",
    "ApertusForCausalLM": "dense.plain.apertus",
    "HyperCLOVAXForCausalLM": "dense.plain.hyperclovax",
    "DeciLMForCausalLM": "dense.per_layer.decilm",
    "GemmaForCausalLM": "dense.gemma.gemma",
    "Gemma2ForCausalLM": "dense.gemma.gemma2",
    "Gemma2Model": "dense.gemma.gemma2",
    "Gemma3ForCausalLM": "dense.gemma.gemma3",
    "Gemma3TextModel": "dense.gemma.gemma3_embedding",
    "MuseGlimmerForCausalLM": "dense.muse.text",
    "GPT2LMHeadModel": "dense.early.gpt2",
    "GPTJForCausalLM": "dense.early.gptj",
    "OPTForCausalLM": "dense.early.opt",
    "BloomForCausalLM": "dense.early.bloom",
    "FalconForCausalLM": "dense.early.falcon",
    "ChatGLMModel": "dense.early.chatglm",
    "ChatGLMForConditionalGeneration": "dense.early.chatglm",
    "ArceeForCausalLM": "dense.transformers_backend.arcee",
    "CwmForCausalLM": "dense.transformers_backend.gated_decoder",
    "GlmForCausalLM": "dense.transformers_backend.glm",
    "GPTBigCodeForCausalLM": "dense.transformers_backend.gpt_bigcode",
    "GPTNeoXForCausalLM": "dense.transformers_backend.gpt_neox",
    "HunYuanDenseV1ForCausalLM": "dense.transformers_backend.gated_decoder",
    "Jais2ForCausalLM": "dense.transformers_backend.jais2",
    "OlmoForCausalLM": "dense.transformers_backend.olmo",
    "Olmo2ForCausalLM": "dense.transformers_backend.olmo2",
    "Olmo3ForCausalLM": "dense.transformers_backend.olmo2",
    "PhiForCausalLM": "dense.transformers_backend.phi",
    "SeedOssForCausalLM": "dense.transformers_backend.seed_oss",
    "SmolLM3ForCausalLM": "dense.transformers_backend.gated_decoder",
    "Starcoder2ForCausalLM": "dense.transformers_backend.starcoder2",
    "VaultGemmaForCausalLM": "dense.transformers_backend.vault_gemma",
    "BertModel": "dense.encoder.bert",
    "BertForMaskedLM": "dense.encoder.bert_vocabulary",
    "BertForSequenceClassification": "dense.encoder.bert_sequence",
    "BertForTokenClassification": "dense.encoder.bert_tokens",
    "RobertaModel": "dense.encoder.bert",
    "RobertaForMaskedLM": "dense.encoder.bert",
    "RobertaForSequenceClassification": "dense.encoder.roberta_sequence",
    "RobertaForTokenClassification": "dense.encoder.bert_tokens",
    "XLMRobertaModel": "dense.encoder.bert",
    "XLMRobertaForSequenceClassification": "dense.encoder.roberta_sequence",
    "XLMRobertaForTokenClassification": "dense.encoder.bert_tokens",
    "ModernBertModel": "dense.encoder.modernbert",
    "ModernBertForSequenceClassification": "dense.encoder.modernbert_sequence",
    "ModernBertForTokenClassification": "dense.encoder.modernbert_tokens",
    "NomicBertModel": "dense.encoder.nomic_bert",
    "GteModel": "dense.encoder.gte",
    "GteNewModel": "dense.encoder.gte",
    "GteNewForSequenceClassification": "dense.encoder.gte_sequence",
    "InternLM2ForRewardModel": "dense.rewards.internlm2_reward",
    "LlamaBidirectionalForSequenceClassification": "dense.rewards.llama_encoder_sequence",
    "LlamaBidirectionalModel": "dense.rewards.llama_encoder",
    "Qwen2ForProcessRewardModel": "dense.rewards.qwen2_process_reward",
    "Qwen2ForRewardModel": "dense.rewards.qwen2_reward",
}

# All models that read images or sound.
VISION_MODELS: Mapping[str, str] = {
    "Cohere2VisionForConditionalGeneration": "multimodal.models.cohere2_vision",
    "DeepseekOCRForCausalLM": "multimodal.models.deepseek_ocr",
    "DotsOCRForCausalLM": "multimodal.models.dots_ocr",
    "Ernie4_5_VLMoeForConditionalGeneration": "multimodal.ernie.ernie45_vl",
    "Exaone4_5_ForConditionalGeneration": "multimodal.models.exaone4_5",
    "Gemma3ForConditionalGeneration": "multimodal.models.gemma3",
    "Gemma3nForConditionalGeneration": "multimodal.gemma3n.gemma3n",
    "Gemma4ForCausalLM": "multimodal.gemma4.gemma4_text",
    "Gemma4ForConditionalGeneration": "multimodal.gemma4.gemma4",
    "Gemma4UnifiedForConditionalGeneration": "multimodal.gemma4.gemma4_unified",
    "Glm4vForConditionalGeneration": "multimodal.models.glm4v",
    "Glm4vMoeForConditionalGeneration": "multimodal.models.glm4v_moe",
    "GlmOcrForConditionalGeneration": "multimodal.models.glm_ocr",
    "Granite4VisionForConditionalGeneration": "multimodal.models.granite4_vision",
    "H2OVLChatModel": "multimodal.intern_kin.h2ovl",
    "Idefics3ForConditionalGeneration": "multimodal.models.idefics3",
    "InternVLChatModel": "multimodal.composed.internvl",
    "InternVLForConditionalGeneration": "multimodal.models.internvl",
    "KimiK25ForConditionalGeneration": "multimodal.models.kimi_k25",
    "KimiK3ForConditionalGeneration": "multimodal.models.kimi_k3",
    "KimiVLForConditionalGeneration": "multimodal.models.kimi_vl",
    "Llama4ForConditionalGeneration": "multimodal.models.llama4",
    "InternS1ForConditionalGeneration": "multimodal.models.internvl",
    "Lfm2VlForConditionalGeneration": "multimodal.models.lfm2_vl",
    "MiniCPMV": "multimodal.minicpm.minicpmv",
    "LightOnOCRForConditionalGeneration": "multimodal.models.lighton_ocr",
    "LlavaForConditionalGeneration": "multimodal.composed.llava",
    "LlavaNextForConditionalGeneration": "multimodal.models.llava_next",
    "LlavaOnevisionForConditionalGeneration": "multimodal.models.llava_onevision",
    "Mistral3ForConditionalGeneration": "multimodal.composed.mistral3",
    "MiniMaxM3SparseForConditionalGeneration": "multimodal.minimax_m3.minimax_m3",
    "MuseGlimmerForConditionalGeneration": "multimodal.models.muse_glimmer",
    "Ovis2_5": "multimodal.ovis.ovis2_5",
    "Ovis2_6ForCausalLM": "multimodal.ovis.ovis2_5",
    "Ovis2_6_MoeForCausalLM": "multimodal.ovis.ovis2_5",
    "PaddleOCRVLForConditionalGeneration": "multimodal.models.paddleocr_vl",
    "PaliGemmaForConditionalGeneration": "multimodal.models.paligemma",
    "Phi3VForCausalLM": "multimodal.composed.phi3_vision",
    "PixtralForConditionalGeneration": "multimodal.pixtral.pixtral",
    "QianfanOCRForConditionalGeneration": "multimodal.intern_kin.qianfan_ocr",
    "Qwen2AudioForConditionalGeneration": "multimodal.omni.qwen2_audio",
    "Qwen2_5OmniForConditionalGeneration": "multimodal.omni.qwen2_5_omni",
    "Qwen2_5OmniModel": "multimodal.omni.qwen2_5_omni",
    "Qwen3ASRForConditionalGeneration": "multimodal.omni.qwen3_asr",
    "Qwen3OmniMoeForConditionalGeneration": "multimodal.omni.qwen3_omni",
    "Qwen2_5_VLForConditionalGeneration": "multimodal.composed.qwen2_5_vl",
    "Qwen2VLForConditionalGeneration": "multimodal.composed.qwen2_vl",
    "Qwen4ExpForConditionalGeneration": "multimodal.models.qwen4_exp_vision",
    "Qwen3_5ForConditionalGeneration": "multimodal.models.qwen3_5",
    "Qwen3_5MoeForConditionalGeneration": "multimodal.models.qwen3_5",
    "Qwen3VLForConditionalGeneration": "multimodal.composed.qwen3_vl",
    "Qwen3VLMoeForConditionalGeneration": "multimodal.models.qwen3_vl_moe",
    "SkyworkR1VChatModel": "multimodal.intern_kin.skywork_r1v",
    "SmolVLMForConditionalGeneration": "multimodal.models.idefics3",
    "StepVLForConditionalGeneration": "multimodal.step.step_vl",
}

# Experts, latent attention and recurrent states.
OTHER_MODELS: Mapping[str, str] = {
    "DeepseekForCausalLM": "latent.mla.deepseek",
    "DeepseekV2ForCausalLM": "latent.mla.deepseek",
    "DeepseekV3ForCausalLM": "latent.mla.deepseek",
    "DeepseekV32ForCausalLM": "latent.mla.sparse",
    "DeepseekV4ForCausalLM": "latent.deepseek_v4.deepseek_v4",
    "Glm4MoeLiteForCausalLM": "latent.mla.glm4_lite",
    "GlmMoeDsaForCausalLM": "latent.mla.sparse",
    "MiniCPM3ForCausalLM": "latent.mla.minicpm3",
    "Mistral4ForCausalLM": "latent.mla.deepseek",
    "MistralLarge3ForCausalLM": "latent.mla.deepseek",
    "AXK1ForCausalLM": "latent.mla.axk1",
    "LongcatFlashForCausalLM": "latent.longcat.longcat_flash",
    "AfmoeForCausalLM": "experts.scored.afmoe",
    "BailingMoeForCausalLM": "experts.scored.bailing_moe",
    "BailingMoeV2ForCausalLM": "experts.scored.bailing_moe",
    "Cohere2MoeForCausalLM": "experts.scored.cohere2_moe",
    "ExaoneMoEForCausalLM": "experts.scored.exaone_moe",
    "ExaoneMoeForCausalLM": "experts.scored.exaone_moe",
    "HYV3ForCausalLM": "experts.scored.hy_v3",
    "Ernie4_5_MoeForCausalLM": "experts.plain.ernie45_moe",
    "Glm4MoeForCausalLM": "experts.plain.glm4_moe",
    "GptOssForCausalLM": "experts.plain.gpt_oss",
    "GraniteMoeForCausalLM": "experts.plain.granite_moe",
    "FlexOlmoForCausalLM": "experts.transformers_backend.flex_olmo",
    "GraniteMoeSWAForCausalLM": "experts.plain.granite_moe_swa",
    "HunYuanMoEV1ForCausalLM": "experts.transformers_backend.hunyuan_moe",
    "MellumForCausalLM": "experts.transformers_backend.mellum",
    "GraniteMoeSharedForCausalLM": "experts.plain.granite_moe",
    "LagunaForCausalLM": "experts.windows.laguna",
    "Llama4ForCausalLM": "experts.windows.llama4",
    "MiMoV2FlashForCausalLM": "experts.windows.mimo_v2",
    "MiniMaxM2ForCausalLM": "experts.plain.minimax_m2",
    "MiniMaxM3SparseForCausalLM": "multimodal.minimax_m3.minimax_m3_text",
    "MixtralForCausalLM": "experts.plain.mixtral",
    "OlmoeForCausalLM": "experts.plain.olmoe",
    "PhiMoEForCausalLM": "experts.plain.phimoe",
    "Qwen2MoeForCausalLM": "experts.plain.qwen2_moe",
    "Qwen3MoeForCausalLM": "experts.plain.qwen3_moe",
    "Step3p5ForCausalLM": "experts.windows.step3p5",
    "FalconH1ForCausalLM": "recurrent.hybrid.falcon_h1",
    "FalconMambaForCausalLM": "recurrent.states.mamba",
    "GraniteMoeHybridForCausalLM": "recurrent.hybrid.granite_hybrid",
    "JambaForCausalLM": "recurrent.hybrid.jamba",
    "KimiLinearForCausalLM": "recurrent.kimi.kimi_linear",
    "Lfm2ForCausalLM": "recurrent.states.lfm2",
    "Lfm2MoeForCausalLM": "recurrent.states.lfm2_moe",
    "Mamba2ForCausalLM": "recurrent.states.mamba2",
    "MambaForCausalLM": "recurrent.states.mamba",
    "NemotronHForCausalLM": "recurrent.hybrid.nemotron_h",
    "OlmoHybridForCausalLM": "recurrent.olmo.olmo_hybrid",
    "Zamba2ForCausalLM": "recurrent.states.zamba2",
    "Qwen3NextForCausalLM": "recurrent.qwen.qwen3_next",
    "Qwen4ExpForCausalLM": "recurrent.qwen4_exp.qwen4_exp_text",
    "Qwen3_5ForCausalLM": "recurrent.qwen.qwen3_5",
    "Qwen3_5MoeForCausalLM": "recurrent.qwen.qwen3_5",
}


class Readers(Mapping[str, Reader]):
    """Readers by the names of the architectures that they take."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def __getitem__(self, architecture: str) -> Reader:
        module, _, function = self._names[architecture].rpartition(".")
        reader: Reader = getattr(importlib.import_module(f"compiler.checkpoints.families.{module}"), function)
        return reader

    def __contains__(self, architecture: object) -> bool:
        return architecture in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


FAMILIES = Readers({**TEXT_MODELS, **VISION_MODELS, **OTHER_MODELS})
