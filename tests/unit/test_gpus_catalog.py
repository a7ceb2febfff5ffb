"""A card is found under the names that people and drivers give it, and never taken for another one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from compiler.catalog.gpus import GPUS, same_gpus
from compiler.cli.main import cli


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("RTX 4090", ("rtx-4090",)),
        ("NVIDIA GeForce RTX 4090", ("rtx-4090",)),
        ("4090", ("rtx-4090",)),
        ("NVIDIA A100-SXM4-80GB", ("a100-80gb",)),
        ("NVIDIA H100 80GB HBM3", ("h100-80gb",)),
        ("A100", ("a100-40gb", "a100-80gb")),
        ("RTX_PRO_6000_Blackwell", ("rtx-pro-6000",)),
        ("NVIDIA RTX 6000 Ada Generation", ("rtx-6000-ada",)),
        ("RTX A6000", ("a6000",)),
        ("Tesla T4", ("t4",)),
    ],
)
def test_other_spellings_of_a_card(written: str, meant: tuple[str, ...]) -> None:
    assert same_gpus(written) == meant


@pytest.mark.parametrize("name", ["rtx-4090-laptop", "a2", "v620", "l4s", "rtx-9999", "6000", "h100-nvl-94", "rtx", ""])
def test_another_card_is_never_offered(name: str) -> None:
    assert same_gpus(name) == ()


def test_every_card_is_known_by_its_own_names() -> None:
    for name, gpu in GPUS.items():
        assert name in same_gpus(name.upper().replace("-", " "))
        assert name in same_gpus(gpu.title)


def test_a_card_that_is_not_in_the_catalog_is_asked_about_by_its_figures() -> None:
    words = [
        "fit",
        "Qwen/Qwen2.5-7B-Instruct",
        "--gpu",
        "my-card",
        "--memory",
        "15.6GiB",
        "--compute-capability",
        "8.9",
    ]
    asked = CliRunner().invoke(cli, [*words, "--quantization", "awq"])
    assert asked.exit_code == 0, asked.output
    assert "device 0, 15.60 GiB (declared in the spec)" in asked.output
