"""Which parsers of vLLM read the tool calls and the reasoning of which models, as vLLM's own files say it.

Names are those of the registries in vllm/tool_parsers and vllm/reasoning of 0.33.0; a release that lacks one is never
told to use it. A family is left out where vLLM's files do not say which models a parser is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a parser finds in an answer. The value is vLLM's option."""

    TOOLS = "--tool-call-parser"
    REASONING = "--reasoning-parser"


@dataclass(frozen=True, slots=True)
class Family:
    """Models whose answers are written alike.

    Attributes:
        title: as people call them.
        architectures: by `architectures` of config.json.
        tools, reasoning: names of parsers, the first to be tried first; empty where vLLM's files name none.
        source: the file of the release that says so.
        shared: other models with answers of other forms have the same architecture, so that no other parser is wrong.
        model_type: of config.json, where only that tells the family from another.
    """

    title: str
    architectures: tuple[str, ...]
    tools: tuple[str, ...]
    reasoning: tuple[str, ...]
    source: str
    shared: bool = False
    model_type: str | None = None

    @property
    def described(self) -> str:
        """Its name, and whether its architecture alone tells it."""
        return f"{self.title} (others share its architecture)" if self.shared else self.title

    def parsers(self, role: Role) -> tuple[str, ...]:
        """The names for one role."""
        return self.tools if role is Role.TOOLS else self.reasoning


# Read the tokens that the checkpoint itself names (`response_template`), so they suit any model.
GENERIC = frozenset({"hf"})

_CODER = ("qwen3_coder", "qwen3_xml")
_HERMES = ("hermes", "qwen3_json")
_LLAMA4 = ("llama4_pythonic", "llama4_json", "pythonic")
_GLM = ("glm47", "glm45")

FAMILIES: tuple[Family, ...] = (
    Family("Apertus", ("ApertusForCausalLM",), ("apertus",), (), "tool_parsers/apertus_tool_parser.py"),
    Family("Beam", ("BeamForCausalLM",), ("beam",), ("beam",), "parser/beam.py"),
    Family(
        "Cohere Command",
        ("Cohere2ForCausalLM", "Cohere2VisionForConditionalGeneration", "Cohere2MoeForCausalLM"),
        ("cohere_command3", "cohere_command4"),
        ("cohere_command3", "cohere_command4"),
        "parser/cohere_command.py",
    ),
    Family(
        "DeepSeek V3 and R1",
        ("DeepseekV3ForCausalLM",),
        ("deepseek_v3", "deepseek_v31"),
        ("deepseek_r1", "deepseek_v3"),
        "reasoning/deepseek_v3_reasoning_parser.py",
        shared=True,
        model_type="deepseek_v3",
    ),
    Family("DeepSeek V3.2", ("DeepseekV32ForCausalLM",), ("deepseek_v32",), (), "parser/deepseek_v32.py"),
    Family(
        "DeepSeek V4",
        ("DeepseekV4ForCausalLM", "DeepseekV4ForConditionalGeneration"),
        ("deepseek_v4",),
        ("deepseek_v4",),
        "parser/deepseek_v4.py",
    ),
    Family(
        "DeepSeek V4.1",
        ("DeepseekV41ForCausalLM",),
        ("deepseek_v41",),
        ("deepseek_v41",),
        "parser/deepseek_v41.py",
    ),
    Family(
        "Ernie 4.5",
        ("Ernie4_5ForCausalLM", "Ernie4_5_MoeForCausalLM"),
        ("ernie45",),
        ("ernie45",),
        "reasoning/ernie45_reasoning_parser.py",
    ),
    Family(
        "FunctionGemma",
        ("Gemma3ForCausalLM",),
        ("functiongemma",),
        (),
        "tool_parsers/functiongemma_tool_parser.py",
        shared=True,
    ),
    Family(
        "Gemma 4",
        ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"),
        ("gemma4",),
        ("gemma4",),
        "parser/gemma4.py",
    ),
    Family("GLM-4.5 to 4.7", ("Glm4MoeForCausalLM",), _GLM, _GLM, "parser/glm47_moe.py"),
    Family(
        "gpt-oss",
        ("GptOssForCausalLM",),
        ("openai",),
        ("openai_gptoss",),
        "model_executor/models/config.py",
    ),
    Family("Granite 3", ("GraniteForCausalLM",), ("granite",), ("granite",), "parser/granite.py", shared=True),
    Family(
        "Granite 4",
        ("GraniteMoeHybridForCausalLM",),
        ("granite4",),
        (),
        "tool_parsers/granite4_tool_parser.py",
        shared=True,
    ),
    Family(
        "Hunyuan A13B",
        ("HunYuanMoEV1ForCausalLM",),
        ("hunyuan_a13b",),
        ("hunyuan_a13b",),
        "reasoning/hunyuan_a13b_reasoning_parser.py",
    ),
    Family("HY V3", ("HYV3ForCausalLM",), ("hy_v3",), ("hy_v3",), "reasoning/hy_v3_reasoning_parser.py"),
    Family("HY V4", ("HYV4ForCausalLM",), ("hy_v4",), ("hy_v4",), "reasoning/hy_v4_reasoning_parser.py"),
    Family(
        "Inkling",
        ("InklingForCausalLM", "InklingForConditionalGeneration"),
        ("inkling",),
        ("inkling",),
        "parser/inkling.py",
    ),
    Family("InternLM2", ("InternLM2ForCausalLM",), ("internlm",), (), "tool_parsers/internlm2_tool_parser.py"),
    Family("Jamba", ("JambaForCausalLM",), ("jamba",), (), "tool_parsers/jamba_tool_parser.py"),
    Family(
        "K2 Horizon",
        ("K2HorizonForCausalLM",),
        ("k2_horizon",),
        ("k2_horizon",),
        "reasoning/k2_horizon_reasoning_parser.py",
    ),
    Family(
        "Kimi K2",
        ("DeepseekV3ForCausalLM",),
        ("kimi_k2",),
        ("kimi_k2",),
        "parser/kimi_k2.py",
        model_type="kimi_k2",
    ),
    Family(
        "Kimi K3",
        ("KimiK3ForConditionalGeneration",),
        ("kimi_k3",),
        ("kimi_k3",),
        "parser/kimi_k3.py",
    ),
    Family("LFM2", ("Lfm2ForCausalLM", "Lfm2MoeForCausalLM"), ("lfm2",), (), "tool_parsers/lfm2_tool_parser.py"),
    Family(
        "Llama 3",
        ("LlamaForCausalLM",),
        ("llama3_json", "pythonic"),
        (),
        "tool_parsers/llama_tool_parser.py",
        shared=True,
    ),
    Family(
        "Llama 4",
        ("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
        _LLAMA4,
        (),
        "tool_parsers/llama4_pythonic_tool_parser.py",
    ),
    Family(
        "LongCat Flash",
        ("LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM"),
        ("longcat",),
        (),
        "tool_parsers/longcat_tool_parser.py",
    ),
    Family("MiniCPM-V", ("MiniCPMV",), (), ("minicpmv",), "parser/minicpmv.py", shared=True),
    Family(
        "MiniMax M2",
        ("MiniMaxM2ForCausalLM",),
        ("minimax_m2",),
        ("minimax_m2", "minimax_m2_append_think"),
        "reasoning/minimax_m2_reasoning_parser.py",
    ),
    Family(
        "MiniMax M3",
        ("MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"),
        ("minimax_m3",),
        ("minimax_m3",),
        "parser/minimax_m3.py",
    ),
    Family(
        "Mistral",
        ("MistralForCausalLM", "PixtralForConditionalGeneration"),
        ("mistral",),
        ("mistral",),
        "parser/mistral.py",
        shared=True,
    ),
    Family(
        "Mistral Small 3, Ministral 3, Mistral Large 3",
        ("Mistral3ForConditionalGeneration", "MistralLarge3ForCausalLM", "Ministral3ForCausalLM"),
        ("mistral",),
        ("mistral",),
        "parser/mistral.py",
        shared=True,
    ),
    Family(
        "Muse Glimmer",
        ("MuseGlimmerForCausalLM", "MuseGlimmerForConditionalGeneration"),
        ("muse_glimmer",),
        ("muse_glimmer",),
        "tool_parsers/muse_glimmer_tool_parser.py",
    ),
    Family(
        "Muse Spark",
        ("MuseSparkForConditionalGeneration",),
        ("muse", "musespark1x"),
        ("muse", "musespark1x"),
        "tool_parsers/muse_tool_parser.py",
    ),
    Family(
        "Nemotron 3",
        ("NemotronHForCausalLM",),
        _CODER,
        ("nemotron_v3",),
        "parser/nemotron_v3.py",
        shared=True,
    ),
    Family("Olmo 3", ("Olmo3ForCausalLM",), ("olmo3",), ("olmo3",), "tool_parsers/olmo3_tool_parser.py", shared=True),
    Family(
        "phi-4-mini", ("Phi3ForCausalLM",), ("phi4_mini_json",), (), "tool_parsers/phi4mini_tool_parser.py", shared=True
    ),
    Family("PLaMo 3", ("Plamo3ForCausalLM",), ("plamo3",), ("plamo3",), "parser/plamo3.py"),
    Family("Qwen2.5 and QwQ", ("Qwen2ForCausalLM",), _HERMES, (), "tool_parsers/__init__.py", shared=True),
    Family(
        "Qwen3",
        ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM"),
        (*_HERMES, *_CODER),
        ("qwen3",),
        "parser/qwen3.py",
        shared=True,
    ),
    Family("Seed-OSS", ("SeedOssForCausalLM",), ("seed_oss",), ("seed_oss",), "parser/seed_oss.py"),
    Family(
        "Step3",
        ("Step3TextForCausalLM", "Step3VLForConditionalGeneration"),
        ("step3",),
        ("step3",),
        "reasoning/step3_reasoning_parser.py",
    ),
    Family(
        "Step-3.5 and 3.7",
        ("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration"),
        ("step3p5",),
        ("step3p5",),
        "parser/step3p5.py",
    ),
    Family(
        "Step-5",
        ("Step5ForCausalLM", "Step5ForConditionalGeneration"),
        ("step5",),
        ("step5",),
        "tool_parsers/step5_tool_parser.py",
    ),
)


def families_of(architecture: str, model_type: str | None = None) -> tuple[Family, ...]:
    """The families that a config.json may belong to."""
    return tuple(
        family
        for family in FAMILIES
        if architecture in family.architectures and family.model_type in (None, model_type)
    )


def suitable(families: Iterable[Family], role: Role, registered: Iterable[str]) -> tuple[str, ...]:
    """Names that a release has, the best first."""
    known = set(registered)
    named = (name for family in families for name in family.parsers(role))
    return tuple(dict.fromkeys(name for name in named if name in known))
