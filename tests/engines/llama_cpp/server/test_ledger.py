"""The ledger of a compiled plan against the buffers of a real server that is started with the plan's own words.

The cards are stand-ins with CUDA's rules of memory (fake_cards.cpp); their figures are rounded to hundredths of a MiB.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.engines.interface.launch import Argument
from compiler.engines.llama_cpp.calibrate.startup_log import read_log
from compiler.engines.llama_cpp.calibrate.startup_record import StartupLog
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from tests.engines.llama_cpp.random_encoders import EMBEDDERS, RERANKERS
from tests.engines.llama_cpp.random_models import DECODERS
from tests.engines.llama_cpp.server.buffers import check_buffers
from tests.engines.llama_cpp.server.running import Running, serve, start

pytestmark = pytest.mark.engine

Models = Callable[[str], Path]
Cards = Callable[[str], dict[str, str]]

_CPU = "{cpu: {memory: 8GiB}}"
_ONE, _TWO = (f"{{gpus: {{model: rtx-4090, count: {count}}}, memory: 8GiB}}" for count in (1, 2))
_POOLING = {**EMBEDDERS, **RERANKERS}


def compiled(model: Path, folder: Path, node: str, family: str, *keys: str) -> Plan:
    """The plan of one service."""
    name = family.partition("-")[0]
    task = "embed" if name in EMBEDDERS else "score" if name in RERANKERS else "chat"
    context = () if any("context: " in key for key in keys) else ("context: 2K",)
    service = ", ".join((f"model: {model}", f"task: {task}", "concurrency: 3", "port: 18080", *context, *keys))
    spec = folder / "tiny.yaml"
    lines = (
        "stack: tiny",
        "engine: {llama.cpp: b10434}",
        f"nodes: {{home: {node}}}",
        f"services: {{tiny: {{{service}}}}}",
    )
    spec.write_text("\n".join((*lines, "targets: [scripts]")))
    locked = CliRunner().invoke(cli, ["lock", str(spec)])
    assert locked.exit_code == 0, locked.output
    stack, diagnostics = compile_stack(spec, spec.name)
    assert stack is not None, diagnostics
    return stack.plan


def words(arguments: tuple[Argument, ...], *, cards: int = 0) -> tuple[str, ...]:
    """The plan's words, but for its address; the stand-ins have to be named."""
    said: list[str] = []
    for each in arguments:
        if each.flag not in ("--host", "--port"):
            said += [each.flag, *((each.value,) if isinstance(each.value, str) else each.value or ())]
    if cards:
        said += ["--device", ",".join(f"CUDA{index}" for index in range(cards))]
    return tuple(said)


def reserved(running: Running) -> StartupLog:
    """The log up to where all buffers are taken."""
    deadline = time.monotonic() + 30
    while "sched copies = " not in running.log:
        assert running.server.process.poll() is None, running.log[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return read_log(running.log)


@pytest.mark.parametrize("family", sorted({**DECODERS, **_POOLING}))
def test_main_memory_holds_what_the_plan_says(family: str, model: Models, tmp_path: Path) -> None:
    plan = compiled(model(family), tmp_path, _CPU, family)
    with start(model(family), tmp_path / "log", *words(plan.services[0].arguments)) as running:
        check_buffers(plan, "tiny", reserved(running))


@pytest.mark.parametrize("family", sorted({**DECODERS, **_POOLING}))
def test_a_card_holds_what_the_plan_says(family: str, model: Models, cards: Cards, tmp_path: Path) -> None:
    wide = model(f"{family}-wide")
    plan = compiled(wide, tmp_path, _ONE, family)
    said = words(plan.services[0].arguments, cards=1)
    with start(wide, tmp_path / "log", *said, environment=cards("24000")) as running:
        check_buffers(plan, "tiny", reserved(running))


@pytest.mark.parametrize("family", ["bert", "gemma_embedding"])
def test_an_encoder_whose_heads_no_kernel_takes_holds_what_the_plan_says(
    family: str, model: Models, cards: Cards, tmp_path: Path
) -> None:
    """On a card it is served without flash attention, which would be computed by the CPU."""
    plan = compiled(model(family), tmp_path, _ONE, family)
    said = words(plan.services[0].arguments, cards=1)
    with start(model(family), tmp_path / "log", *said, environment=cards("24000")) as running:
        log = reserved(running)
    assert log.flash_attention is False
    check_buffers(plan, "tiny", log)


@pytest.mark.parametrize("family", [*sorted(DECODERS), "bert", "modern_bert", "qwen3_embedding"])
def test_two_cards_hold_what_the_plan_says(family: str, model: Models, cards: Cards, tmp_path: Path) -> None:
    wide = model(f"{family}-wide")
    plan = compiled(wide, tmp_path, _TWO, family, "gpus: [0, 1]")
    said = words(plan.services[0].arguments, cards=2)
    with start(wide, tmp_path / "log", *said, environment=cards("24000,24000")) as running:
        check_buffers(plan, "tiny", reserved(running))


_PARTIAL = [(family, "gpu_layers: 2") for family in (*DECODERS, "bert", "modern_bert", "qwen3_embedding")]
_HOSTED = [(family, "cpu_moe: 2") for family in ("qwen3moe", "deepseek2", "qwen3next")]
_LONG = [(family, "gpu_layers: 2, context: 32K") for family in ("llama", "gemma3", "deepseek2")]


@pytest.mark.parametrize(("family", "key"), _PARTIAL + _HOSTED + _LONG)
def test_a_card_and_main_memory_hold_what_the_plan_says(
    family: str, key: str, model: Models, cards: Cards, tmp_path: Path
) -> None:
    """Not to the byte: what prompts bring to the card is an interval."""
    wide = model(f"{family}-wide")
    plan = compiled(wide, tmp_path, _ONE, family, key)
    said = words(plan.services[0].arguments, cards=1)
    with start(wide, tmp_path / "log", *said, environment=cards("24000")) as running:
        check_buffers(plan, "tiny", reserved(running))


@pytest.mark.parametrize("family", ["bert", "qwen3_embedding"])
def test_the_longest_text_is_embedded_in_what_the_plan_says(family: str, model: Models, tmp_path: Path) -> None:
    """Three slots do not divide 2048 tokens, which would end a server of that batch as it starts."""
    plan = compiled(model(family), tmp_path, _CPU, family)
    with serve(model(family), tmp_path / "log", *words(plan.services[0].arguments)) as running:
        answer = running.post("/v1/embeddings", {"input": ["a" * 2000] * 3})
        assert answer.status == 200, answer.text
