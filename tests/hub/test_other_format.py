"""A model in the format of another engine: the message leads to that engine, or to the model in the other format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.cli.run.lock import lock_spec
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.pipeline import compile_stack
from compiler.resolve.transport.hub import Hub
from tests.hub.builders import COMMIT, repository, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import problem
from tests.hub.server import LoopbackHub, serve
from tests.hub.test_gguf import file

GGUF: Mapping[str, Any] = {"s": frozenset({"gguf"})}


def ggufs(name: str, contents: Mapping[str, bytes], base: str | None = None) -> Recording:
    sizes: dict[str, int | None] = {path: len(content) for path, content in contents.items()}
    relation = None if base is None else "quantized"
    return Recording(
        name, commit=COMMIT, license="mit", base_model=base, base_relation=relation, files=sizes, contents=contents
    )


def test_safetensors_for_llama_cpp_lead_to_the_publishers_own_gguf_files() -> None:
    own = ggufs("acme/m-GGUF", {"m-Q4_K_M.gguf": file()}, "acme/m")
    stranger = ggufs("other/m-GGUF", {"m-Q4_K_M.gguf": file()}, "acme/m")
    with serve([repository("acme/m"), own, stranger]) as hub:
        offer = Help("run it on vLLM", (Edit(("services", "s", "engine"), "vllm"),))
        found = problem(
            spec_of({"s": {"model": "acme/m", "context": "4K", "port": 8000}}),
            hub,
            formats=GGUF,
            instead=lambda _, form: offer if form == "safetensors" else None,
        )
    assert found.code == "E0309"
    assert [help_.text for help_ in found.helps] == ["serve `acme/m-GGUF`", "run it on vLLM"]
    assert found.helps[0].edits == (Edit(("services", "s", "model"), "acme/m-GGUF"),)
    assert any("`other/m-GGUF`" in note for note in found.notes)


def test_a_strangers_gguf_files_are_named_and_not_offered() -> None:
    stranger = ggufs("other/m-GGUF", {"m-Q4_K_M.gguf": file()}, "acme/m")
    with serve([repository("acme/m"), stranger]) as hub:
        found = problem(spec_of({"s": {"model": "acme/m", "context": "4K", "port": 8000}}), hub, formats=GGUF)
    assert not any(help_.edits for help_ in found.helps)
    assert any("`other/m-GGUF`" in note for note in found.notes)


def locked(folder: Path, hub: LoopbackHub, text: str) -> tuple[Path, Sequence[Diagnostic], list[str]]:
    spec = folder / "it.yaml"
    spec.write_text(text)
    found, report = lock_spec(spec, "it.yaml", Hub(hub.url, pause=0))
    return spec, found, list(report.lines) if report is not None else []


SPEC = """\
stack: it
engine: {engines}
nodes: {{n: {{cpu: {{memory: 8GiB}}}}}}
services:
  s: {{model: acme/m-GGUF, context: 4K, port: 8000{more}}}
"""


def test_gguf_files_for_vllm_lead_to_llama_cpp(tmp_path: Path) -> None:
    with serve([ggufs("acme/m-GGUF", {"m-Q4_K_M.gguf": file()})]) as hub:
        _, (found,), _ = locked(tmp_path, hub, SPEC.format(engines="{vllm: 0.32.0}", more=", quantization: awq"))
        assert (found.code, found.helps[0].text) == ("E0309", "run it on llama.cpp b10434")
        assert {edit.path: edit.value for edit in found.helps[0].edits} == {
            ("engine", "llama.cpp"): "b10434",
            ("services", "s", "engine"): "llama.cpp",
            ("services", "s", "quantization"): None,
        }
        engines = "{vllm: 0.32.0, llama.cpp: b10434}"
        _, found_then, lines = locked(tmp_path, hub, SPEC.format(engines=engines, more=", engine: llama.cpp"))
    assert not found_then
    assert "acme/m-GGUF: 1 GGUF model" in lines[1]


def test_a_lock_in_another_engines_format_is_told_before_anything_is_solved(tmp_path: Path) -> None:
    with serve([ggufs("acme/m-GGUF", {"m-Q4_K_M.gguf": file()})]) as hub:
        spec, found, _ = locked(tmp_path, hub, SPEC.format(engines="{llama.cpp: b10434}", more=""))
        assert not found
    spec.write_text(SPEC.format(engines="{vllm: 0.32.0}", more=""))
    compiled, told = compile_stack(spec, "it.yaml")
    assert compiled is None
    assert [one.code for one in told] == ["E0308"]
    assert told[0].helps[0].text == "run it on llama.cpp b10434"


def test_a_name_that_the_header_contradicts_is_told_when_it_is_locked(tmp_path: Path) -> None:
    with serve([ggufs("acme/m-GGUF", {"m-Q8_0.gguf": file("Q4_K_M")})]) as hub:
        _, (found,), lines = locked(tmp_path, hub, SPEC.format(engines="{llama.cpp: b10434}", more=""))
    assert (found.code, found.message) == (
        "W0303",
        "`acme/m-GGUF#m-Q8_0.gguf` is called Q8_0, and its header says Q4_K_M",
    )
    assert lines, "it is a warning"
