"""`task: embed` and `features`: what is served how, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.families.dense.pooling import gives_embeddings
from compiler.diagnostics import SourceText
from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import RowKind
from compiler.lock.models import HUB, DenseFacts, EmbeddingFacts, Lock, LockedService, ModelFacts
from compiler.plan.ir import Embedding, Plan, Service
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile

QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 32768, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
BERT: dict[str, Any] = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "intermediate_size": 1536,
    "num_hidden_layers": 6, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
    "type_vocab_size": 2, "torch_dtype": "float32",
}  # fmt: skip
HEAD = 151936 * 1024 * 2


def attempted(
    config: dict[str, Any],
    embedding: EmbeddingFacts | None = None,
    *,
    name: str = "own/m",
    count: int = 1,
    **service: Any,
) -> tuple[Spec, Solution | tuple[Problem, ...]]:
    asked = {"model": name, "quantization": "none", "context": 512, "port": 8000, "task": "embed", **service}
    node = {"gpus": {"model": "l4", "count": count}}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": node}, "services": {"s": asked}}
    )
    locked = LockedService(model=name, quantization=("none",), candidates=(name,))
    facts = ModelFacts(source=HUB, chat_template="x", config=config, embedding=embedding)
    lock = Lock(schema=1, services={"s": locked}, models={name: facts})
    return spec, attempt(spec, lock, pinned(RELEASES["0.33.0"]))


def planned(config: dict[str, Any], embedding: EmbeddingFacts | None = None, **service: Any) -> tuple[Plan, Service]:
    spec, found = attempted(config, embedding, **service)
    assert isinstance(found, Solution), found
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    plan = lower_plan(SpecFile(spec, document), found, pinned(RELEASES["0.33.0"]))
    return plan, plan.services[0]


def problem(config: dict[str, Any], embedding: EmbeddingFacts | None = None, **service: Any) -> Problem:
    _, found = attempted(config, embedding, **service)
    assert not isinstance(found, Solution)
    return found[0]


def flags(service: Service) -> dict[str, str | None]:
    return {argument.flag: argument.value for argument in service.arguments}


def weights(plan: Plan) -> int:
    return next(row.bytes.high for row in plan.devices[0].servers[0].rows if row.kind is RowKind.WEIGHTS)


def test_a_generating_model_is_converted_and_loses_its_output_head() -> None:
    """A plan that counted the head would refuse cards that are large enough."""
    chat, _ = planned(QWEN3, task="chat")
    plan, service = planned(QWEN3)
    assert weights(chat) - weights(plan) == HEAD
    assert flags(service) == flags(service) | {"--runner": "pooling", "--convert": "embed"}
    assert service.embedding == Embedding(1024, None)
    assert service.kv_cache.bytes > 0


def test_a_model_of_its_own_class_is_not_converted() -> None:
    _, service = planned(QWEN3 | {"architectures": ["Qwen3Model"]})
    assert flags(service)["--runner"] == "pooling"
    assert "--convert" not in flags(service)


@pytest.mark.parametrize("config", [BERT, QWEN3 | {"is_causal": False}], ids=["encoder", "is_causal false"])
def test_what_reads_in_both_directions_has_no_cache(config: dict[str, Any]) -> None:
    """`--kv-cache-memory-bytes 0` would be no limit at all to vLLM."""
    _, service = planned(config)
    assert service.kv_cache.bytes == 0
    assert "--kv-cache-memory-bytes" not in flags(service)


def test_a_class_that_may_not_heed_is_causal_is_refused() -> None:
    """Counted without a cache it would not start, with one it would be another server than planned."""
    found = problem(QWEN3 | {"architectures": ["StableLmForCausalLM"], "model_type": "stablelm", "is_causal": False})
    assert (found.code, "is_causal" in found.message) == ("E0307", True)


def test_a_text_is_read_in_one_piece() -> None:
    """vLLM does not start with fewer batched tokens than a text has, where it pools over all tokens."""
    _, service = planned(QWEN3, context="32K")
    assert service.figures["max_num_batched_tokens"] >= service.max_model_len == 32768


def test_the_length_that_sentence_transformers_name_is_the_longest() -> None:
    """vLLM ends at its start with a longer one, whatever config.json says."""
    facts = EmbeddingFacts(normalized=True, max_length=256)
    assert problem(BERT, facts).code == "E0403"
    _, service = planned(BERT, facts, context="max")
    assert service.max_model_len == 256
    # Chats are not held to it: it belongs to embeddings.
    _, service = planned(QWEN3, facts, task="chat", context="4K")
    assert service.max_model_len == 4096


def test_projections_decide_the_dimension_and_take_memory() -> None:
    dense = (DenseFacts(inputs=1024, outputs=4096), DenseFacts(inputs=4096, outputs=256, bias=False))
    plan, service = planned(QWEN3, EmbeddingFacts(normalized=False, dense=dense))
    assert service.embedding == Embedding(256, is_normalized=False)
    plain, _ = planned(QWEN3)
    assert weights(plan) - weights(plain) == 4 * (1024 * 4096 + 4096 + 4096 * 256)
    _, service = planned(QWEN3 | {"embedding_size": 512}, EmbeddingFacts(normalized=True, dense=dense))
    assert service.embedding == Embedding(512, is_normalized=True)


@pytest.mark.parametrize(
    "name",
    [
        "BertForSequenceClassification", "BertForTokenClassification", "Qwen2ForRewardModel", "JinaForRanking",
        "Qwen2ForProcessRewardModel", "BertForMaskedLM", "BertSpladeSparseEmbeddingModel", "HF_ColBERT",
        "ColPaliForRetrieval", "ColQwen3", "OpsColQwen3Model",
    ],
)  # fmt: skip
def test_what_gives_something_else_is_no_embedding_model(name: str) -> None:
    assert not gives_embeddings(name)


def test_scores_are_no_embeddings() -> None:
    found = problem(BERT | {"architectures": ["BertForSequenceClassification"]})
    assert (found.code, "no embeddings" in found.message) == ("E0308", True)


def test_an_embedding_model_asked_to_chat_is_offered_its_own_task() -> None:
    found = problem(BERT, task="chat")
    assert [remedy.text for remedy in found.remedies] == ["`task: embed`, if clients ask for embeddings"]
    assert not problem(BERT | {"architectures": ["BertForTokenClassification"]}, task="chat").remedies


def test_features_become_flags_and_stay_in_the_plan() -> None:
    _, service = planned(QWEN3, task="chat", features=["tools", "structured-output", "reasoning"])
    assert service.features == ("tools", "structured-output", "reasoning")
    parsers = {"--tool-call-parser": "hermes", "--reasoning-parser": "qwen3", "--enable-auto-tool-choice": None}
    assert flags(service) == flags(service) | parsers
    _, service = planned(QWEN3, task="chat")
    assert not parsers.keys() & flags(service).keys()


def test_a_parser_that_the_spec_names_is_the_one() -> None:
    given = {"tool_call_parser": "qwen3_coder", "enable_auto_tool_choice": True}
    _, service = planned(QWEN3, task="chat", features=["tools"], engine_args=given)
    named = [argument.flag for argument in service.arguments]
    assert flags(service)["--tool-call-parser"] == "qwen3_coder"
    assert named.count("--tool-call-parser") == named.count("--enable-auto-tool-choice") == 1
