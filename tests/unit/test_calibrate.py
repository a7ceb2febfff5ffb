"""Calibration: what is read from logs, what is refused, and that a plan rests on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compiler.calibration.file import read_calibration, write_calibration
from compiler.checkpoints.read import read_architecture
from compiler.cli.main import cli
from compiler.diagnostics import SourceText
from compiler.engines.interface.calibration import LogError
from compiler.engines.vllm.calibrate.apply import calibrated
from compiler.engines.vllm.calibrate.startup_log import read_log, unexplained
from compiler.engines.vllm.memory.context import context_memory
from compiler.engines.vllm.memory.growth import non_torch_growth
from compiler.engines.vllm.releases.history import GPU_0_19
from compiler.engines.vllm.releases.v0_33_0 import GPU as GPU_0_33
from compiler.units import GIB, MIB
from tests.conftest import ROOT
from tests.unit.test_memory import QWEN3_8B
from tests.unit.test_overheads import shape_of

MARGIN = MIB

# A start-up of Qwen3-8B on an H100, as vLLM 0.19.0 words it.
LOG = """\
(APIServer pid=7) INFO 04-01 non-default args: {'gpu_memory_utilization': 0.95, 'max_num_seqs': 1024}
INFO 04-01 Chunked prefill is enabled with max_num_batched_tokens=8192.
INFO 04-01 [core.py:99] Initializing a V1 LLM engine (v0.19.0) with config: model='Qwen/Qwen3-8B', \
dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, pipeline_parallel_size=1, enforce_eager=False
\x1b[36mDEBUG\x1b[0m worker init memory snapshot: torch_peak=0.0GiB, free_memory=78.68GiB, total_memory=79.19GiB, \
cuda_memory=0.51GiB, torch_memory=0.0GiB, non_torch_memory=0.51GiB, timestamp=1.0
INFO 04-01 Model loading took 15.27 GiB memory and 14.4 seconds
INFO 04-01 Estimated CUDA graph memory: 0.84 GiB total
DEBUG 04-01 Memory profiling takes 17.96 seconds. Total non KV cache memory: 17.73GiB; torch peak memory increase: \
2.21GiB; non-torch forward increase memory: 0.25GiB; weights memory: 15.27GiB.
INFO 04-01 Available KV cache memory: 57.5 GiB
INFO 04-01 Graph capturing finished in 8 secs, took 0.96 GiB
"""


def run(folder: Path, log: str = LOG, *more: str) -> Result:
    (folder / "server.log").write_text(log)
    (folder / "config.json").write_text(json.dumps(QWEN3_8B))
    arguments = ["calibrate", str(folder / "server.log"), "--gpu", "h100-80gb", *more]
    return CliRunner().invoke(cli, arguments)


def test_every_figure_of_a_log_is_read() -> None:
    log = read_log(LOG)
    assert (log.version, log.model, log.max_num_seqs, log.max_num_batched_tokens) == (
        "0.19.0",
        "Qwen/Qwen3-8B",
        1024,
        8192,
    )
    figures = {name: round(size / GIB, 2) for name, size in log.figures.items()}
    assert figures == {
        "total": 79.19, "context": 0.51, "weights": 15.27, "activation": 2.21, "non_torch": 0.25, "kv_cache": 57.5,
        "graphs_estimate": 0.84, "graphs": 0.96,
    }  # fmt: skip
    rest = unexplained(log, GPU_0_19.rules)
    assert rest is not None
    assert abs(rest) < 0.02 * GIB


@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_growth_is_what_was_consumed_beyond_weights_which_hold_the_rotary_tables(tmp_path: Path, factor: float) -> None:
    text = LOG.replace("; non-torch forward increase memory: 0.25GiB", "")
    text += "DEBUG 04-01 total consumed (from mem_get_info): 15.77 GiB\n"
    (tmp_path / "server.log").write_text(text)
    scaled = QWEN3_8B | {"rope_scaling": {"rope_type": "linear", "factor": factor}}
    (tmp_path / "config.json").write_text(json.dumps(scaled))
    out = tmp_path / "h100.yaml"
    arguments = ["calibrate", str(tmp_path / "server.log"), "--gpu", "h100-80gb", "--out", str(out)]
    result = CliRunner().invoke(cli, [*arguments, "--config", str(tmp_path / "config.json")])
    assert result.exit_code == 0, result.output
    calibration, _ = read_calibration(SourceText("h100.yaml", out.read_text()))
    assert calibration is not None
    assert calibration.components["non_torch_single"][0].expected == pytest.approx(GIB // 2, abs=MARGIN)


def test_a_log_becomes_a_file_that_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "h100.yaml"
    result = run(tmp_path, LOG, "--config", str(tmp_path / "config.json"), "--out", str(out))
    assert result.exit_code == 0, result.output
    calibration, diagnostics = read_calibration(SourceText("h100.yaml", out.read_text()))
    assert diagnostics == ()
    assert calibration is not None
    assert set(calibration.components) == {"context_single", "non_torch_single", "activation_ratio", "graphs"}
    assert calibration.components["non_torch_single"][0].expected == GIB // 4
    assert 0.98 < calibration.components["activation_ratio"][0].expected / 2**20 < 1.02
    assert write_calibration(calibration, ("Qwen/Qwen3-8B",)) == out.read_text()


def test_measured_overheads_take_the_place_of_constants(tmp_path: Path) -> None:
    out = tmp_path / "h100.yaml"
    run(tmp_path, LOG, "--out", str(out))
    calibration, _ = read_calibration(SourceText("h100.yaml", out.read_text()))
    assert calibration is not None
    overheads = calibrated(GPU_0_33, calibration)
    assert overheads.calibration == "h100.yaml"
    architecture = read_architecture(QWEN3_8B)
    before, after = (non_torch_growth(each, architecture, shape_of()) for each in (GPU_0_33, overheads))
    assert after.bytes.high < before.bytes.high
    assert "h100.yaml" in after.source
    assert overheads.graphs == GPU_0_33.graphs, "without a config nothing is known of graphs"


def test_several_logs_give_the_interval_between_them(tmp_path: Path) -> None:
    for name, figure in (("a", "0.20GiB"), ("b", "0.40GiB")):
        (tmp_path / name).write_text(LOG.replace("increase memory: 0.25GiB", f"increase memory: {figure}"))
    arguments = ["calibrate", str(tmp_path / "a"), str(tmp_path / "b"), "--gpu", "h100-80gb", "--format", "json"]
    result = json.loads(CliRunner().invoke(cli, arguments).output)
    growth = result["components"]["non_torch_single"]
    assert growth["count"] == 2
    assert growth["low"] < 0.2 * GIB < 0.4 * GIB < growth["high"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "no line `Initializing"),
        ("\x00\xff" * 50, "no line `Initializing"),
        (LOG.replace("Model loading took", "Loading took"), "no line `Model loading took"),
        (LOG + LOG.replace("v0.19.0", "v0.33.0"), "start-ups of 2 releases"),
        (LOG.replace("57.5 GiB", "40.5 GiB"), "unexplained"),
        (LOG.replace("v0.19.0", "v9.9"), "knows no release"),
    ],
)
def test_a_log_that_measures_nothing_is_refused(log: str, said: str, tmp_path: Path) -> None:
    result = run(tmp_path, log)
    assert result.exit_code == 1
    assert "E0213" in result.output
    assert said in result.output


def test_logs_of_two_releases_make_no_calibration(tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text(LOG.replace("v0.19.0", "v0.18.0"))
    result = run(tmp_path, LOG, str(tmp_path / "other.log"))
    assert "E0213" in result.output
    assert "several releases: 0.18.0, 0.19.0" in result.output


def test_a_log_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["calibrate", str(tmp_path / "none.log"), "--gpu", "l4"])
    assert "E0104" in result.output
    assert result.exit_code == 1, "trying again does not make one"


def test_no_release_is_guessed() -> None:
    with pytest.raises(LogError):
        read_log("Model loading took 15.27 GiB memory\nAvailable KV cache memory: 57.5 GiB\n")


@pytest.mark.parametrize(
    "text",
    [
        "components: 7",
        "engine: 0.33.0\ngpu: l4\ncomponents: {weights: {low: 1, expected: 2, high: 3, count: 1}}",
        "engine: 0.33.0\ngpu: l4\ncomponents: {graphs: {low: 3, expected: 2, high: 3, count: 1}}",
        "engine: 0.33.0\ngpu: l4\ncomponents: {graphs: {low: -3, expected: 2, high: 3, count: 1}}",
        "engine: 0.33.0\ngpu: l4\ncomponents: {graphs: {low: 1, expected: 2, high: 99999999999999999, count: 1}}",
        "engine: 0.33.0\ngpu: l4\ncomponents: {graphs: {low: 1, expected: 2, high: 3}}",
        "engine: 33\ngpu: [l4]\ncomponents: {}",
        "- a list",
        "{",
    ],
)
def test_a_file_that_is_no_calibration_is_a_diagnostic(text: str) -> None:
    calibration, diagnostics = read_calibration(SourceText("c.yaml", text))
    assert calibration is None
    assert diagnostics


def plan_with(folder: Path, engine: str) -> dict[str, Any]:
    for name in ("coder-solo-96gb.yaml", "coder-solo-96gb.lock.yaml"):
        shutil.copy(ROOT / "stacks" / name, folder / name)
    spec = folder / "coder-solo-96gb.yaml"
    lines = [engine if line.startswith("engine:") else line for line in spec.read_text().splitlines()]
    spec.write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(cli, ["explain", str(spec), "--format", "json"])
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_a_plan_says_which_calibration_it_rests_on(tmp_path: Path) -> None:
    log = LOG.replace("v0.19.0", "v0.33.0").replace("84 GiB total", "00 GiB total")
    (tmp_path / "server.log").write_text(log)
    out = tmp_path / "card.yaml"
    arguments = ["calibrate", str(tmp_path / "server.log"), "--gpu", "rtx-pro-6000", "--out", str(out)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    bare = plan_with(tmp_path, "engine: {vllm: 0.33.0}")
    assert [each["code"] for each in bare["diagnostics"]].count("W0201") == 1
    measured = plan_with(tmp_path, "engine: {vllm: 0.33.0, calibration: card.yaml}")
    assert "W0201" not in {each["code"] for each in measured["diagnostics"]}
    assert "card.yaml" in json.dumps(measured["plan"])


@pytest.mark.parametrize("named", ["none.yaml", "/etc", '"a\\0b"', "../../none"])
def test_a_calibration_that_cannot_be_read_is_told(named: str, tmp_path: Path) -> None:
    found = plan_with(tmp_path, f"engine: {{vllm: 0.33.0, calibration: {named}}}")
    assert {"E0212"} & {each["code"] for each in found["diagnostics"]} or not found["ok"]


# A start with four sequences, whose sampler takes far less than the table of embeddings.
FEW = LOG.replace("'max_num_seqs': 1024", "'max_num_seqs': 4").replace("increase: 2.21GiB", "increase: PEAKGiB")


@pytest.mark.parametrize(
    ("line", "peak", "used"),
    [
        ("INFO [backends.py:418] Compiling a graph for compile range (1, 8192) takes 9.31 s", "1.18", False),
        (
            "INFO [backends.py:311] Directly load the compiled graph(s) for compile range (1, 8192) from cache",
            "0.31",
            True,
        ),
        ("INFO [decorators.py:327] Directly load AOT compilation from path /cache/model", "0.31", True),
        ("INFO nothing of that", "1.18", False),
        ("INFO [backends.py:418] Compiling a graph for compile range (1, 8192) takes 9.31 s", "1.62", True),
    ],
)
def test_a_peak_that_may_be_of_compiling_is_not_taken_for_the_model_s(
    line: str, peak: str, used: bool, tmp_path: Path
) -> None:
    kv = 79.19 * 0.95 - 15.27 - 0.25 - float(peak)
    log = f"{FEW.replace('PEAK', peak)}{line}\n".replace("KV cache memory: 57.5 GiB", f"KV cache memory: {kv:.2f} GiB")
    result = run(tmp_path, log, "--config", str(tmp_path / "config.json"))
    assert result.exit_code == 0, result.output
    assert ("activation_ratio" in result.output) is used
    assert ("start once more with its cache" in result.output) is not used


def test_graphs_of_several_ranks_are_a_component_of_their_own(tmp_path: Path) -> None:
    log = LOG.replace("tensor_parallel_size=1", "tensor_parallel_size=2")
    out = tmp_path / "h100.yaml"
    assert run(tmp_path, log, "--config", str(tmp_path / "config.json"), "--out", str(out)).exit_code == 0
    calibration, _ = read_calibration(SourceText("h100.yaml", out.read_text()))
    assert calibration is not None
    assert {"graphs_shared", "context_parallel"} <= set(calibration.components)
    overheads = calibrated(GPU_0_33, calibration)
    assert overheads.graphs == GPU_0_33.graphs
    assert overheads.graphs_shared.each.high < GPU_0_33.graphs_shared.each.high
    assert overheads.context_nvlink == overheads.context_pcie


def test_a_measured_context_does_not_grow_with_the_card(tmp_path: Path) -> None:
    out = tmp_path / "h100.yaml"
    run(tmp_path, LOG, "--out", str(out))
    calibration, _ = read_calibration(SourceText("h100.yaml", out.read_text()))
    assert calibration is not None
    found = context_memory(calibrated(GPU_0_33, calibration), shape_of(multiprocessors=132)).bytes
    assert found == calibration.components["context_single"][0]


def test_quiet_the_text_is_alone_and_can_go_into_a_file(tmp_path: Path) -> None:
    """With the figures above it, `stackc calibrate … > FILE` made a file that no spec can name."""
    text = run(tmp_path, LOG, "-q").stdout
    assert read_calibration(SourceText("x.yaml", text)) == read_calibration(SourceText("x.yaml", written(tmp_path)))
    assert run(tmp_path, LOG, "-q", "--out", str(tmp_path / "again.yaml")).output == ""


def written(folder: Path) -> str:
    run(folder, LOG, "--out", str(folder / "out.yaml"))
    return (folder / "out.yaml").read_text()


def test_verbose_says_which_log_gave_which_figure(tmp_path: Path) -> None:
    other = LOG.replace("Qwen/Qwen3-8B", "a/b").replace("0.25GiB", "0.30GiB").replace("17.73GiB", "17.78GiB")
    (tmp_path / "other.log").write_text(other)
    lines = run(tmp_path, LOG, str(tmp_path / "other.log"), "-v").stdout.splitlines()
    figures = {}
    for model in ("Qwen/Qwen3-8B", "a/b"):
        at = next(index for index, line in enumerate(lines) if line.startswith(f"{model}, vLLM 0.19.0, 1 rank"))
        figures[model] = next(line.split()[1] for line in lines[at:] if "non_torch" in line)
    assert figures == {"Qwen/Qwen3-8B": "0.25", "a/b": "0.30"}
