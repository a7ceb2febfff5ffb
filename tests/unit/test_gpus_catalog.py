"""A card is found under the names that people and drivers give it, and never taken for another one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from compiler.catalog.hardware.gpus import GPUS, Gpu, next_larger, same_gpus
from compiler.cli.main import cli
from compiler.units import GIB, MIB
from tests.conftest import WIDE

# Names as drivers print them, and what a driver calls another card that shares words with one of the catalog.
PRINTED = {
    "NVIDIA GeForce RTX 2080 Ti": ("rtx-2080-ti",),
    "NVIDIA GeForce RTX 3060": ("rtx-3060-12gb",),
    "NVIDIA GeForce RTX 3070": ("rtx-3070",),
    "NVIDIA GeForce RTX 3080": ("rtx-3080-10gb", "rtx-3080-12gb"),
    "NVIDIA GeForce RTX 3080 Ti": ("rtx-3080-ti",),
    "NVIDIA GeForce RTX 3090": ("rtx-3090",),
    "NVIDIA GeForce RTX 3090 Ti": ("rtx-3090-ti",),
    "NVIDIA GeForce RTX 4060": ("rtx-4060",),
    "NVIDIA GeForce RTX 4060 Ti": ("rtx-4060-ti-16gb",),
    "NVIDIA GeForce RTX 4070": ("rtx-4070",),
    "NVIDIA GeForce RTX 4070 SUPER": ("rtx-4070-super",),
    "NVIDIA GeForce RTX 4070 Ti": ("rtx-4070-ti",),
    "NVIDIA GeForce RTX 4070 Ti SUPER": ("rtx-4070-ti-super",),
    "NVIDIA GeForce RTX 4080": ("rtx-4080",),
    "NVIDIA GeForce RTX 4080 SUPER": ("rtx-4080-super",),
    "NVIDIA GeForce RTX 4090": ("rtx-4090",),
    "NVIDIA GeForce RTX 5060 Ti": ("rtx-5060-ti-16gb",),
    "NVIDIA GeForce RTX 5070": ("rtx-5070",),
    "NVIDIA GeForce RTX 5070 Ti": ("rtx-5070-ti",),
    "NVIDIA GeForce RTX 5080": ("rtx-5080",),
    "NVIDIA GeForce RTX 5090": ("rtx-5090",),
    "Quadro RTX 6000": ("quadro-rtx-6000",),
    "Quadro RTX 8000": ("quadro-rtx-8000",),
    "NVIDIA RTX A2000 12GB": ("a2000-12gb",),
    "NVIDIA RTX A4000": ("a4000",),
    "NVIDIA RTX A4500": ("a4500",),
    "NVIDIA RTX A5000": ("a5000",),
    "NVIDIA RTX A6000": ("a6000",),
    "NVIDIA RTX 2000 Ada Generation": ("rtx-2000-ada",),
    "NVIDIA RTX 4000 Ada Generation": ("rtx-4000-ada",),
    "NVIDIA RTX 4500 Ada Generation": ("rtx-4500-ada",),
    "NVIDIA RTX 5000 Ada Generation": ("rtx-5000-ada",),
    "NVIDIA RTX 6000 Ada Generation": ("rtx-6000-ada",),
    "NVIDIA RTX PRO 4000 Blackwell": ("rtx-pro-4000",),
    "NVIDIA RTX PRO 4500 Blackwell Server Edition": ("rtx-pro-4500",),
    "NVIDIA RTX PRO 5000 Blackwell": ("rtx-pro-5000",),
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": ("rtx-pro-6000",),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": ("rtx-pro-6000",),
    "Tesla T4": ("t4",),
    "Tesla V100-SXM2-16GB": ("v100-16gb",),
    "Tesla V100-PCIE-32GB": ("v100-32gb",),
    "NVIDIA A10": ("a10",),
    "NVIDIA A10G": ("a10g",),
    "NVIDIA A30": ("a30",),
    "NVIDIA A40": ("a40",),
    "NVIDIA L4": ("l4",),
    "NVIDIA L40": ("l40",),
    "NVIDIA L40S": ("l40s",),
    "NVIDIA A100-PCIE-40GB": ("a100-40gb",),
    "NVIDIA A100-SXM4-80GB": ("a100-80gb",),
    "NVIDIA A100 80GB PCIe": ("a100-80gb",),
    "NVIDIA H100 80GB HBM3": ("h100-80gb",),
    "NVIDIA H100 PCIe": ("h100-pcie",),
    "NVIDIA H100 NVL": ("h100-nvl",),
    "NVIDIA H20": ("h20",),
    "NVIDIA H200": ("h200",),
    "NVIDIA H200 NVL": ("h200-nvl",),
    "NVIDIA B200": ("b200",),
    "NVIDIA GB200": ("gb200",),
    "NVIDIA B300 SXM6 AC": ("b300",),
    "NVIDIA GB300": ("gb300",),
    "NVIDIA GB10": ("gb10",),
    "AMD Instinct MI300X": ("mi300x",),
}
OTHERS = (
    "NVIDIA GeForce RTX 4070 Laptop GPU",
    "NVIDIA GeForce RTX 4070 Ti SUPER Laptop GPU",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA RTX 4000 SFF Ada Generation",
    "NVIDIA RTX 5000 Ada Generation Laptop GPU",
    "NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU",
    "Quadro RTX 5000",
    "NVIDIA A2",
    "NVIDIA A100X",
    "NVIDIA L20",
    "Tesla V100S-PCIE-32GB",
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *PRINTED.items(),
        ("RTX 4090", ("rtx-4090",)),
        ("4070ti", ("rtx-4070-ti",)),
        ("RTX_PRO_6000_Blackwell", ("rtx-pro-6000",)),
        ("A100", ("a100-40gb", "a100-80gb")),
        ("V100", ("v100-16gb", "v100-32gb")),
    ],
)
def test_other_spellings_of_a_card(written: str, meant: tuple[str, ...]) -> None:
    assert same_gpus(written) == meant


NOBODY = [
    "rtx-4090-laptop",
    "a2",
    "v620",
    "l4s",
    "rtx-9999",
    "6000",
    "30",
    "40",
    "h2",
    "h100-nvl-94",
    "rtx",
    "pcie",
    "",
]


@pytest.mark.parametrize("name", [*NOBODY, *OTHERS])
def test_another_card_is_never_offered(name: str) -> None:
    assert same_gpus(name) == ()


def test_the_names_of_every_card_are_tried() -> None:
    assert {name for meant in PRINTED.values() for name in meant} | {"gh200-96gb"} == GPUS.keys()


def test_preflight_takes_no_card_for_another(scripts: SimpleNamespace) -> None:
    """Two cards with words in common, such as `4070` and `4070 Ti`, may have the same memory and capability."""
    forms = {"h100-80gb": {"h100-pcie"}}  # whose plan also serves for
    for printed, meant in PRINTED.items():
        accepting = {name for name, gpu in GPUS.items() if scripts.gpu._is_called(printed, gpu.product)}
        same_words = {name for name in GPUS if GPUS[name].product in {GPUS[each].product for each in meant}}
        wider = {name for name, others in forms.items() if others & set(meant)}
        assert accepting == same_words | wider, printed
    for printed in OTHERS:
        assert not [gpu.name for gpu in GPUS.values() if scripts.gpu._is_called(printed, gpu.product)], printed


def test_no_card_is_refused_for_what_nvidia_smi_counts_more(scripts: SimpleNamespace) -> None:
    """Without ECC nvidia-smi's total is nearly the number on the box, and CUDA's may have been counted with it."""
    boxes = {"quadro-rtx-6000": 24, "quadro-rtx-8000": 48, "a2000-12gb": 12, "a4000": 16, "a4500": 20, "a5000": 24}
    boxes |= {"rtx-2000-ada": 16, "rtx-4000-ada": 20, "rtx-4500-ada": 24, "rtx-5000-ada": 32, "rtx-6000-ada": 48}
    boxes |= {"rtx-3070": 8, "rtx-4060": 8, "rtx-3080-10gb": 10, "rtx-5070": 12, "a6000": 48, "t4": 16}
    for name, box in boxes.items():
        assert GPUS[name].memory < box * GIB < GPUS[name].memory * scripts.gpu.LARGEST_SURPLUS, name
    # And a card that differs in its memory alone is found out by it.
    assert GPUS["rtx-3080-10gb"].memory * scripts.gpu.LARGEST_SURPLUS < 12 * GIB


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_a_total_is_what_is_left_of_the_box(gpu: Gpu) -> None:
    """Less than the box by what drivers keep, and a sixteenth for ECC: never the round number itself."""
    assert gpu.memory % GIB or gpu.name in ("gh200-96gb", "h20", "h100-nvl")  # measured: 95.0, 95.00 and 93.00
    assert gpu.is_estimated == gpu.memory_source.startswith("estimate")
    assert "Windows" not in gpu.memory_source
    lost = re.search(r"(\d+) MiB by nvidia-smi less (\d+) MiB", gpu.memory_source)
    if lost is not None:
        assert 0 <= (int(lost[1]) - int(lost[2])) * MIB - gpu.memory < 0.01 * GIB


def test_the_list_fits_a_terminal_and_says_more_when_asked() -> None:
    listed = CliRunner().invoke(cli, ["gpus"]).output
    assert max(map(len, listed.splitlines())) <= 80
    assert all(re.search(rf"^{name} +[\d.]+ GiB", listed, re.MULTILINE) for name in GPUS)
    assert "CUDA reports" not in listed
    assert "CUDA reports 23.52 to 23.65 GiB" in CliRunner().invoke(cli, ["gpus", "--sources"], env=WIDE).output


def test_a_card_of_an_older_generation_is_suggested_last() -> None:
    larger = [gpu.name for gpu in next_larger(GPUS["l4"].memory, (8, 9))]
    assert larger.index("rtx-4090") < larger.index("b300") < larger.index("quadro-rtx-8000")
    assert not {"v100-32gb", "mi300x", "l4"} & set(larger)


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
    asked = CliRunner().invoke(cli, [*words, "--quantization", "awq", "-v"])
    assert asked.exit_code == 0, asked.output
    assert "device 0, 15.60 GiB (declared in the spec)" in asked.output
