"""`task: score` and `task: classify`: what is served how, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.read import read_architecture
from compiler.diagnostics import SourceText
from compiler.engines.vllm.answers.tasks import check_prompts
from compiler.lock.models import HUB, EmbeddingFacts, Lock, LockedService, ModelFacts
from compiler.source.document import load_document
from compiler.spec.reading.load import SpecFile
from tests.unit.test_solve_embeddings import BERT, HEAD, QWEN3, attempted, flags, planned, problem, weights

CLASSIFIER: dict[str, Any] = BERT | {"architectures": ["BertForSequenceClassification"]}
CROSS_ENCODER: dict[str, Any] = CLASSIFIER | {"id2label": {"0": "LABEL_0"}}
CONVERTED: dict[str, Any] = QWEN3 | {"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1}


def texts(config: dict[str, Any], **service: Any) -> list[str]:
    return [remedy.text for remedy in problem(config, **service).remedies]


@pytest.mark.parametrize("config", [CROSS_ENCODER, CONVERTED], ids=["own class", "converted by its name"])
def test_a_model_with_one_label_gives_scores(config: dict[str, Any]) -> None:
    _, service = planned(config, task="score")
    assert (service.task, service.labels, service.embedding) == ("score", 1, None)
    assert flags(service)["--runner"] == "pooling"
    # vLLM finds the head by the architecture's name.
    assert not {"--convert", "--hf-overrides"} & set(flags(service))


def test_scores_need_one_label_and_labels_take_any_number() -> None:
    """vLLM opens neither /score nor /rerank for a model with several labels; its default is two."""
    found = problem(CLASSIFIER, task="score")
    assert (found.code, found.message.endswith("but gives labels of texts (/classify)")) == ("E0308", True)
    assert texts(CLASSIFIER, task="score") == ["`task: classify`, if clients ask for labels of texts (/classify)"]
    assert planned(CLASSIFIER | {"num_labels": 5}, task="classify")[1].labels == 5
    assert planned(CROSS_ENCODER, task="classify")[1].labels == 1


@pytest.mark.parametrize("task", ["chat", "completion", "embed"])
def test_a_reranker_with_another_task_is_offered_its_own(task: str) -> None:
    assert texts(CROSS_ENCODER, task=task) == [
        "`task: score`, if clients ask for scores of texts (/v1/rerank)",
        "`task: classify`, if clients ask for labels of texts (/classify)",
    ]


def test_an_embedding_model_asked_for_scores_is_offered_its_own_task() -> None:
    assert texts(BERT, task="score") == ["`task: embed`, if clients ask for embeddings"]


@pytest.mark.parametrize(
    ("tokens", "method"), [(["no", "yes"], "from_2_way_softmax"), (["Yes"], "no_post_processing")], ids=["two", "one"]
)
def test_a_generating_model_scores_by_words(tokens: list[str], method: str) -> None:
    plan, service = planned(QWEN3, task="score", score_tokens=tokens)
    assert (flags(service)["--runner"], flags(service)["--convert"]) == ("pooling", "classify")
    overrides = json.loads(flags(service)["--hf-overrides"] or "")
    assert overrides == {"classifier_from_token": tokens, "method": method}
    assert (service.labels, service.kv_cache.bytes > 0) == (1, True)
    # The output head goes, and a float32 score takes its place.
    chat, _ = planned(QWEN3, task="chat")
    assert weights(chat) - weights(plan) == HEAD - 4 * 1024


def test_words_of_known_rerankers_need_not_be_written() -> None:
    found = problem(QWEN3, task="score")
    assert any("score_tokens" in note for note in found.notes)
    spec, _ = attempted(QWEN3, task="score")
    assert spec.services["s"].score_tokens == ()
    _, service = planned(QWEN3, name="Own/Qwen3-Reranker-4B-W8A16", task="score")
    assert json.loads(flags(service)["--hf-overrides"] or "")["classifier_from_token"] == ["no", "yes"]
    # The spec's words come first, and a model that only shares the name has none.
    _, service = planned(QWEN3, name="Own/Qwen3-Reranker-4B", task="score", score_tokens=["bad", "good"])
    assert json.loads(flags(service)["--hf-overrides"] or "")["classifier_from_token"] == ["bad", "good"]
    llama = QWEN3 | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    assert problem(llama, name="Own/Qwen3-Reranker-4B", task="score").code == "E0308"


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        ({"method": "from_2_way_softmax", "classifier_from_token": ["no", "yes"]}, 1),
        ({"is_original_qwen3_reranker": True, "classifier_from_token": ["no", "yes"]}, 1),
        ({"method": "no_post_processing", "classifier_from_token": ["a", "b", "c"]}, 3),
    ],
)
def test_words_of_config_json_decide_how_many_labels_there_are(more: dict[str, Any], labels: int) -> None:
    """The checkpoint holds no head for them: asked for one, it would be called incomplete."""
    named = QWEN3 | {"architectures": ["Qwen3ForSequenceClassification"]} | more
    plan, service = planned(named, task="classify")
    assert service.labels == labels
    assert weights(plan) == weights(planned(QWEN3, task="embed")[0]) + 4 * 1024 * labels
    assert not any(kind.name.startswith("score") for kind in expected_tensors(read_architecture(named), None))
    generating = QWEN3 | more
    if labels == 1:
        assert "no" in (flags(planned(generating, task="score")[1])["--hf-overrides"] or "")


def test_words_are_looked_for_on_one_rank() -> None:
    """A rank looks in its own part of the vocabulary: others' rows are wrong ones, or none."""
    two = {"gpus": [0, 1], "tensor_parallel_size": 2}
    found = problem(QWEN3, task="score", score_tokens=["bad", "good"], count=2, **two)
    assert (found.code, any("another rank" in note for note in found.notes)) == ("E0404", True)
    # The words of known rerankers have small numbers, and the first rank answers.
    _, service = planned(QWEN3, name="Own/Qwen3-Reranker-4B", task="score", count=2, **two)
    assert service.figures["tensor_parallel_size"] == 2
    staged = {"gpus": [0, 1], "pipeline_parallel_size": 2}
    found = problem(QWEN3, name="Own/Qwen3-Reranker-4B", task="score", count=2, **staged)
    assert (found.code, any("each stage" in note for note in found.notes)) == ("E0404", True)
    named = CONVERTED | {"is_original_qwen3_reranker": True, "classifier_from_token": ["no", "yes"]}
    assert problem(named, task="score", count=2, **staged).code == "E0404"
    assert planned(CONVERTED, task="score", count=2, **staged)[1].figures["pipeline_parallel_size"] == 2


def test_words_for_a_model_with_a_head_of_its_own_are_refused() -> None:
    """They would be passed over in silence."""
    assert texts(CROSS_ENCODER, task="score", score_tokens=["no", "yes"]) == ["remove `score_tokens`"]


def test_a_reranker_reads_a_text_in_one_piece_and_no_longer_one_than_vllm_takes() -> None:
    assert problem(CROSS_ENCODER, EmbeddingFacts(normalized=True, max_length=256), task="score").code == "E0403"
    _, service = planned(QWEN3, task="score", score_tokens=["no", "yes"], context="32K")
    assert service.figures["max_num_batched_tokens"] >= service.max_model_len == 32768


def test_what_reads_in_both_directions_has_no_cache() -> None:
    assert planned(CONVERTED | {"is_causal": False}, task="score")[1].kv_cache.bytes == 0


@pytest.mark.parametrize(
    ("config", "service", "code"),
    [
        (QWEN3, {"task": "score", "score_tokens": ["no", "yes"]}, ["W0503"]),
        (QWEN3, {"task": "score", "score_tokens": "Yes"}, ["W0503"]),
        (QWEN3, {"task": "score", "score_tokens": "Yes", "engine_args": {"chat-template": "/srv/x.jinja"}}, []),
        (QWEN3, {"task": "embed"}, []),
        (CROSS_ENCODER, {"task": "score"}, []),
    ],
)
def test_a_model_that_answers_a_question_is_to_be_asked_it(
    config: dict[str, Any], service: dict[str, Any], code: list[str]
) -> None:
    spec, _ = attempted(config, **service)
    locked = LockedService(model="own/m", quantization=("none",), candidates=("own/m",))
    facts = ModelFacts(source=HUB, chat_template="x", config=config)
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    lock = Lock(schema=1, services={"s": locked}, models={"own/m": facts})
    found = check_prompts(SpecFile(spec, document), lock, ["s"])
    assert [each.code for each in found] == code
