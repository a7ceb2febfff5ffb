"""The lock phase against a Hub on this machine, through the real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.diagnostics import Edit, Position, SourceText, Span
from compiler.lock.file import format_lock, read_lock, write_lock
from compiler.lock.models import Lock
from compiler.lock.staleness import stale_services
from compiler.resolve.resolve import resolve_lock
from compiler.resolve.transport.hub import Hub
from tests.hub.builders import AWQ, COMMIT, FP8, GPTQ, LLAMA, quantized, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import Fault, LoopbackHub, serve

CODER = spec_of({"coder": service("deepseek-ai/deepseek-coder-33b-instruct", "awq")}, publishers=("TheBloke",))


def test_two_services_of_recorded_models(loopback_hub: LoopbackHub) -> None:
    spec = spec_of(
        {
            "coder": service("deepseek-ai/deepseek-coder-33b-instruct", "awq"),
            "general": service("mistralai/Mistral-7B-Instruct-v0.2"),
        },
        publishers=("TheBloke",),
    )

    lock = locked(spec, loopback_hub)

    assert lock.services["coder"].candidates == ("TheBloke/deepseek-coder-33B-instruct-AWQ",)
    assert lock.services["general"].candidates == (
        "TheBloke/Mistral-7B-Instruct-v0.2-AWQ",
        "mistralai/Mistral-7B-Instruct-v0.2",
    )
    facts = lock.models["TheBloke/deepseek-coder-33B-instruct-AWQ"]
    assert facts.license == "deepseek"
    assert facts.commit == "c40b499"
    assert facts.chat_template == "tokenizer_config.json"
    assert facts.config["rope_scaling"] == {"factor": 4.0, "type": "linear"}
    assert "quantization_config" not in facts.config
    assert facts.source == "loopback"
    assert facts.unconfirmed == ("commit", "config", "files", "tensors")
    assert stale_services(spec, lock) == ()


def test_every_recorded_model_resolves(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    # Those of GGUF files are for llama.cpp: the shipped stacks with it are locked of them.
    names = sorted(name for name in loopback_hub.repositories if not name.endswith("-GGUF"))
    spec = spec_of({f"s{index}": service(name) for index, name in enumerate(names)}, ("TheBloke", "casperhansen"))

    lock = locked(spec, loopback_hub)

    assert set(lock.models) == set(names)
    assert lock.models["mistralai/Mistral-7B-v0.1"].chat_template is None
    assert lock.models["casperhansen/deepseek-r1-distill-llama-70b-awq"].unconfirmed == (
        "commit",
        "config",
        "files",
        "license",
        "tensors",
    )
    path = tmp_path / "test.lock.yaml"
    assert write_lock(path, lock)
    assert read_lock(path, "test.lock.yaml") == (lock, ())
    assert not write_lock(path, locked(spec, loopback_hub))


def test_reordered_spec_gives_the_same_bytes(loopback_hub: LoopbackHub) -> None:
    services = {
        "a": {**service("Qwen/Qwen2.5-7B-Instruct"), "port": 1},
        "b": {**service("Qwen/Qwen2.5-14B-Instruct", ["awq", "none"]), "port": 2},
    }
    forwards = locked(spec_of(services), loopback_hub)
    backwards = locked(spec_of(dict(reversed(services.items()))), loopback_hub)
    assert format_lock(forwards) == format_lock(backwards)


def test_own_publisher_needs_no_trust_and_others_do(loopback_hub: LoopbackHub) -> None:
    own = locked(spec_of({"s": service("Qwen/Qwen2.5-7B-Instruct", "awq")}), loopback_hub)
    assert own.services["s"].candidates == ("Qwen/Qwen2.5-7B-Instruct-AWQ",)

    error = problem(spec_of({"s": service("deepseek-ai/deepseek-coder-33b-instruct", "awq")}), loopback_hub)
    assert error.code == "E0304"
    assert "`deepseek-ai/deepseek-coder-33b-instruct` is not quantized" in error.notes
    assert any("TheBloke/deepseek-coder-33B-instruct-AWQ" in note for note in error.notes)
    assert error.helps[0].edits == (Edit(("services", "s", "quantization"), "none"),)


def test_none_asks_for_nothing_but_the_model(loopback_hub: LoopbackHub) -> None:
    lock = locked(spec_of({"s": service("Qwen/Qwen2.5-7B-Instruct", "none")}, ("TheBloke",)), loopback_hub)
    assert lock.services["s"].candidates == ("Qwen/Qwen2.5-7B-Instruct",)
    assert lock.services["s"].publishers == ()
    assert loopback_hub.asked("filter") == []


def test_a_quantized_model_is_its_own_variant(loopback_hub: LoopbackHub) -> None:
    lock = locked(spec_of({"s": service("Qwen/Qwen2.5-7B-Instruct-AWQ", "awq")}), loopback_hub)
    assert lock.services["s"].candidates == ("Qwen/Qwen2.5-7B-Instruct-AWQ",)
    assert loopback_hub.asked("filter") == []


def test_errors_of_all_services_come_in_one_run(loopback_hub: LoopbackHub) -> None:
    spec = spec_of({"a": service("Qwen/Qwen2.5-7B-Instruct", "fp8"), "b": service("Qwen/Qwen2.5-7B-Instrct")})
    lock, problems = resolve_lock(spec, hub=Hub(loopback_hub.url))
    assert lock is None
    assert [item.code for item in problems] == ["E0304", "E0310"]


def test_a_misspelled_model_gets_a_spelling(loopback_hub: LoopbackHub) -> None:
    error = problem(spec_of({"s": service("qwen/Qwen2.5-7B-Instrct")}), loopback_hub)
    assert error.code == "E0310"
    assert error.helps[0].text == "did you mean `Qwen/Qwen2.5-7B-Instruct`?"
    assert error.helps[0].edits == (Edit(("services", "s", "model"), "Qwen/Qwen2.5-7B-Instruct"),)


def test_a_name_that_is_no_name(loopback_hub: LoopbackHub) -> None:
    error = problem(spec_of({"s": service("a/b/c")}), loopback_hub)
    assert (error.code, error.message) == ("E0310", "`a/b/c` is not a repository's name")
    assert loopback_hub.requests == []


def test_errors_point_into_the_spec(loopback_hub: LoopbackHub) -> None:
    span = Span(SourceText("stack.yaml", "x"), Position(1, 1), Position(1, 2))
    asked: list[tuple[str | int, ...]] = []

    def locate(path: tuple[str | int, ...]) -> Span:
        asked.append(path)
        return span

    error = problem(spec_of({"s": service("no/such")}), loopback_hub, locate=locate)
    assert error.label is not None
    assert error.label.span is span
    assert asked == [("services", "s", "model")]


BASE = repository("acme/base")


def test_leads_find_variants_without_a_relation() -> None:
    hidden = quantized("trusted/base-AWQ", "acme/base", AWQ, base_model=None)
    with serve([BASE, hidden]) as hub:
        lock = locked(spec_of({"s": service("acme/base", "awq")}, ("trusted",)), hub)
    assert lock.services["s"].candidates == ("trusted/base-AWQ",)


def test_a_lead_to_another_model_is_not_taken() -> None:
    other = repository("trusted/base-AWQ", {**LLAMA, "num_hidden_layers": 3, "quantization_config": AWQ})
    with serve([BASE, other]) as hub:
        assert problem(spec_of({"s": service("acme/base", "awq")}, ("trusted",)), hub).code == "E0304"


def test_what_a_checkpoint_says_beats_its_name() -> None:
    liar = quantized("acme/base-AWQ", "acme/base", GPTQ)
    with serve([BASE, liar]) as hub:
        error = problem(spec_of({"s": service("acme/base", "awq")}), hub)
        assert "`acme/base-AWQ` is `gptq`" in error.notes
        assert [item.text for item in error.helps] == ["`quantization: none`", "`quantization: gptq`"]
        assert locked(spec_of({"s": service("acme/base", "gptq")}), hub).services["s"].candidates == ("acme/base-AWQ",)


def test_auto_takes_every_trusted_variant() -> None:
    repositories = [
        BASE,
        quantized("acme/base-AWQ", "acme/base", AWQ),
        quantized("trusted/base-fp8", "acme/base", FP8),
        quantized("stranger/base-fp8", "acme/base", FP8),
        quantized("trusted/base-gguf", "acme/base", FP8, tags=("gguf",), files={"base.gguf": 1}),
    ]
    with serve(repositories) as hub:
        lock = locked(spec_of({"s": service("acme/base")}, ("Trusted",)), hub)
        assert hub.asked("gguf") == []
    assert lock.services["s"].candidates == ("acme/base", "acme/base-AWQ", "trusted/base-fp8")


def test_a_renamed_model_is_locked_by_its_new_name() -> None:
    moved = repository("acme/new", renamed_from=("acme/old",))
    with serve([moved]) as hub:
        lock = locked(spec_of({"s": service("acme/old")}), hub)
    assert lock.services["s"].model == "acme/old"
    assert lock.services["s"].candidates == ("acme/new",)


def test_a_variant_that_went_to_a_stranger_is_no_candidate() -> None:
    moved = quantized("stranger/base-AWQ", "acme/base", AWQ, renamed_from=("trusted/base-AWQ",), base_model=None)
    with serve([BASE, moved]) as hub:
        error = problem(spec_of({"s": service("acme/base", "awq")}, ("trusted",)), hub)
    assert "`trusted/base-AWQ`: it is `stranger/base-AWQ` now, by a publisher that nobody trusts" in error.notes


def test_a_configuration_that_is_too_long() -> None:
    with serve([repository("acme/base", {**LLAMA, "x": "y" * (1 << 20)})]) as hub:
        assert problem(spec_of({"s": service("acme/base")}), hub).code == "E0311"


def test_a_gated_candidate_is_left_out_and_named() -> None:
    gated = quantized("acme/base-AWQ", "acme/base", AWQ, gated="manual")
    with serve([BASE, gated], [Fault("/acme/base-AWQ/resolve", "gated")]) as hub:
        assert locked(spec_of({"s": service("acme/base")}), hub).services["s"].candidates == ("acme/base",)
        error = problem(spec_of({"s": service("acme/base", "awq")}), hub)
    assert "`acme/base-AWQ`: access to `acme/base-AWQ` is not granted" in error.notes


def test_a_candidate_that_cannot_be_seen_now_is_an_error() -> None:
    with serve([BASE, quantized("acme/base-AWQ", "acme/base", AWQ)], [Fault("base-AWQ", "server_error")]) as hub:
        assert problem(spec_of({"s": service("acme/base")}), hub).code == "E0311"


class TestPreviousLock:
    spec = spec_of({"s": service("acme/base", "none")})
    newer = repository("acme/base", commit="f" * 40)

    def locked_before(self) -> Lock:
        with serve([BASE]) as hub:
            return locked(self.spec, hub)

    def confirmed(self) -> Lock:
        """The lock as another source would have confirmed it, but read here."""
        before = self.locked_before()
        return before.model_copy(
            update={
                "models": {name: facts.model_copy(update={"unconfirmed": ()}) for name, facts in before.models.items()}
            }
        )

    def test_confirmed_facts_are_not_asked_again(self) -> None:
        with serve([self.newer]) as hub:
            assert locked(self.spec, hub, previous=self.confirmed()) == self.confirmed()
            assert hub.requests == []

    def test_a_pinned_commit_stays_until_upgraded(self) -> None:
        spec = spec_of({"s": service("acme/base", "none"), "t": service("acme/other", "none")})
        with serve([self.newer, repository("acme/other")]) as hub:
            lock = locked(spec, hub, previous=self.confirmed())
            assert lock.models["acme/base"].commit == COMMIT
            assert hub.asked("acme/base") == []
            assert locked(spec, hub, previous=lock, upgrade=True).models["acme/base"].commit == "f" * 40

    def test_upgrade_asks_once_about_a_commit_that_did_not_move(self) -> None:
        with serve([BASE]) as hub:
            assert locked(self.spec, hub, previous=self.confirmed(), upgrade=True) == self.confirmed()
            assert len(hub.requests) == 1

    def test_unconfirmed_facts_are_read_again_at_their_commit(self) -> None:
        with serve([BASE]) as hub:
            assert locked(self.spec, hub, previous=self.locked_before()) == self.locked_before()
            assert hub.asked(f"/revision/{COMMIT}")

    def test_a_commit_that_is_gone(self) -> None:
        with serve([self.newer]) as hub:
            error = problem(self.spec, hub, previous=self.locked_before())
        assert error.code == "E0310"
        assert error.helps[0].text == "run `stackc lock --upgrade`"

    def test_services_that_the_spec_lost_are_dropped(self) -> None:
        other = spec_of({"t": service("acme/other", "none")})
        with serve([BASE, repository("acme/other")]) as hub:
            lock = locked(other, hub, previous=self.confirmed())
        assert list(lock.services) == ["t"]
        assert list(lock.models) == ["acme/other"]


def test_folders_need_no_hub(tmp_path: Path, loopback_hub: LoopbackHub) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    recording: Recording = BASE
    for path, content in recording.contents.items():
        (folder / path).write_bytes(content + bytes(1152) if path.endswith(".safetensors") else content)
    spec = spec_of({"s": service(str(folder))})

    lock, problems = resolve_lock(spec, hub=Hub(loopback_hub.url))

    assert problems == ()
    assert lock is not None
    facts = lock.models[str(folder)]
    assert (facts.source, facts.commit, facts.unconfirmed) == ("folder", None, ())
    assert facts.tensors is not None
    assert facts.tensors.total_bytes == 1152
    assert loopback_hub.requests == []


@pytest.mark.parametrize(("model", "code"), [("nowhere", "E0310"), ("empty", "E0309")])
def test_folders_without_a_model(tmp_path: Path, loopback_hub: LoopbackHub, model: str, code: str) -> None:
    (tmp_path / "empty").mkdir()
    lock, (error,) = resolve_lock(spec_of({"s": service(str(tmp_path / model))}), hub=Hub(loopback_hub.url))
    assert lock is None
    assert error.code == code
