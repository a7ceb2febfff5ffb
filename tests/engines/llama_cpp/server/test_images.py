"""The ledger of a service that reads images, against a real server that is started with the plan's own words.

As in test_ledger.py, cards are stand-ins with CUDA's rules of memory. What a projector takes for its largest image the
log does not say: a card that has room for it and no MiB more does.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest

from compiler.engines.llama_cpp.calibrate.startup_log import hundredths_of
from compiler.ledger import Basis, LedgerRow
from compiler.plan.ir import Plan
from compiler.units import MIB
from tests.engine.engine_process import free_port
from tests.engines.llama_cpp.random_projectors import OF_FAMILY, PROJECTORS, TINY, Size
from tests.engines.llama_cpp.server.buffers import check_buffers
from tests.engines.llama_cpp.server.running import Running, serve
from tests.engines.llama_cpp.server.test_ledger import compiled, reserved, words
from tests.engines.llama_cpp.server.tree import tree_of

pytestmark = pytest.mark.engine

Models = Callable[[str], Path]
Cards = Callable[[str], dict[str, str]]
_CPU = "{cpu: {memory: 16GiB}}"
_CARD = "{gpus: {model: rtx-4090, count: 1}, memory: 16GiB}"
_RESERVED = re.compile(r"reserve_compute_meta: +(\S+) compute buffer size = +(\d+\.\d\d) MiB")
_SERVED_ALONE = frozenset({"CUDA context", "kernels' temporaries", "projector's temporaries"})


def beside(folder: Path, kind: str, model: Models, tower: Size = TINY) -> tuple[Path, Path]:
    """A model and its projector in a folder of their own."""
    family = f"{OF_FAMILY.get(kind, 'llama')}-wide"
    text, projector = folder / f"{family}.gguf", folder / "mmproj-f16.gguf"
    text.hardlink_to(model(family))
    PROJECTORS[kind](tower).write(projector)
    return text, projector


def picture(width: int, height: int) -> str:
    """A grey PNG, as it stands in a request."""
    lines = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)), 1)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b""))
    file = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + file).decode()


def asked(running: Running, *pictures: str) -> int:
    """The status of an answer to a question about pictures."""
    content = [{"type": "image_url", "image_url": {"url": each}} for each in pictures]
    message = {"role": "user", "content": [*content, {"type": "text", "text": "what"}]}
    return running.post("/v1/chat/completions", {"messages": [message], "max_tokens": 2}).status


def rows_of(plan: Plan) -> dict[str, LedgerRow]:
    """The rows of the only device."""
    (server,) = plan.devices[0].servers
    return {row.title: row for row in server.rows}


def largest_figure(text: str, device: str) -> int:
    """Hundredths of a MiB of a projector's buffer on a device."""
    return max(int(size.replace(".", "")) for name, size in _RESERVED.findall(text) if name == device)


@pytest.mark.parametrize("kind", PROJECTORS)
@pytest.mark.parametrize("node", [_CPU, _CARD], ids=["cpu", "card"])
def test_a_start_takes_what_the_plan_says(kind: str, node: str, model: Models, cards: Cards, tmp_path: Path) -> None:
    text, projector = beside(tmp_path, kind, model)
    plan = compiled(text, tmp_path, node, "llama", "media: {image: 1}", "context: 8K")
    on_card = node == _CARD
    said = (*words(plan.services[0].arguments, cards=int(on_card)), "--mmproj", str(projector))
    environment = cards("24000") if on_card else None
    with serve(text, tmp_path / "log", *said, environment=environment) as running:
        check_buffers(plan, "tiny", reserved(running))
        row = rows_of(plan)["projector's compute buffer"]
        assert abs(largest_figure(running.log, "CUDA0" if on_card else "CPU") - hundredths_of(row.bytes.low)) <= 1
        assert asked(running, picture(300, 200)) == 200


@pytest.mark.parametrize("kind", ["qwen_2_5_vl", "qwen_3_vl", "gemma_4", "pixtral"])
def test_the_largest_image_takes_what_the_plan_says(kind: str, model: Models, cards: Cards, tmp_path: Path) -> None:
    """A card with as much room as the rows say answers it; one with 2 MiB less does not, though it started.

    Of Qwen's towers it is two images of one size: that are two frames.
    """
    text, projector = beside(tmp_path, kind, model, Size(layers=2))
    plan = compiled(text, tmp_path, _CARD, "llama", "media: {image: 1}", "context: 3K")
    rows = rows_of(plan)
    assert rows["projector"].basis is Basis.EXACT
    size = sum(row.bytes.high for title, row in rows.items() if title not in _SERVED_ALONE)
    said = (*words(plan.services[0].arguments, cards=1), "--mmproj", str(projector))
    largest = (picture(1600, 1600),) * (2 if "qwen" in kind else 1)
    for room, is_enough in ((-(-size // MIB), True), (size // MIB - 2, False)):
        with serve(text, tmp_path / f"{room}", *said, environment=cards(str(room))) as running:
            assert answers(running, *largest) is is_enough


def answers(running: Running, *pictures: str) -> bool:
    """Whether it does; a server that finds no memory for an image ends, or says that it failed."""
    try:
        return asked(running, *pictures) == 200
    except (OSError, HTTPException):
        return False


def test_images_of_one_size_are_read_at_once_in_what_the_plan_says(model: Models, cards: Cards, tmp_path: Path) -> None:
    """Qwen's towers take two that follow each other for two frames; of others no two are read at once."""
    for kind in ("qwen_2_5_vl", "gemma_4", "intern_vl"):
        folder = tmp_path / kind
        folder.mkdir()
        text, projector = beside(folder, kind, model)
        plan = compiled(text, folder, _CARD, "llama", "media: {image: 2}", "context: 6K")
        size = sum(row.bytes.high for title, row in rows_of(plan).items() if title not in _SERVED_ALONE)
        said = (*words(plan.services[0].arguments, cards=1), "--mmproj", str(projector))
        with serve(text, folder / "log", *said, environment=cards(str(-(-size // MIB)))) as running:
            assert asked(running, picture(900, 900), picture(900, 900)) == 200


def test_the_launch_script_serves_images_and_the_smoke_test_has_one_answered(model: Models, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    text, _ = beside(folder, "gemma_3", model)
    service = f"{{model: {text}, context: 2K, port: {free_port()}, media: {{image: 1}}}}"
    lines = ("stack: eyes", "engine: {llama.cpp: b10434}", f"nodes: {{home: {_CPU}}}", f"services: {{eyes: {service}}}")
    spec = tmp_path / "eyes.yaml"
    spec.write_text("\n".join((*lines, f"secrets: {{api_key: {tmp_path}/key}}", "targets: [scripts]")))
    tree = tree_of(tmp_path, spec)
    with tree.serving("eyes"):
        _, checks = tree.checks("eyes", "--requests", "0", "--server-log", str(tree.log("eyes")))
    assert checks["eyes", "images"]["status"] == "ok", checks
    assert checks["eyes", "buffers"]["status"] == "ok", checks
    assert "compute buffer of images" in checks["eyes", "buffers"]["detail"]
    assert tree.run("prefetch", "eyes").returncode == 0
    (folder / "mmproj-f16.gguf").unlink()
    done = tree.run("prefetch", "eyes")
    assert (done.returncode != 0, "mmproj-f16.gguf" in done.stdout + done.stderr) == (True, True)
    done = tree.run("launch-eyes")
    assert (done.returncode, "mmproj-f16.gguf does not exist" in done.stderr) == (15, True)
