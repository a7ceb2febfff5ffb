"""Whatever a Hub answers, locking and compiling end in sound files or in a diagnostic; nothing else happens."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import close_session, constants
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.cli.main import cli
from tests.conftest import tool
from tests.hub.builders import COMMIT, header
from tests.hub.recordings import Recording
from tests.hub.server import Fault, LoopbackHub, serve
from tests.properties.hub_answers import ANSWERS, CONFIG, SHARDS, end_of

SPEC = """\
stack: hostile
engine: {vllm: 0.33.0}
nodes: {gpu01: {gpus: {model: h100-80gb}}}
services:
  plain: {model: acme/base, quantization: none, context: 2K, port: 8001}
  packed: {model: acme/base, quantization: awq, context: 2K, port: 8002, task: completion}
policy: {publishers: [acme]}
targets: [scripts, systemd, compose]
"""
# A folder that only an injected command or an escaped path would make.
OUTSIDE = f"{tempfile.gettempdir()}/stackc-hostile-outside"

# Text that cannot be written by json.dumps is put in afterwards.
RAW = {"@deep@": "[" * 100_000 + "]" * 100_000, "@nested@": '{"a":' * 40 + "1" + "}" * 40, "@digits@": "9" * 5000}

STRINGS = [
    "\x1b[2J\x1b]0;title\x07", f"$(touch {OUTSIDE})", f"`touch {OUTSIDE}`", f"'; touch {OUTSIDE}; '", '"', "'", "\\",
    f"x\nExecStart=/bin/touch {OUTSIDE}", "x\r\n[Service]\r\nUser=root", f"../../../../../..{OUTSIDE}.safetensors",
    f"{OUTSIDE}.safetensors", "../x.safetensors", "a/../../x", "\u202eabc\u2066", "\u2028", "\u200b", "\x85", "\x9b31m",
    "x" * 20_000, "\0", "\ud800", "\ufeff", "%n %h", "$HOME", "${HOME}", "$$", "{{ 7 * 7 }}", "{% raw %}", "{#", "-rf",
    "--trust-remote-code", "#", ": {}", "&a [*a]", "!!python/object:os.system x", "|", "<script>", "", " ", "awq\n",
    "true", "null", "~", "1e5", "0x10", "😀", "e\u0301", "base_model:quantized:\x1b[31m", "license:\x1b[31m", "EOF",
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 5e-324, 1e308,
    float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], [{}], {"": None}, {"a": [{}]}, *RAW]

hostile = st.one_of(
    st.sampled_from(STRINGS), st.sampled_from(NUMBERS), st.sampled_from(OTHERS), st.text(max_size=12), st.integers(),
    st.lists(st.sampled_from(STRINGS), min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(STRINGS), st.sampled_from(NUMBERS), min_size=1, max_size=2),
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One thing in one answer that is not as it should be."""

    answer: str
    place: int
    how: str
    value: Any

    def apply(self, answers: dict[str, Any]) -> None:
        places = list(_places(answers[self.answer]))
        value = copy.deepcopy(self.value)
        if not places:
            answers[self.answer] = value
            return
        parent, key = places[self.place % len(places)]
        if self.how == "value" or not isinstance(parent, dict):
            parent[key] = value
        elif self.how == "add":
            parent[str(value)[:30_000]] = value
        else:
            parent[str(value)[:30_000]] = parent.pop(key)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield value, key
        yield from _places(child)


changes = st.builds(
    Change,
    st.sampled_from(sorted(ANSWERS)),
    st.integers(0, 60),
    st.sampled_from(["value", "value", "value", "key", "add"]),
    hostile,
)


@pytest.fixture(scope="module", autouse=True)
def _no_login() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
        yield
    close_session()


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackHub]:
    """A Hub whose answers each example replaces."""
    with serve([]) as hub:
        yield hub


@dataclass(frozen=True)
class Outcome:
    """What the two commands did in a folder of their own."""

    folder: Path
    lock: Result
    compiled: Result | None

    @property
    def tree(self) -> Path:
        return self.folder / "out/hostile"


def answer(server: LoopbackHub, answers: dict[str, Any]) -> None:
    """Make a Hub give these answers."""
    texts = {key: _text(value) for key, value in answers.items()}
    server.faults = [Fault(key, "json", detail=text) for key, text in texts.items() if key.startswith("^")]
    contents: dict[str, dict[str, bytes]] = {"acme/base": {}, "acme/base-AWQ": {}}
    for key, text in texts.items():
        repo, _, path = key.partition(":")
        if not key.startswith("^"):
            encoded = text.encode()
            prefix = len(encoded).to_bytes(8, "little") if path.endswith(".safetensors") else b""
            contents[repo][path] = prefix + encoded
    contents["acme/base"][SHARDS[1]] = header({"model.layers.0.x": ("F16", [4], 8)})
    server.repositories = {repo: Recording(repo, COMMIT, files={}, contents=held) for repo, held in contents.items()}


def _text(value: Any) -> str:
    text = json.dumps(value)
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}":', '"x":').replace(f'"{mark}"', raw)
    return text


def run(server: LoopbackHub, answers: dict[str, Any], root: Path) -> Outcome:
    """`stackc lock` and then `stackc compile`, three folders below `root`."""
    answer(server, answers)
    folder = root / "a/b/c"
    folder.mkdir(parents=True)
    (folder / "hostile.yaml").write_text(SPEC)
    environment = {"HF_ENDPOINT": server.url, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
    lock = _invoke(environment, "lock", str(folder / "hostile.yaml"))
    if lock.exit_code != 0:
        return Outcome(folder, lock, None)
    arguments = (str(folder / "hostile.yaml"), "--output", str(folder / "out"))
    return Outcome(folder, lock, _invoke(environment, "compile", *arguments))


def _invoke(environment: dict[str, str], *arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def check(outcome: Outcome, root: Path) -> None:
    """All that must hold, whatever was answered."""
    for result in filter(None, (outcome.lock, outcome.compiled)):
        assert result.exit_code in (0, 1, 3)
        assert_printable(result.output)
        assert (result.exit_code != 0) == (re.search(r"^error\[E\d{4}\]: ", result.output, re.MULTILINE) is not None)
        assert "Traceback" not in result.output
    assert not list(Path(OUTSIDE).parent.glob(f"{Path(OUTSIDE).name}*"))
    assert {path for path in root.rglob("*") if not path.is_relative_to(outcome.folder)} == {root / "a", root / "a/b"}
    allowed = {"hostile.yaml", "hostile.lock.yaml", "out", "cache", "hf"}
    assert {path.name for path in outcome.folder.iterdir()} <= allowed
    if outcome.lock.exit_code == 0:
        assert_printable((outcome.folder / "hostile.lock.yaml").read_text())
    if outcome.compiled is not None and outcome.compiled.exit_code == 0:
        check_tree(outcome.tree)


def assert_printable(text: str) -> None:
    assert (found := _CONTROL.search(text)) is None, f"a control character {found[0]!r}"


def check_tree(tree: Path) -> None:
    """The emitted files parse, and hold no line that a name in an answer brought with it."""
    for path in filter(Path.is_file, tree.rglob("*")):
        assert_printable(path.read_text())
    json.loads((tree / "plan.json").read_text())
    compose = YAML(typ="safe", pure=True).load(tree / "compose/compose.yaml")
    assert set(compose["services"]) == {"plain", "packed", "prefetch", "prepare"}
    for unit in (tree / "systemd").iterdir():
        assert [line for line in unit.read_text().splitlines() if _DIRECTIVE.fullmatch(line) is None] == []
        assert len(re.findall(r"^ExecStart=", unit.read_text(), re.MULTILINE)) == (unit.suffix == ".service")
    for script in (tree / "bin").glob("launch-*"):
        subprocess.run(["bash", "-n", str(script)], check=True)


# C0, C1, separators of lines, marks and overrides of direction, halves of characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DIRECTIVE = re.compile(r"|[#;].*|\[(?:Unit|Service|Install)\]|(?!User=(?!stackc-hostile$))[A-Z][A-Za-z]+=.*")


def examined(server: LoopbackHub, found: list[Change]) -> Outcome:
    """One round of both commands with changed answers, and all checks."""
    answers = copy.deepcopy(ANSWERS)
    for change in found:
        change.apply(answers)
    with tempfile.TemporaryDirectory() as name:
        outcome = run(server, answers, Path(name))
        check(outcome, Path(name))
    return outcome


def test_answers_as_they_should_be_compile(server: LoopbackHub, tmp_path: Path) -> None:
    outcome = run(server, copy.deepcopy(ANSWERS), tmp_path)
    check(outcome, tmp_path)
    assert outcome.lock.exit_code == 0, outcome.lock.output
    assert outcome.compiled is not None
    assert outcome.compiled.exit_code == 0, outcome.compiled.output


@settings(max_examples=16, deadline=None, database=None, phases=[Phase.generate])
@given(st.lists(changes, min_size=1, max_size=3))
def test_any_answer_ends_in_sound_files_or_in_a_diagnostic(server: LoopbackHub, found: list[Change]) -> None:
    examined(server, found)


def _tensor(name: str, dtype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


PACKED = "acme/base-AWQ:model.safetensors"
INFO = r"^/api/models/acme/base(?:[/?]|$)"


@pytest.mark.parametrize(
    ("answer_", "value"),
    [
        pytest.param(PACKED, _tensor("x", "ZZ", [5], 10), id="dtype"),
        pytest.param(PACKED, _tensor("x", "ZZ", [10**400], 2), id="elements"),
        pytest.param(PACKED, _tensor("x", "U8", [10**30], 10**30), id="bytes"),
        pytest.param(PACKED, _tensor("model.embed_tokens.weight", "F16", [], 2), id="scalar-embedding"),
        pytest.param(PACKED, _tensor("model.embed_tokens.weight", "F16", [0, 4], 0), id="empty-embedding"),
        pytest.param("acme/base:model.safetensors.index.json", {"weight_map": {"a": ["b"]}}, id="weight-map"),
        pytest.param("acme/base:config.json", {**CONFIG, "rope_scaling": {"type": ["x"], "factor": 2}}, id="rope-type"),
        pytest.param("acme/base:config.json", {**CONFIG, "torch_dtype": ["\x1b"]}, id="type"),
        pytest.param("acme/base:config.json", "@deep@", id="deep-config"),
        pytest.param(INFO, "@deep@", id="deep-info"),
        pytest.param(INFO, {**ANSWERS[INFO], "sha": "f" * 40 + "\n"}, id="commit"),
        pytest.param(INFO, {**ANSWERS[INFO], "tags": ["license:a\u061cb"], "cardData": {}}, id="direction"),
        pytest.param(
            INFO,
            {**ANSWERS[INFO], "siblings": [{"rfilename": "model.safetensors", "lfs": {"size": 1, "sha256": 5}}]},
            id="sha256",
        ),
    ],
)
def test_what_has_broken_a_phase_or_might(server: LoopbackHub, answer_: str, value: Any) -> None:
    answers = {**copy.deepcopy(ANSWERS), answer_: value}
    with tempfile.TemporaryDirectory() as name:
        check(run(server, answers, Path(name)), Path(name))


def carrying(text: str) -> dict[str, Any]:
    """Answers that say `text` wherever a word can be anything and the model is still a model."""
    answers = copy.deepcopy(ANSWERS)
    for repo in ("base", "base-AWQ"):
        about = answers[rf"^/api/models/acme/{repo}(?:[/?]|$)"]
        about |= {"pipeline_tag": text, "author": text, "library_name": text, text: text}
        about["tags"] += [text, f"license:{text}", f"base_model:quantized:{text}", f"base_model:{text}"]
        about["cardData"] = {
            "license": text,
            "license_name": text,
            "base_model": [text],
            "language": [text],
            text: text,
        }
        answers[f"acme/{repo}:config.json"] |= {
            "_name_or_path": text,
            "transformers_version": text,
            text: {text: [text]},
        }
    answers["acme/base:tokenizer_config.json"] |= {
        "chat_template": f"x{text}", "tokenizer_class": text, "auto_map": {text: [text]}, text: text,
    }  # fmt: skip
    answers["acme/base:model.safetensors.index.json"]["metadata"] = {text: text}
    answers["acme/base-AWQ:quant_config.json"] |= {
        "version": text,
        "modules_to_not_convert": [f"no such module {text}"],
        text: text,
    }
    for tensors in (answers[f"acme/base:{SHARDS[0]}"], answers["acme/base-AWQ:model.safetensors"]):
        end = end_of(tensors)
        tensors |= {"__metadata__": {text: text}}
        tensors |= {f"x{text}": {"dtype": "F16", "shape": [0], "data_offsets": [end, end]}}
    return answers


def compiled(server: LoopbackHub, text: str, root: Path) -> Path:
    outcome = run(server, carrying(text), root)
    check(outcome, root)
    assert outcome.lock.exit_code == 0, outcome.lock.output
    assert outcome.compiled is not None
    assert outcome.compiled.exit_code == 0, outcome.compiled.output
    return outcome.tree


@settings(max_examples=8, deadline=None, database=None, phases=[Phase.generate])
@given(st.one_of(st.sampled_from(STRINGS), st.text(max_size=20)))
def test_words_of_strangers_are_carried_along_and_never_obeyed(server: LoopbackHub, text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        compiled(server, text, Path(name))


def test_nothing_of_them_is_in_a_program(server: LoopbackHub, tmp_path: Path) -> None:
    """A launcher reads the same whatever the strangers say, and prints its command line without running anything."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    plain = compiled(server, "plain", tmp_path / "one")
    hostile_ = compiled(server, "".join(STRINGS), tmp_path / "two")
    for path in (plain / "bin").iterdir():
        assert path.read_bytes() == (hostile_ / "bin" / path.name).read_bytes()
    for unit in (plain / "systemd").iterdir():
        assert unit.read_bytes() == (hostile_ / "systemd" / unit.name).read_bytes()
    launchers = sorted(map(str, (hostile_ / "bin").glob("launch-*")))
    subprocess.run([tool("shellcheck"), *launchers], check=True)
    for launcher in launchers:
        subprocess.run(
            [launcher, "--print-command"], check=True, capture_output=True, env={"HOME": "/x", "PATH": "/bin"}
        )
