"""`stackc cost`: what people and programs are told a stack costs, and what they may ask."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import cli
from tests.conftest import ROOT

COSTS = ROOT / "tests/cases/costs"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack of one service whose model others serve too, in a folder where nobody has prices of their own."""
    shutil.copytree(COSTS, tmp_path / "stacks")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return Path("stacks/chat-32b.yaml")


def told(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["cost", *map(str, arguments)])


def found(*arguments: str | Path) -> Any:
    result = told(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["stacks"]["chat-32b"]


def test_tokens_stand_beside_what_hosts_ask_for_the_same_requests(spec: Path) -> None:
    (service,) = found(spec)["services"]
    load, tokens = service["load"], service["per_million"]
    assert (load["prompt_tokens"], load["answer_tokens"]) == (1024, 256)
    assert load["is_all_that_runs"]
    assert load["output_tokens_per_second"]["low"] < load["output_tokens_per_second"]["high"]
    for each in (tokens["output_alone"], tokens["all_alike"], *tokens["in_the_ratio_of_hosts"].values()):
        assert 0 < each["low"] < each["high"], "a range, and never one number"
    assert service["hosted"]["model"] == "Qwen/Qwen3-32B"
    assert service["break_even"]["request"] == {"input": 1024, "output": 256}
    text = told(spec).stdout
    for words in (
        "a million tokens, USD",
        "123",
        "Qwen/Qwen3-32B",
        "hosts' median is dearer from",
        "of what it can do",
    ):
        assert words in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_other_requests_have_other_speeds(spec: Path) -> None:
    short, long = (found(spec)["services"][0], found(spec, "--input", "6000", "--output", "256")["services"][0])
    assert long["load"]["prompt_tokens"] == 6000
    assert long["load"]["requests_at_once"] < short["load"]["requests_at_once"]
    assert long["per_million"]["output_alone"]["low"] > short["per_million"]["output_alone"]["low"]


def test_requests_that_the_server_does_not_take_cost_nothing_that_is_known(spec: Path) -> None:
    (service,) = found(spec, "--input", "100000", "--output", "256")["services"]
    assert service["per_million"] is None
    assert service["load"] is None
    assert service["unknown"] == "a request has 8192 tokens at most"
    assert service["break_even"]["share_of_saturation"] is None
    assert "a request has 8192 tokens at most" in told(spec, "--input", "100000", "--output", "256").stdout


def test_half_busy_tokens_cost_twice_as_much_and_a_month_does_not(spec: Path) -> None:
    full, half = found(spec), found(spec, "--utilization", "0.5")
    assert full["total"] == half["total"]
    one, other = (each["services"][0]["per_million"]["output_alone"]["low"] for each in (full, half))
    assert other == pytest.approx(2 * one, rel=1e-4)


def test_hours_make_the_month(spec: Path) -> None:
    always, little = found(spec)["total"]["USD"], found(spec, "--hours", "73")["total"]["USD"]
    assert always["per_hour"] == little["per_hour"]
    assert always["per_month"]["low"] == pytest.approx(10 * little["per_month"]["low"])


def test_own_prices_win_and_are_not_compared_with_dollars(spec: Path) -> None:
    row = "{gpu: l40s, per_hour: 0.5, currency: EUR, kind: on-demand, date: 2026-11-09}"
    spec.with_name("models.yaml").write_text(f"prices: [{row}]\n")
    stack = found(spec)
    assert stack["total"] == {
        "EUR": {"per_hour": {"high": 1.0, "low": 1.0}, "per_month": {"high": 730.0, "low": 730.0}}
    }
    (service,) = stack["services"]
    assert service["currency"] == "EUR"
    assert service["per_million"] is not None
    assert service["break_even"] is None, "nothing is converted"
    assert "EUR" in told(spec).stdout


def test_a_machine_of_ones_own_costs_while_it_stands_still(spec: Path) -> None:
    row = (
        "{gpu: l40s, count: 2, currency: USD, purchase: 24000, lifetime_years: 4, load: 0.6, host_watts: 300, "
        "kwh_price: 0.3, pue: 1.2}"
    )
    spec.with_name("models.yaml").write_text(f"hardware: [{row}]\n")
    always, little = found(spec), found(spec, "--hours", "73")
    assert always["nodes"][0]["counted"] == "owned"
    dear, cheap = (each["total"]["USD"]["per_month"]["low"] for each in (always, little))
    assert cheap < dear < 10 * cheap
    tokens = [each["services"][0]["per_million"]["output_alone"]["low"] for each in (always, little)]
    assert tokens[1] > tokens[0], "fewer hours bear the same purchase"


def test_a_slip_in_a_price_stops_the_command_and_names_its_line(spec: Path) -> None:
    spec.with_name("models.yaml").write_text(
        "prices:\n  - {gpu: l40s, per_hour: 850, currency: EUR, kind: spot, date: 2026-11}\n"
    )
    result = told(spec)
    assert result.exit_code == 1
    assert "error[E0702]" in result.output
    assert "models.yaml:2:" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--provider", "Nobdy"], "no offer of Nobdy is known"),
        (["--input", "10"], "--input and --output are of the same requests"),
        (["--hours", "0"], "--hours"),
        (["--day", "today"], "--day"),
        (["--hours", "nan"], "it is no number"),
        (["--utilization", "1.5"], "--utilization"),
    ],
)
def test_what_cannot_be_asked_is_told(spec: Path, arguments: list[str], words: str) -> None:
    result = told(spec, *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_the_same_day_says_the_same_on_every_other(spec: Path) -> None:
    text = told(spec, "--day", "2028-11-30").stdout
    assert "2026-10     2 years" in text
    assert "as of 2026-07-02, 2 years old" in text
    assert told(spec, "--day", "2028-11-30").stdout == text


def test_a_provider_is_counted_alone(spec: Path) -> None:
    (node,) = found(spec, "--provider", "runpod")["nodes"]
    assert {offer["provider"] for each in node["offers"] for offer in each["offers"]} == {"RunPod"}


def test_a_stack_without_gpus_has_no_price_and_says_so() -> None:
    result = told(ROOT / "stacks/tiny-cpu.yaml")
    assert result.exit_code == 0
    assert "no price of its nodes is known" in result.stdout


def test_every_card_has_its_prices_or_is_named_as_without() -> None:
    result = CliRunner().invoke(cli, ["gpus", "--prices", "--sources"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in GPUS)
    assert "https://github.com/datareceipts/data-receipts" in result.stdout
    answer = json.loads(CliRunner().invoke(cli, ["gpus", "--prices", "--format", "json"]).stdout)
    assert {each["name"] for each in answer["gpus"]} == set(GPUS)
    offers = [offer for gpu in answer["gpus"] for price in gpu["prices"] for offer in price["offers"]]
    assert all(offer["source"] for offer in offers)


def test_a_service_bears_the_gpus_that_it_runs_on(spec: Path) -> None:
    (whole,) = found(spec)["services"]
    assert (whole["part_of_node"], whole["services_on_its_gpus"]) == (1, 1)
    spec.write_text(spec.read_text().replace("count: 2", "count: 4"))
    (half,) = found(spec)["services"]
    assert half["part_of_node"] == 0.5
    assert half["per_million"] == whole["per_million"], "two idle GPUs beside it are somebody else's"


def test_services_that_share_gpus_are_told_to_bear_them_alone() -> None:
    result = told(ROOT / "stacks/team-96gb.yaml")
    assert "each as if it bore the cost of its GPUs alone, where up to 3 services run" in result.stdout.replace(
        "\n  ", " "
    )


def test_cards_that_nobody_lets_are_left_to_prices_of_ones_own() -> None:
    result = told(ROOT / "stacks/coder-2x48gb.yaml")
    assert result.exit_code == 0
    assert "nothing is counted, until a `models.yaml`" in result.stdout.replace("\n    ", " ")
    assert "what a token costs is not known: no price of its node is known" in result.stdout
