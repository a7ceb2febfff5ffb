"""What the registry plans with: the same bytes as the files that others read, or a few more, and never far fewer."""

from __future__ import annotations

import time

import pytest

from compiler.ledger import Verdict
from compiler.lock.file import read_lock
from compiler.lock.models import ModelFacts
from compiler.registry import read
from compiler.registry.entry import ModelEntry
from compiler.registry.facts import (
    SOURCE,
    Checkpoint,
    Unplannable,
    as_facts,
    assumed_checkpoint,
    checkpoint_of,
    facts_of,
    known_checkpoints,
    variants_of,
)
from compiler.registry.formats import NotServed, typical_block
from compiler.registry.read import registry
from tests.conftest import ROOT
from tests.models.plans import asked, asked_of_registry

MODELS = registry().models
OWNERS = {repository: entry for entry in MODELS.values() for repository, _ in variants_of(entry)} | MODELS


def weights(entry: ModelEntry, name: str, facts: ModelFacts | Unplannable) -> int:
    """Bytes that one card, or a machine of them, has of it."""
    assert isinstance(facts, ModelFacts), facts
    fit = asked(entry, facts, name, context=min(512, entry.context))
    assert fit.weights is not None, fit.reason
    return fit.weights


def of_registry(name: str) -> int:
    entry = OWNERS[name]
    return weights(entry, name, facts_of(entry, None if entry.id == name else name))


def test_every_model_plans_or_says_why_not() -> None:
    """With the context that is said of it: else a search by context would find what no server starts with."""
    found = {entry.id: asked_of_registry(entry) for entry in MODELS.values()}
    unread = {name: each.reason for name, each in found.items() if isinstance(each, Unplannable)}
    refused = {name: each for name, each in found.items() if not isinstance(each, Unplannable) and each.code}
    # Whoever adds a model adds its config, or says what hinders.
    assert len(found) - len(unread) - len(refused) >= 285
    assert all(unread.values())
    assert {name: each.code for name, each in refused.items() if not each.reason} == {}
    # Too large for any machine is an answer, with the bytes that lack.
    assert {each.code for each in refused.values()} == {"E0308", "E0401", "E0403"}
    too_long = {name for name, each in refused.items() if each.code == "E0403"}
    assert {name for name in too_long if MODELS[name].context_note is None} == set()


def test_the_registry_is_read_in_no_time() -> None:
    """Every command that names a model waits for it."""
    took = []
    for _ in range(5):
        start = time.process_time()
        read._shipped.__wrapped__()
        took.append(time.process_time() - start)
    assert min(took) <= 0.05


def test_facts_say_that_nobody_read_the_repository() -> None:
    facts = facts_of(MODELS["Qwen/Qwen3-8B"])
    assert isinstance(facts, ModelFacts)
    assert facts.source == SOURCE
    assert "commit" in facts.unconfirmed
    assert facts.commit is None


def test_a_lock_of_the_same_model_has_the_same_bytes() -> None:
    """Plans without the Hub are worth what plans with it are."""
    compared = 0
    for path in sorted((ROOT / "stacks").glob("*.lock.yaml")):
        lock, _ = read_lock(path, path.name)
        assert lock is not None
        for name in OWNERS.keys() & lock.models.keys():
            assert of_registry(name) == weights(OWNERS[name], name, lock.models[name]), name
            compared += 1
    assert compared >= 15


# Sizes of all safetensors of a repository, as KAITO's catalogue or the model's own index gives them.
STORED = {
    "google/gemma-3-27b-it": 54_868_207_206,
    "meta-llama/Llama-3.3-70B-Instruct": 141_111_150_510,
    "microsoft/phi-4": 29_323_889_213,
    "MiniMaxAI/MiniMax-M2.7": 230_145_822_556,
    "mistralai/Devstral-Small-2507": 47_144_848_872,
    "moonshotai/Kimi-K2.5": 595_196_567_879,
    "openai/gpt-oss-20b": 13_761_316_904,
    "Qwen/Qwen2.5-32B-Instruct": 65_527_752_704,
}


@pytest.mark.parametrize("name", STORED)
def test_weights_are_what_the_files_hold(name: str) -> None:
    """What the engine adds as it loads is at most the padding of packed experts; gpt-oss has most."""
    assert 0.9995 <= of_registry(name) / STORED[name] <= 1.07


def test_what_only_drafts_is_not_loaded() -> None:
    """Files of DeepSeek V3.2 hold a layer that predicts several tokens at once."""
    assert 0.98 <= of_registry("deepseek-ai/DeepSeek-V3.2") / 689_492_574_863 <= 1


def test_a_variant_that_nobody_read_has_no_byte_too_few() -> None:
    """NVIDIA's of Nemotron 3 Ultra leaves several kinds of layers alone; KAITO has the size of its files."""
    assert 1 <= of_registry("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4") / 352_326_904_709 <= 1.02


# Variants whose block was read, and how much more the usual block may count: what may be left alone counts as left.
ASSUMED = {
    "casperhansen/mistral-7b-instruct-v0.1-awq": 0,
    "NousResearch/Hermes-4-14B-FP8": 0,
    "nvidia/Gemma-4-31B-IT-NVFP4": 0,
    "nvidia/GLM-5.1-NVFP4": 0,
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4": 0.08,
    "nvidia/Qwen3-32B-NVFP4": 0,
    "nvidia/Qwen3.6-35B-A3B-NVFP4": 0.11,
    "Qwen/Qwen3-32B-FP8": 0,
    "Qwen/Qwen3-8B-AWQ": 0,
    "Qwen/Qwen3.6-27B-FP8": 0,
}


@pytest.mark.parametrize("name", ASSUMED)
def test_the_usual_block_of_a_format_counts_no_byte_too_few(name: str) -> None:
    entry, known = OWNERS[name], checkpoint_of(name)
    assumed = assumed_checkpoint(entry, name)
    assert isinstance(known, Checkpoint)
    assert isinstance(assumed, Checkpoint)
    was_read = weights(entry, name, as_facts(entry, known))
    assert was_read <= weights(entry, name, as_facts(entry, assumed)) <= was_read * (1 + ASSUMED[name])


def test_most_variants_plan_and_the_others_say_why_not() -> None:
    found = [facts_of(entry, name) for entry in MODELS.values() for name, _ in variants_of(entry)]
    lacking = [each for each in found if isinstance(each, Unplannable)]
    assert len(found) - len(lacking) >= 455
    assert all(each.reason for each in lacking)


def test_a_name_does_not_tell_how_a_stranger_quantizes() -> None:
    """A guess would be a plan that nobody can trust."""
    config = {"model_type": "llama", "intermediate_size": 14336}
    assert isinstance(typical_block("fp8", "somebody", config), NotServed)
    assert isinstance(typical_block("q9", "redhatai", config), NotServed)
    assert isinstance(typical_block("mxfp4", "amd", config), NotServed)


def test_groups_that_do_not_divide_were_not_chosen() -> None:
    """DeepSeek Coder V2 Lite has MLPs of 10944: its quantizers took other groups, and the name does not say which."""
    entry = MODELS["deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"]
    told = facts_of(entry, "TechxGenus/DeepSeek-Coder-V2-Lite-Instruct-AWQ")
    assert isinstance(told, Unplannable)
    assert "10944" in told.reason
    assert "stackc lock" in told.reason


def test_a_tower_that_is_kept_from_the_quantizer_hinders_nobody() -> None:
    """Kimi K2.5's is 4304 wide, which groups of 32 do not divide; vLLM builds it without them."""
    fit = asked_of_registry(MODELS["moonshotai/Kimi-K2.5"])
    assert not isinstance(fit, Unplannable)
    assert fit.verdict is Verdict.FITS, fit.reason


def test_every_checkpoint_is_of_a_model_or_a_variant() -> None:
    """Data that no row leads to is found by nobody."""
    assert set(known_checkpoints()) <= set(OWNERS)
