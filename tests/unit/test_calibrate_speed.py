"""Calibrated speeds: what is read of `bin/bench`, what is refused, and what a plan makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compiler.calibration.file import read_calibration
from compiler.cli.main import cli
from compiler.diagnostics import SourceText
from tests.unit.test_calibrate import plan_with

CARD = "RTX PRO 6000 Blackwell"


def baseline(**load: int) -> dict[str, Any]:
    """As `bin/bench` writes it (tests/unit/test_scripts_bench.py runs it)."""
    figures = {"output_throughput": 100.0, "median_ttft_ms": 250.5, "median_tpot_ms": 30.25}
    return {
        "schema": 1,
        "service": "s0",
        "revision": "one",
        "release": {"model": "org/m0", "commit": "", "quantization": "none", "vllm": "0.33.0", "settings": []},
        "conditions": {
            "load": {"requests": 50, "concurrency": 4, "input_tokens": 1024, "output_tokens": 128, **load},
            "route": "server",
            "hardware": {"kind": "gpu", "gpu": CARD, "mig": None, "devices": 1},
        },
        "metrics": {name: {"median": value, "spread": 0.0, "values": [value]} for name, value in figures.items()},
        "recorded": "2026-11-30T10:00:00+00:00",
    }


def calibrate(folder: Path, data: Any, *more: str) -> Result:
    path = folder / "bench.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return CliRunner().invoke(cli, ["calibrate", "--speed", str(path), *more])


def test_what_was_measured_becomes_a_file_that_reads_back(tmp_path: Path) -> None:
    done = calibrate(tmp_path, baseline(), "--out", str(tmp_path / "card.yaml"))
    assert done.exit_code == 0, done.output
    found, problems = read_calibration(SourceText("card.yaml", (tmp_path / "card.yaml").read_text()))
    assert found is not None
    assert not problems
    (speed,) = found.speeds
    assert (found.gpu, found.release, found.components) == ("rtx-pro-6000", "0.33.0", {})
    assert (speed.served.model, speed.ttft_ms, speed.tpot_ms, speed.output_rate) == ("org/m0", 250.5, 30.25, 100)
    assert "name it in a spec" in done.output


def test_programs_get_it_as_json(tmp_path: Path) -> None:
    done = calibrate(tmp_path, baseline(), "--format", "json")
    (speed,) = json.loads(done.stdout)["speed"]
    assert (speed["concurrency"], speed["tpot_ms"]) == (4, 30.25)


def changed(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("schema", to=2), "no file of `bin/bench`"),
        (changed("release", to=[]), "`release.vllm` is missing or odd"),
        (changed("conditions", "route", to="gateway"), "through the gateway"),
        (changed("conditions", "hardware", "mig", to="1g.12gb"), "a slice"),
        (changed("conditions", "hardware", "kind", to="cpu"), "without GPUs"),
        (changed("conditions", "load", "output_tokens", to=0), "writes no text"),
        (changed("conditions", "load", "concurrency", to=True), "`conditions.load.concurrency` is missing or odd"),
        (changed("metrics", "median_tpot_ms", "median", to=0), "`metrics.median_tpot_ms.median` is missing or odd"),
        (changed("metrics", "output_throughput", "median", to=1e300), "output_throughput.median` is missing or odd"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused(change: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    data = baseline()
    change(data)
    done = calibrate(tmp_path, data)
    assert done.exit_code == 1
    assert "E0213" in done.output
    assert said in done.output


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"schema": NaN}'])
def test_what_is_no_such_file_is_a_diagnostic(text: str, tmp_path: Path) -> None:
    done = calibrate(tmp_path, text)
    assert done.exit_code == 1
    assert "E0213" in done.output


def test_a_card_that_nobody_knows_must_be_named(tmp_path: Path) -> None:
    data = baseline()
    data["conditions"]["hardware"]["gpu"] = "of our own"
    assert "--gpu" in calibrate(tmp_path, data).output
    done = calibrate(tmp_path, data, "--gpu", "rtx-5090")
    assert done.exit_code == 1
    assert "of our own" in done.output


def test_without_anything_to_read_the_usage_is_told() -> None:
    done = CliRunner().invoke(cli, ["calibrate", "--gpu", "rtx-5090"])
    assert done.exit_code == 2
    assert "--speed" in done.output


@pytest.mark.parametrize(
    "text",
    ["speed: 1", "speed: [1]", "speed: [{service: a}]", "speed: [{service: '', model: a}]"],
)
def test_a_file_with_a_broken_speed_is_a_diagnostic(text: str) -> None:
    source = SourceText("card.yaml", f'engine: {{vllm: "0.33.0"}}\ngpu: rtx-5090\ncomponents: {{}}\n{text}\n')
    found, problems = read_calibration(source)
    assert found is None
    assert [each.code for each in problems] == ["E0212"]
    assert "speed" in problems[0].message


def speeds_of(plan: dict[str, Any]) -> dict[str, Any]:
    (speed,) = plan["plan"]["speed"]
    return dict(speed)


def test_a_plan_takes_the_factor_and_overheads_stay_what_they_were(tmp_path: Path) -> None:
    bare = plan_with(tmp_path, "engine: {vllm: 0.33.0}")
    model = bare["plan"]["services"][0]["model"]
    data = baseline()
    data["release"] |= {"model": model["repository"] or model["folder"], "quantization": model["quantization"]}
    assert calibrate(tmp_path, data, "--out", str(tmp_path / "card.yaml")).exit_code == 0
    measured = plan_with(tmp_path, "engine: {vllm: 0.33.0, calibration: card.yaml}")
    # No start-up was measured.
    assert [each["code"] for each in measured["diagnostics"]].count("W0201") == 1
    before, after = (speeds_of(each)["alone"] for each in (bare, measured))
    assert after["mark"] == "measured on this server"
    assert after["reasons"] == ["4 at once, 2026-11-30"]
    old, new = before["request_tokens_per_second"], after["request_tokens_per_second"]
    assert new["expected"] != old["expected"]
    assert new["high"] / new["low"] < old["high"] / old["low"]


def test_a_measurement_of_another_model_changes_nothing(tmp_path: Path) -> None:
    assert calibrate(tmp_path, baseline(), "--out", str(tmp_path / "card.yaml")).exit_code == 0
    bare = plan_with(tmp_path, "engine: {vllm: 0.33.0}")
    other = plan_with(tmp_path, "engine: {vllm: 0.33.0, calibration: card.yaml}")
    assert speeds_of(bare) == speeds_of(other)
