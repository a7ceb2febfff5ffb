"""Calibrations of llama.cpp: what is read of its logs, what is refused, and that plans rest on it.

The logs are of a server on cards that are not there (`logs/two_cards.log`), whose last lines are as of real ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.calibration.file import read_calibration
from compiler.calibration.measure import calibration_of, read_start
from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import cli
from compiler.diagnostics import SourceText
from compiler.engines.interface.calibration import Calibration, LogError
from compiler.engines.llama_cpp.memory.outside import CONTEXT
from compiler.units import MIB
from tests.engines.llama_cpp.random_models import MODELS
from tests.unit.test_calibrate import LOG as VLLM_LOG

CARD = GPUS["rtx-4090"]
RECORDED = Path(__file__).with_name("logs").joinpath("two_cards.log").read_text().splitlines()
SERVED = "\n".join(line for line in RECORDED if "breakdown" not in line) + "\n"
PROMPT = "I slot print_timing: id  0 | task 0 | prompt eval time =     310.55 ms /   600 tokens ( 0.52 ms per token)\n"
HEAD = "I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |\n"  # noqa: E501  as it is printed
HOST = "I common_memory_breakdown_print: |   - Host               |                  262 =   246 +       0 +      16                |\n"  # noqa: E501


def row(outside: int, device: str = "CUDA0", total: int = CARD.memory // MIB) -> str:
    """A card of which 5000 MiB are buffers."""
    free = total - 5000 - outside
    sums = f"{total} = {free} + ( 5000 =  4000 +     800 +     200) + {outside:>11} |"
    return f"I common_memory_breakdown_print: |   - {device} (RTX 4090) | {sums}\n"


def log_of(*rows: str, prompt: str = PROMPT) -> str:
    return SERVED + prompt + HEAD + "".join(rows) + HOST


def calibrate(folder: Path, *logs: str, words: tuple[str, ...] = ()) -> Result:
    paths = [folder / f"{number}.log" for number, _ in enumerate(logs)]
    for path, text in zip(paths, logs, strict=True):
        path.write_text(text)
    return CliRunner().invoke(cli, ["calibrate", *map(str, paths), "--gpu", CARD.name, *words])


def calibrated(folder: Path, *logs: str) -> Calibration:
    """What the command writes of these logs, read back."""
    out = folder / "card.yaml"
    result = calibrate(folder, *logs, words=("--out", str(out)))
    assert result.exit_code == 0, result.output
    calibration, problems = read_calibration(SourceText("card.yaml", out.read_text()))
    assert calibration is not None, problems
    return calibration


def test_what_no_buffer_accounts_for_is_measured_of_the_card(tmp_path: Path) -> None:
    found = calibrated(tmp_path, log_of(row(376)))
    assert (found.engine, found.release, found.gpu) == ("llama.cpp", "b10434", "rtx-4090")
    ((name, (size, count)),) = found.components.items()
    assert (name, count) == ("context_single", 1)
    assert size.low < 376 * MIB == size.expected
    assert size.high > (376 + 32) * MIB, "cuBLAS may ask for a workspace with another model"


def test_servers_on_several_cards_are_measured_apart_from_those_on_one(tmp_path: Path) -> None:
    """Each card counts, so that the interval holds the one that has least and the one that has most."""
    found = calibrated(tmp_path, log_of(row(300)), log_of(row(350), row(450, "CUDA1")))
    single, parallel = (found.components[name] for name in ("context_single", "context_parallel"))
    assert (single[1], parallel[1]) == (1, 1)
    assert single[0].high < 400 * MIB
    assert parallel[0].low < 350 * MIB
    assert parallel[0].high > 450 * MIB


def test_the_number_of_a_build_counts_and_the_commit_where_there_is_none(tmp_path: Path) -> None:
    numbered = log_of(row(376)).replace("build 1 (7e4c0a9)", "build: 10434 (7e4c0a91)")
    assert calibrated(tmp_path, numbered).release == calibrated(tmp_path, log_of(row(376))).release == "b10434"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (log_of(row(376), prompt=""), "its longest prompt had 0 tokens"),
        (log_of(row(376), prompt=PROMPT.replace("600", " 17")), "one of 512"),
        (log_of(), "used no GPU"),
        (SERVED + PROMPT, "SIGTERM"),
        (SERVED.partition("I srv  llama_server: model loaded")[0] + HEAD + row(376), "did not load the model"),
        (log_of(row(376, "Vulkan0")), "the device Vulkan0"),
        (log_of(row(376, total=12227)), "CUDA0 has 12227 MiB, and rtx-4090 has"),
        (log_of(row(376), row(3000, "CUDA1")), "3000 MiB of CUDA1 unexplained: did another process use it?"),
        (log_of(row(12)), "12 MiB of CUDA0 for CUDA itself"),
        (log_of(row(-4000)), "-4000 MiB of CUDA0"),
        (log_of(row(376)).replace("build 1 (7e4c0a9)", "build 9999 (0123456)"), "no build b9999"),
        (log_of(row(376)).replace(" MiB\n", "\n"), "-lv 4"),
        (
            SERVED
            + "I reserve_compute_meta:      CUDA0 compute buffer size =    90.00 MiB\n"
            + PROMPT
            + HEAD
            + row(376),
            "a projector",
        ),
        (SERVED[:100], "no load of a model"),
    ],
)
def test_a_log_that_would_make_a_plan_too_small_is_refused(log: str, said: str, tmp_path: Path) -> None:
    result = calibrate(tmp_path, log)
    assert result.exit_code == 1
    assert "E0213" in result.output
    assert said in result.output


def test_what_a_fit_projects_before_the_load_is_not_what_was_taken(tmp_path: Path) -> None:
    """It is printed in the same words, with nothing taken yet."""
    begin, load, rest = SERVED.partition("I llama_model_loader: loaded meta data")
    result = calibrate(tmp_path, begin + HEAD + row(376) + load + rest + PROMPT)
    assert "SIGTERM" in result.output


def test_a_log_of_nobody_is_told_what_each_engine_s_looks_like(tmp_path: Path) -> None:
    output = calibrate(tmp_path, "hello\n").output
    assert "Initializing a V1 LLM engine" in output
    assert "llama_model_loader: loaded meta data" in output


def test_logs_of_two_engines_make_no_calibration(tmp_path: Path) -> None:
    output = calibrate(tmp_path, log_of(row(376)), VLLM_LOG).output
    assert "error[E0213]: the logs are of several engines: llama.cpp, vllm" in output


def test_a_config_is_not_needed_which_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    result = calibrate(tmp_path, log_of(row(376)), words=("--config", str(tmp_path / "config.json")))
    assert result.exit_code == 0
    assert "config.json: nothing that is measured needs it" in result.output


def test_verbose_says_what_each_card_had(tmp_path: Path) -> None:
    lines = calibrate(tmp_path, log_of(row(512), row(1024, "CUDA1")), words=("-v",)).output.splitlines()
    at = next(index for index, line in enumerate(lines) if "llama.cpp b10434, 2 ranks:" in line)
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["context_parallel", "0.50", "GiB"],
        ["context_parallel", "1.00", "GiB"],
    ]


@pytest.mark.parametrize(
    "engine",
    [
        '{llama.cpp: "b10434", vllm: "0.33.0"}', "{}", "{ollama: b1}", "{llama.cpp: 7}", "[llama.cpp]", "{7: b10434}",
    ],
)  # fmt: skip
def test_a_file_that_names_no_one_engine_is_no_calibration(engine: str) -> None:
    calibration, (problem,) = read_calibration(SourceText("c.yaml", f"engine: {engine}\ngpu: l4\ncomponents: {{}}\n"))
    assert calibration is None
    assert problem.code == "E0212"


def test_a_file_of_one_engine_has_no_components_of_the_other() -> None:
    text = 'engine: {ENGINE}\ngpu: "l4"\ncomponents: {graphs: {low: 1, expected: 2, high: 3, count: 1}}\n'
    of_vllm, _ = read_calibration(SourceText("c.yaml", text.replace("{ENGINE}", '"0.33.0"')))
    assert of_vllm is not None
    assert of_vllm.engine == "vllm"
    of_llama_cpp, (problem,) = read_calibration(SourceText("c.yaml", text.replace("ENGINE", "llama.cpp: b10434")))
    assert of_llama_cpp is None
    assert "`graphs`" in problem.message


SPEC = """\
stack: home
engine: ENGINE
nodes: {home: {gpus: {model: rtx-4090}, memory: 64GiB}}
services: {chat: {model: MODEL, context: 4K, concurrency: 2, port: 8080}}
targets: [scripts]
"""
OF_ONE = "{llama.cpp: {release: b10434, calibration: card.yaml}}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a locked spec of it and a calibration of its card."""
    folder = tmp_path_factory.mktemp("stack")
    MODELS["llama-wide"]().write(folder / "model.gguf")
    calibrated(folder, log_of(row(376)))
    explained(folder, "{llama.cpp: b10434}")
    locked = CliRunner().invoke(cli, ["lock", str(folder / "home.yaml")])
    assert locked.exit_code == 0, locked.output
    return folder


def explained(folder: Path, engine: str) -> dict[str, Any]:
    spec = folder / "home.yaml"
    spec.write_text(SPEC.replace("ENGINE", engine).replace("MODEL", str(folder / "model.gguf")))
    result = CliRunner().invoke(cli, ["explain", str(spec), "--format", "json"])
    found: dict[str, Any] = json.loads(result.output)
    return found


def context_of(found: dict[str, Any]) -> dict[str, Any]:
    (row,) = (row for row in rows_in(found["plan"]) if row.get("title") == "CUDA context")
    return row


def rows_in(value: Any) -> list[dict[str, Any]]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict) else []
    return own + [row for each in below for row in rows_in(each)]


def test_a_measured_context_takes_the_place_of_the_estimate(stack: Path) -> None:
    bare, measured = (context_of(explained(stack, engine)) for engine in ("{llama.cpp: b10434}", OF_ONE))
    assert bare["bytes"]["high"] == CONTEXT.high
    assert "other cards" in bare["source"], "an estimate says that it is one"
    assert bare["bytes"] != measured["bytes"]
    assert measured["bytes"]["expected"] == 376 * MIB
    assert "1 start-up on rtx-4090 with llama.cpp b10434, card.yaml" in measured["source"]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("{llama.cpp: b10434, calibration: card.yaml}", "`calibration` is vLLM's, which does not run here"),
        (
            "{llama.cpp: b10434, vllm: 0.33.0, calibration: card.yaml}",
            "card.yaml is of llama.cpp b10434, and is named for vLLM",
        ),
        (OF_ONE.replace("card", "l4"), "l4.yaml is of l4, and a node has rtx-4090"),
        (OF_ONE.replace("card", "newer"), "newer.yaml is of llama.cpp b11434, and the spec pins b10434"),
        (OF_ONE.replace("card", "none"), "none.yaml cannot be read: No such file or directory"),
    ],
)
def test_a_calibration_that_does_not_suit_is_refused_where_it_is_named(engine: str, said: str, stack: Path) -> None:
    text = (stack / "card.yaml").read_text()
    (stack / "l4.yaml").write_text(text.replace("rtx-4090", "l4"))
    (stack / "newer.yaml").write_text(text.replace("b10434", "b11434"))
    problems = [each for each in explained(stack, engine)["diagnostics"] if each["code"] == "E0212"]
    assert [each["message"] for each in problems] == [said]


def test_on_a_node_without_gpus_a_calibration_would_do_nothing(stack: Path) -> None:
    spec = stack / "home.yaml"
    text = SPEC.replace("{gpus: {model: rtx-4090}, memory: 64GiB}", "{cpu: {memory: 8GiB}}")
    spec.write_text(text.replace("ENGINE", OF_ONE).replace("MODEL", str(stack / "model.gguf")))
    result = CliRunner().invoke(cli, ["explain", str(spec)])
    assert "card.yaml is of rtx-4090, and no node has a GPU" in result.output


LINES = [*log_of(row(376), row(-5), row(10**8)).splitlines(), *VLLM_LOG.splitlines(), ""]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(LINES), max_size=60))
def test_lines_of_both_engines_in_any_order_are_a_calibration_or_refused(lines: list[str]) -> None:
    try:
        start = read_start("\n".join(lines), CARD, None)
        calibration = calibration_of([start], CARD, "x")
    except LogError:
        return
    assert all(size.low <= size.expected <= size.high for size, _ in calibration.components.values())


@settings(max_examples=40)
@given(st.integers(100, 2048), st.lists(st.integers(100, 2048), max_size=3))
def test_no_card_that_was_measured_had_more_than_a_plan_takes_for_it(first: int, more: list[int]) -> None:
    starts = [read_start(log_of(row(outside)), CARD, None) for outside in (first, *more)]
    size, count = calibration_of(starts, CARD, "x").components["context_single"]
    assert count == len(starts)
    assert size.low <= min([first, *more]) * MIB
    assert size.high >= (max([first, *more]) + 1) * MIB, "the log rounds down"
