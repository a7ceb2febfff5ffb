"""Repositories that hold something other than one servable model on `main`."""

from __future__ import annotations

import json

import pytest

from compiler.diagnostics import Edit
from compiler.lock.models import AdapterFacts
from compiler.resolve.candidates import likely_branches
from compiler.resolve.reading.kinds import parse_adapter
from compiler.resolve.transport.hub import Hub
from tests.hub.builders import COMMIT, GPTQ, LLAMA, quantized, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import Fault, serve

ORDERED = {**GPTQ, "desc_act": True}
BASE = repository("acme/base")
SPEC = spec_of({"s": service("acme/base", "gptq")})


def branch(block: dict[str, object], number: int) -> Recording:
    return quantized("acme/base-GPTQ", "acme/base", block, commit=f"{number:040x}")


def gptq(**branches: Recording) -> Recording:
    return quantized("acme/base-GPTQ", "acme/base", ORDERED, branches=branches)


def test_branches_of_a_refused_main_are_candidates() -> None:
    repo = gptq(plain=branch(GPTQ, 1), ordered=branch(ORDERED, 2), whole=branch({**ORDERED, "group_size": -1}, 3))
    with serve([BASE, repo]) as hub:
        lock = locked(SPEC, hub)
        assert locked(SPEC, hub, previous=lock) == lock
    assert lock.services["s"].candidates == ("acme/base-GPTQ", "acme/base-GPTQ@plain", "acme/base-GPTQ@whole")
    facts = lock.models["acme/base-GPTQ@plain"]
    assert (facts.branch, facts.commit) == ("plain", f"{1:040x}")
    assert facts.quantization == GPTQ
    assert "tensors" not in facts.unconfirmed


def test_branches_are_not_asked_for_where_main_is_served() -> None:
    with serve([BASE, quantized("acme/base-GPTQ", "acme/base", GPTQ, branches={"other": branch(GPTQ, 1)})]) as hub:
        assert locked(SPEC, hub).services["s"].candidates == ("acme/base-GPTQ",)
        assert hub.asked("/refs") == []


def test_branches_of_the_named_model_itself() -> None:
    with serve([gptq(plain=branch(GPTQ, 1))]) as hub:
        lock = locked(spec_of({"s": service("acme/base-GPTQ")}), hub)
    assert lock.services["s"].candidates == ("acme/base-GPTQ", "acme/base-GPTQ@plain")


def test_a_branch_moves_with_an_upgrade_and_is_followed_from_the_lock() -> None:
    with serve([BASE, gptq(plain=branch(GPTQ, 1))]) as hub:
        lock = locked(SPEC, hub)
    with serve([BASE, gptq(plain=branch(GPTQ, 2))]) as hub:
        assert problem(SPEC, hub, previous=lock).code == "E0310"
        moved = locked(SPEC, hub, previous=lock, upgrade=True)
    assert moved.models["acme/base-GPTQ@plain"].commit == f"{2:040x}"


def test_at_most_eight_branches_are_read_and_likely_ones_first() -> None:
    names = [f"gptq-4bit-{size}g-actorder_True" for size in range(20)]
    assert likely_branches([*names, "gptq-8bit-128g-actorder_False"])[0] == "gptq-8bit-128g-actorder_False"
    with serve([BASE, gptq(**{name: branch(ORDERED, index + 1) for index, name in enumerate(names)})]) as hub:
        locked(SPEC, hub)
        assert len(hub.asked("/refs")) == 1
        assert len(hub.asked("/api/.*actorder")) == 8


def test_names_of_branches_that_are_no_names() -> None:
    names = ["main", "../up", "a//b", "-x", "a b", "a\x1b", "x" * 101, 5, "fine/one"]
    refs = json.dumps({"branches": [*({"name": name} for name in names), 7]})
    with serve([BASE], [Fault("/refs", "json", detail=refs)]) as hub:
        assert Hub(hub.url).branches("acme/base") == ("fine/one",)


def test_a_branch_that_cannot_be_seen_now_is_an_error() -> None:
    repo = gptq(plain=branch(GPTQ, 1))
    for path in ("/refs", "/revision/plain"):
        with serve([BASE, repo], [Fault(path, "server_error")]) as hub:
            assert problem(SPEC, hub).code == "E0311"


ADAPTER = {"r": 16, "target_modules": ["v_proj", "q_proj"], "base_model_name_or_path": "acme/base", "peft_type": "LORA"}


def adapter(config: dict[str, object]) -> Recording:
    contents = {"adapter_config.json": json.dumps(config).encode()}
    return Recording(
        "acme/lora", commit=COMMIT, files={"adapter_config.json": 9, "adapter_model.safetensors": 9}, contents=contents
    )


def test_an_adapter_is_told_from_a_model() -> None:
    with serve([adapter(ADAPTER)]) as hub:
        error = problem(spec_of({"s": service("acme/lora")}), hub)
    assert error.code == "E0309"
    assert error.message == "`acme/lora` is a LoRA adapter of `acme/base`, and no model"
    assert error.notes == (
        "rank 16, on q_proj, v_proj",
        "an adapter is served beside its model: it stands in `adapters` of a service",
    )
    assert error.helps[0].edits == (Edit(("services", "s", "model"), "acme/base"),)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, AdapterFacts()),
        ({"r": True, "target_modules": 5, "base_model_name_or_path": ""}, AdapterFacts()),
        ({"r": -1, "target_modules": "all-linear"}, AdapterFacts(target_modules=("all-linear",))),
        ({"target_modules": ["b", 1, "a", "b"]}, AdapterFacts(target_modules=("a", "b"))),
    ],
)
def test_adapters_of_strangers(config: dict[str, object], expected: AdapterFacts) -> None:
    assert parse_adapter(config) == expected


def test_an_adapter_of_a_folder_offers_no_folder() -> None:
    with serve([adapter({**ADAPTER, "base_model_name_or_path": "/home/somebody/base"})]) as hub:
        assert problem(spec_of({"s": service("acme/lora")}), hub).helps == ()


def test_a_model_with_a_stray_adapter_is_a_model() -> None:
    with serve([repository("acme/base", contents={"adapter_config.json": b"{}"})]) as hub:
        assert locked(spec_of({"s": service("acme/base")}), hub).models["acme/base"].kind == "model"


@pytest.mark.parametrize("config", [{}, {"config.json": json.dumps(LLAMA).encode()}])
def test_gguf_is_recognised_and_refused(config: dict[str, bytes]) -> None:
    files = {"base.Q4_K_M.gguf": 9, **dict.fromkeys(config, 9)}
    repo = Recording("acme/base-GGUF", commit=COMMIT, base_model="acme/base", files=files, contents=config)
    with serve([repo]) as hub:
        error = problem(spec_of({"s": service("acme/base-GGUF")}), hub)
    assert error.code == "E0309"
    assert "vllm-gguf-plugin" in error.notes[0]
    assert error.helps[-1].edits == (Edit(("services", "s", "model"), "acme/base"),)


def test_variants_that_are_no_models_are_no_candidates() -> None:
    lora = Recording(
        "acme/base-lora", commit=COMMIT, base_model="acme/base", base_relation="quantized",
        files={"adapter_config.json": 9}, contents={"adapter_config.json": json.dumps(ADAPTER).encode()},
    )  # fmt: skip
    with serve([BASE, lora]) as hub:
        assert locked(spec_of({"s": service("acme/base")}), hub).services["s"].candidates == ("acme/base",)


def test_listed_variants_of_strangers_are_named_as_unread() -> None:
    strangers = [quantized(f"stranger{index:02}/base-GPTQ", "acme/base", GPTQ) for index in range(25)]
    with serve([BASE, *strangers]) as hub:
        lock = locked(spec_of({"s": service("acme/base")}), hub)
        assert hub.asked("/api/models/stranger") == []
        assert locked(spec_of({"s": service("acme/base")}), hub, previous=lock) == lock
    assert lock.services["s"].unread == tuple(f"stranger{index:02}/base-GPTQ" for index in range(20))
