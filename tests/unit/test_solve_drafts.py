"""Services that draft, solved: what they get beside what they would get alone, and what is refused before a start."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.checks.stack import check_spec
from compiler.diagnostics import SourceText
from compiler.engines.interface.problem import Problem
from compiler.engines.registry import ENGINES as ALL_ENGINES
from compiler.engines.vllm.drafter import Drafter
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import LedgerRow
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.plan.disk import disk_of
from compiler.plan.ir import Plan, Service
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile, load_spec
from tests.unit.test_draft_bytes import head_config

ENGINES = pinned(RELEASES["0.33.0"])
LARGE = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 151936,
    "max_position_embeddings": 32768, "torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6,
}  # fmt: skip
SMALL = LARGE | {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
H100 = {"model": "h100-80gb"}


def question(card: dict[str, Any], draft: dict[str, Any] | None = None, **service: Any) -> tuple[Spec, Lock]:
    asked = {"model": "own/m", "quantization": "none", "context": "4K", "port": 8000, **service}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": card}}, "services": {"s": asked}}
    )
    models = {"own/m": ModelFacts(source=HUB, chat_template="x", config=LARGE)}
    key = None
    if draft is not None:
        key = "own/draft"
        models[key] = ModelFacts(source=HUB, commit="0" * 40, license="mit", config=draft)
    locked = LockedService(model="own/m", quantization=("none",), candidates=("own/m",), draft=key, draft_key=key)
    return spec, Lock(schema=1, services={"s": locked}, models=models)


def solved(card: dict[str, Any], draft: dict[str, Any] | None = None, **service: Any) -> tuple[Plan, Service]:
    spec, lock = question(card, draft, **service)
    found = attempt(spec, lock, ENGINES)
    assert isinstance(found, Solution), found
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    plan = lower_plan(SpecFile(spec, document), found, ENGINES)
    return plan, plan.services[0]


def problem(card: dict[str, Any], draft: dict[str, Any] | None = None, **service: Any) -> Problem:
    found = attempt(*question(card, draft, **service), ENGINES)
    assert not isinstance(found, Solution)
    return found[0]


def rows(plan: Plan) -> dict[str, LedgerRow]:
    return {row.title: row for row in plan.devices[0].servers[0].rows}


DRAFT = {"method": "draft", "model": "own/draft", "tokens": 3}
LOOKUP = {"method": "ngram", "tokens": 3}


def test_fewer_requests_run_at_once_by_default_and_the_spec_may_say_otherwise() -> None:
    assert solved(H100)[1].max_num_seqs == 256
    assert solved(H100, speculate=LOOKUP)[1].max_num_seqs == 64
    assert solved(H100, speculate=LOOKUP, max_num_seqs=128)[1].max_num_seqs == 128
    assert solved(H100, speculate=LOOKUP, concurrency=100)[1].max_num_seqs == 100


def test_guesses_of_all_requests_fit_into_a_batch() -> None:
    """A batch that the spec bounds bounds the requests that run."""
    service = solved(H100, speculate={"method": "ngram", "tokens": 7}, max_num_batched_tokens=128)[1]
    assert service.max_num_seqs == 16
    tiny = solved(H100, speculate={"method": "ngram", "tokens": 31}, context=8, max_num_seqs=64)[1]
    assert tiny.figures["max_num_batched_tokens"] == 64 * 32


def test_the_command_names_the_folder_of_the_draft_and_the_disk_holds_it() -> None:
    plan, service = solved(H100, SMALL, speculate=DRAFT)
    flags = {argument.flag: argument.value for argument in service.arguments}
    assert (flags["--spec-method"], flags["--spec-tokens"]) == ("draft_model", "3")
    assert service.draft is not None
    assert service.draft.model is not None
    assert (service.draft.model.repository, service.draft.model.commit) == ("own/draft", "0" * 40)
    sizes = {each.name: each.bytes for each in disk_of(plan).downloads}
    found = rows(plan)
    draft = found["weights of the draft, own/draft"].bytes.expected
    assert sizes == {"own/m": found["weights"].bytes.expected, "own/draft": draft}


def test_checking_guesses_is_counted_where_it_is_more_than_the_profile_run() -> None:
    """A wide vocabulary, a small batch, many guesses: logits of all rows are what the memory is highest for."""
    plan, service = solved(H100, speculate={"method": "ngram", "tokens": 15}, max_num_batched_tokens=1024)
    row, peak = rows(plan)["checking drafts, beyond the activation peak"], rows(plan)["activation peak"]
    logits = service.max_num_seqs * 16 * LARGE["vocab_size"] * (2 + 4)
    assert row.bytes.high + peak.bytes.high >= logits
    assert row.bytes.expected > 0


def test_the_longest_context_is_the_drafts() -> None:
    short = SMALL | {"max_position_embeddings": 8192}
    assert solved(H100, short, speculate=DRAFT, context="max")[1].max_model_len == 8192
    assert solved(H100, SMALL, speculate=DRAFT, context="max")[1].max_model_len == 32768
    # A draft that takes more than the model does limits nothing.
    long = SMALL | {"max_position_embeddings": 65536}
    assert solved(H100, long, speculate=DRAFT, context="max")[1].max_model_len == 32768


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (SMALL | {"vocab_size": 151900}, "36 fewer than the model's 151936"),
        (SMALL | {"n_predict": 2}, "no multiple"),
        (SMALL | {"max_position_embeddings": 2048}, "4096 tokens of context, its draft `own/draft` has 2048"),
        (SMALL | {"architectures": ["Unheard"]}, "Unheard"),
        (SMALL | {"architectures": ["LlamaForCausalLMEagle3"]}, "draft for speculative decoding"),
    ],
)
def test_a_draft_that_would_end_the_start_is_told_at_its_key(draft: dict[str, Any], said: str) -> None:
    found = problem(H100, draft, speculate=DRAFT)
    assert found.path[0] == "speculate"
    assert said in found.message
    assert any(edit.path[-1] == "speculate" and edit.value is None for each in found.remedies for edit in each.edits)


def test_a_draft_divides_as_the_model_does_or_is_refused() -> None:
    """14 heads do not divide by 4; over two GPUs both do."""
    card = {"model": "l4", "count": 4}
    assert len(solved(card, SMALL, speculate=DRAFT, tensor_parallel_size=2)[1].devices) == 2
    assert "divided" in problem(card, SMALL, speculate=DRAFT, tensor_parallel_size=4).message


def test_recurrent_states_are_not_drafted_for() -> None:
    spec, lock = question(H100, speculate=LOOKUP, context="1K")
    mamba = {
        "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 1024, "num_hidden_layers": 4,
        "vocab_size": 50280, "state_size": 16, "conv_kernel": 4, "expand": 2, "time_step_rank": 64,
        "intermediate_size": 2048, "torch_dtype": "bfloat16", "use_bias": False, "use_conv_bias": True,
    }  # fmt: skip
    models = {"own/m": lock.models["own/m"].model_copy(update={"config": mamba})}
    found = attempt(spec, lock.model_copy(update={"models": models}), ENGINES)
    assert not isinstance(found, Solution)
    assert (found[0].code, found[0].path) == ("E0325", ("speculate",))


@settings(max_examples=40)
@given(
    method=st.sampled_from(["ngram", "draft"]),
    tokens=st.integers(1, 16),
    layers=st.integers(1, 28),
    heads=st.sampled_from([1, 2, 7, 14]),
    seats=st.sampled_from([8, 32, 64]),
    card=st.sampled_from(["l40s", "a100-80gb", "h100-80gb"]),
)
def test_removing_a_draft_never_lowers_capacity(
    method: str, tokens: int, *, layers: int, heads: int, seats: int, card: str
) -> None:
    draft = None
    speculate: dict[str, Any] = {"method": method, "tokens": tokens}
    if method == "draft":
        draft = SMALL | {"num_hidden_layers": layers, "num_key_value_heads": heads}
        speculate["model"] = "own/draft"
    asked = {"max_num_seqs": seats, "max_num_batched_tokens": 8192}
    found = attempt(*question({"model": card}, draft, speculate=speculate, **asked), ENGINES)
    alone = attempt(*question({"model": card}, **asked), ENGINES)
    if isinstance(found, Solution):
        assert isinstance(alone, Solution)
        (drafted,), (plain,) = found.servers, alone.servers
        assert drafted.units <= plain.units
        assert drafted.demand.required.high >= plain.demand.required.high


@settings(max_examples=60)
@given(
    method=st.sampled_from(["ngram", "draft"]),
    tokens=st.integers(1, 8),
    card=st.sampled_from(["rtx-4090", "l4", "l40s", "h100-80gb"]),
    context=st.sampled_from([1024, 8192, 32768]),
    concurrency=st.integers(1, 400),
)
def test_what_fits_with_a_draft_fits_without_at_the_requests_of_either(
    method: str, tokens: int, *, card: str, context: int, concurrency: int
) -> None:
    """Fewer requests run beside drafts by default; without them as many more are let in as there is room for."""
    named = {"model": "own/draft"} if method == "draft" else {}
    speculate = {"method": method, "tokens": tokens, **named}
    asked = {"context": context, "concurrency": concurrency}
    found = attempt(*question({"model": card}, SMALL if named else None, speculate=speculate, **asked), ENGINES)
    if isinstance(found, Solution):
        alone = attempt(*question({"model": card}, **asked), ENGINES)
        assert isinstance(alone, Solution)
        assert alone.servers[0].demand.shape.max_num_seqs >= found.servers[0].demand.shape.max_num_seqs


@settings(max_examples=30)
@given(tokens=st.integers(1, 31), seats=st.integers(1, 128))
def test_more_guesses_never_take_less(tokens: int, seats: int) -> None:
    sizes = []
    for count in (tokens, tokens + 1):
        speculate = {"method": "ngram", "tokens": count}
        # Without graphs: sizes that are multiples of an odd number are more than those of an even one.
        asked = {"speculate": speculate, "max_num_seqs": seats, "engine_args": {"enforce-eager": True}}
        found = attempt(*question(H100, **asked), ENGINES)
        assert isinstance(found, Solution)
        sizes.append(found.servers[0].demand.required.high)
    assert sizes[0] <= sizes[1]


def test_a_head_shares_what_a_smaller_model_has_for_itself() -> None:
    """One layer of keys and values, no embeddings: a head takes less of both than a draft of 24 layers."""
    head = head_config("Qwen/Qwen3-8B", hidden_size=3584, num_attention_heads=28, num_key_value_heads=4)
    headed, drafted = (
        solved(H100, draft, speculate={"method": method, "model": "own/draft", "tokens": 3})[1]
        for method, draft in (("eagle3", head), ("draft", SMALL))
    )
    # Keys and values of 16 tokens in 2 bytes: 4 heads of 128 in the model's 28 layers and the head's, 2 of 64 in 24.
    assert headed.kv_cache.bytes_per_block == 2 * 16 * 2 * 29 * 4 * 128
    assert drafted.kv_cache.bytes_per_block == 2 * 16 * 2 * (28 * 4 * 128 + 24 * 2 * 64)


def test_drafters_are_told_apart_by_what_they_are() -> None:
    assert Drafter("ngram", 3) == Drafter("ngram", 3) != Drafter("ngram", 4)


@pytest.mark.parametrize("more", ["machines: 2", "adapters: [{model: acme/sql, name: sql}]"])
def test_what_nothing_counts_beside_drafts_is_told_with_its_line(more: str) -> None:
    text = (
        "stack: x\nengine: {vllm: 0.33.0}\n"
        "nodes: {a: {gpus: {model: h100-80gb}, address: 10.0.0.1}, b: {gpus: {model: h100-80gb}, address: 10.0.0.2}}\n"
        f"services: {{s: {{model: own/m, context: 4K, port: 8000, {more}, speculate: {{method: ngram}}}}}}\n"
    )
    file, found = load_spec(SourceText("x.yaml", text), ALL_ENGINES)
    assert file is not None, found
    (told,) = [each for each in check_spec(file, ALL_ENGINES) if each.code == "E0235"]
    assert "not accounted for" in told.message
    assert told.label is not None
    assert told.label.span is not None
    assert told.label.span.start.line == 4
