"""What judges estimates of speed: cases that are read or counted, constants that are found, points that correct."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed_model import judge, say, summary
from benchmarks.speeds.cases import SpeedCase, UnansweredError, read_cases
from benchmarks.speeds.fit import fit
from benchmarks.speeds.folds import KEYS, held_out
from benchmarks.speeds.parameters import replaced
from benchmarks.speeds.points import correct, estimates, point_figures
from compiler.speed.cards import CARDS
from compiler.speed.constants import FITTED, CardClass, Constants
from compiler.speed.estimate import Mark
from compiler.speed.load import Load, Pool, Regime
from compiler.speed.measured import MeasuredSpeed, Served, corrected, nearest
from compiler.speed.speed import predict
from compiler.units import GIB
from tests.unit.speed_shapes import dense

ROW: dict[str, Any] = {
    "gpu": "H100-SXM", "unit": "someone | llama3", "era": "v1async", "tp": 1, "regime": "closed_loop",
    "concurrency": 8, "input_len": 1024, "output_len": 256, "compute": "bf16", "kv_bytes": 2, "lockstep": True,
    "bytes_per_param": {"attn": 2, "ffn": 2, "head": 2},
    "measured": {"tpot_ms": 9.0, "ttft_ms": 60.0, "output_tok_s": 850.0, "e2e_ms": None},
    "arch": {
        "name": "llama3", "layers": 32, "hidden": 4096, "attn_params": 1342177280, "ffn_params": 5637144576,
        "head_params": 525336576, "kv_heads": 8,
        "kv_groups": [{"layers": 32, "elements_per_token": 2048, "window": None, "q_dim": 4096}],
    },
}  # fmt: skip


def read(folder: Path, *lines: object) -> list[SpeedCase | UnansweredError]:
    path = folder / "cases.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return list(read_cases(path))


def test_a_case_is_read_with_what_it_leaves_out(tmp_path: Path) -> None:
    bare = {key: value for key, value in ROW.items() if key not in ("era", "kv_bytes", "bytes_per_param", "lockstep")}
    for found in read(tmp_path, ROW, bare, ROW | {"max_num_seqs": None, "num_prompts": None, "power_limit_w": None}):
        assert isinstance(found, SpeedCase)
        assert found.card is CARDS["h100-80gb"]
        assert found.measured.keys() == {"tpot_ms", "ttft_ms", "output_tok_s"}


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[" * 100_000,
        "[1]",
        "null",
        {},
        ROW | {"gpu": "H900"},
        ROW | {"gpu": None},
        ROW | {"era": "v9"},
        ROW | {"compute": "ternary"},
        ROW | {"regime": "by hand"},
        ROW | {"concurrency": None},
        ROW | {"tp": 0},
        ROW | {"tp": -2},
        ROW | {"input_len": "many"},
        ROW | {"output_len": 1e300},
        ROW | {"measured": {"tpot_ms": None}},
        ROW | {"measured": {"tpot_ms": float("nan")}},
        ROW | {"arch": None},
        ROW | {"arch": ROW["arch"] | {"kv_groups": [7]}},
        ROW | {"arch": ROW["arch"] | {"hidden": 10**40}},
    ],
)
def test_what_cannot_be_answered_is_counted(row: object, tmp_path: Path) -> None:
    bad, good = read(tmp_path, row, ROW)
    assert isinstance(bad, UnansweredError)
    assert isinstance(good, SpeedCase)


def test_less_power_multiplies_more_slowly(tmp_path: Path) -> None:
    usual, limited = read(tmp_path, ROW | {"gpu": "RTX-3090"}, ROW | {"gpu": "RTX-3090", "power_limit_w": 200})
    assert isinstance(usual, SpeedCase)
    assert isinstance(limited, SpeedCase)
    assert limited.card.bf16 < usual.card.bf16
    assert limited.card.bandwidth == usual.card.bandwidth


def measured_by(constants: Constants, factor: float = 1.0) -> list[SpeedCase]:
    """Cases as a machine of these constants would have them."""
    cases = []
    for number, (card, concurrency) in enumerate((c, n) for c in ("a100-80gb", "h100-80gb") for n in (1, 2, 8, 32)):
        regime = Regime.SINGLE if concurrency == 1 else Regime.CLOSED
        load, pool = Load(regime, 1024, 256, concurrency), Pool(40 * GIB, 256)
        speed = predict(dense(), CARDS[card], 1, load, pool, constants=constants)
        assert speed is not None
        values = {name: each.expected for name, each in estimates(speed).items()}
        values = {name: value / factor if name == "output_tok_s" else value * factor for name, value in values.items()}
        cases.append(
            SpeedCase(card, f"source{number} | llama3", "v1async", dense(), CARDS[card], 1, load, pool, values)
        )
    return cases


def test_the_fit_finds_what_made_the_measurements() -> None:
    path = ("classes", CardClass.AMPERE_HBM, "bandwidth")
    made = replaced(FITTED, {path: 0.6})
    found = fit([replace(case, unit=f"{n} | {case.unit}") for n in range(12) for case in measured_by(made)])
    # The priors hold it back, and the overhead of layers bears a part.
    assert found.classes[CardClass.AMPERE_HBM].bandwidth < 0.7
    speeds = [(case, say(case, found) or pytest.fail("no answer")) for case in measured_by(made)]
    assert max(verdict.error for case, speed in speeds for verdict in judge(case, speed)) < 10
    # What no case depends on stays what it should be by physics.
    assert found.classes[CardClass.TURING].bandwidth == pytest.approx(0.82)


def test_a_case_is_judged_by_constants_that_saw_nothing_like_it() -> None:
    cases = measured_by(FITTED)
    found = list(held_out(cases, "card", folds=2))
    assert {id(case) for case, _ in found} == {id(case) for case in cases}
    ampere = next(constants for case, constants in found if case.gpu == "a100-80gb")
    assert ampere.classes[CardClass.AMPERE_HBM].bandwidth == pytest.approx(0.82)
    assert set(KEYS) == {"unit", "source", "family", "card"}


def test_the_last_line_counts_errors_and_intervals() -> None:
    cases = measured_by(FITTED)
    verdicts = [verdict for case in cases for verdict in judge(case, say(case) or pytest.fail("no answer"))]
    found = summary(verdicts)
    assert found["speed"] == {"n": 24, "median": 0.0, "p90": 0.0, "coverage": 100.0}
    assert found["by_group"] == {"n": 8, "median": 0.0, "coverage": 100.0}
    assert (found["single_stream"]["n"], found["closed_loop"]["n"], found["ttft"]["n"]) == (6, 18, 8)


def test_one_point_of_a_slower_machine_corrects_its_other_loads() -> None:
    cases = [replace(case, unit="one | llama3") for case in measured_by(FITTED, factor=1.25)]
    found = point_figures(list(correct((case, say(case) or pytest.fail("no answer")) for case in cases)))
    assert found["before"] == pytest.approx(20, abs=0.1)
    assert found["after"] < 0.5
    assert found["coverage"] == 100


def point(concurrency: int, recorded: str = "2026-11-30", tpot_ms: float = 20.0) -> MeasuredSpeed:
    return MeasuredSpeed("s", Served("m", "none", 1), concurrency, 1024, 256, 100.0, tpot_ms, 180.0, recorded)


def test_what_was_measured_itself_is_said_as_it_was_measured() -> None:
    one, pool = point(4), Pool(40 * GIB, 256)

    def predicted(load: Load) -> Any:
        return predict(dense(), CARDS["t4"], 1, load, pool)

    said = predicted(one.load)
    found = corrected(said, one.load, (one,), predicted)
    assert found.ttft.expected == pytest.approx(0.1)
    whole = found.tpot.expected / 0.02 * (180 / found.output_rate.expected)
    assert whole == pytest.approx(1)
    assert found.ground.mark is Mark.CALIBRATED
    assert found.tpot.high / found.tpot.low < said.tpot.high / said.tpot.low
    assert corrected(said, one.load, (), predicted) is said


def test_the_load_that_is_most_alike_corrects_and_of_two_the_newer() -> None:
    load = Load(Regime.CLOSED, 1024, 256, 10)
    assert nearest([point(1), point(8), point(64)], load) == point(8)
    assert nearest([point(8, "2026-11-01"), point(8, "2026-11-30")], load) == point(8, "2026-11-30")
    assert nearest([], load) is None
