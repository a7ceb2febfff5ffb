"""The README: the figures of the plan, and commands that are right."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace

import pytest

from compiler.plan.ir import Plan
from compiler.targets.readme import emit_readme, format_signed_gib
from compiler.units import GIB
from tests.unit.plan_samples import COMMIT, one_on_cpu, one_on_two_gpus, two_on_one_gpu

PLANS = [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


def text(plan: Plan) -> str:
    (artifact,) = emit_readme(plan)
    return artifact.text


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_commands_are_shell(plan: Plan) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", text(plan), re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_every_table_has_as_many_cells_in_every_row(plan: Plan) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", text(plan), re.MULTILINE)
    assert len(tables) == len(plan.devices) + len(plan.services) + 3
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_it_reads_as_one_page(plan: Plan) -> None:
    assert text(plan).startswith("<!-- Written by `stackc compile`. DO NOT EDIT")
    assert "\n\n\n" not in text(plan)
    assert text(plan).endswith("|\n")


def test_the_ledger_is_in_gib_with_two_decimals() -> None:
    page = text(two_on_one_gpu())
    assert "| `coder` | CUDA context | 0.25 | 0.50 | estimate | measured on other cards |" in page
    assert "| – | left | 17.00 | 16.50 |  |  |" in page


@pytest.mark.parametrize(("size", "shown"), [(GIB, "1.00"), (-GIB // 2, "−0.50"), (0, "0.00")])
def test_what_is_missing_has_a_minus(size: int, shown: str) -> None:
    assert format_signed_gib(size) == shown


def test_what_runs_where() -> None:
    page = text(two_on_one_gpu())
    assert f"| `coder` | `http://127.0.0.1:8001` | `org/coder-awq` | `{COMMIT}` | awq |" in page
    assert "| 8193 | 16 | 131072 | 8.00 |" in page


def test_unconfirmed_facts_are_named() -> None:
    assert "- `general`: the full commit: prefetch takes `main`" in text(two_on_one_gpu())
    assert "Every fact about the models was confirmed" in text(one_on_cpu())


def test_commands_name_the_plans_places() -> None:
    page = text(two_on_one_gpu())
    assert "sudo /opt/vllm/bin/pip install vllm==0.33.0" in page
    assert "sudo cp -rT generated/duo /opt/stackc/duo" in page
    assert "sudo systemctl enable --now duo.target" in page
    alias = next(line for line in page.splitlines() if line.startswith("alias"))
    assert "HF_HOME=/var/lib/stackc/duo/hf" in shlex.split(alias)[1]


def test_only_what_was_compiled_is_explained() -> None:
    page = text(replace(two_on_one_gpu(), targets=("scripts",)))
    assert "systemctl" not in page
    assert "docker" not in page
    assert "### By hand" in page


def test_no_secret_is_asked_for_that_the_stack_does_not_have() -> None:
    page = text(one_on_two_gpus())
    assert "api-key" not in page
    assert "hf-token" not in page
    assert "everyone who reaches a port may use the server" in page


def test_other_places_for_vllm_are_not_guessed_at() -> None:
    plan = two_on_one_gpu()
    page = text(replace(plan, paths=replace(plan.paths, vllm="/usr/local/lib/vllm-serve")))
    assert "pip install" not in page
    assert "`/usr/local/lib/vllm-serve --version` must say 0.33.0" in page
