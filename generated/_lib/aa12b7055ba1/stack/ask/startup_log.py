"""What llama-server's log says of its buffers, against the ledger. The log is a file, or the journal of its unit.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Lines are those of `--verbosity 4` of b10434 (src/llama-context.cpp, src/llama-model.cpp, src/llama-kv-cache.cpp).
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from stack import JsonObject, Skipped
from stack.ask.probes import Target, expect

MAX_BYTES, LONGEST_LINE = 2**30, 4096
JOURNAL_SECONDS = 20.0
MIB = 2**20
# Each is rounded to a hundredth of a MiB.
ROUNDING = MIB // 200 + 1

# By the word of the log, the ledger's kind of row.
KINDS = {
    "model": "weights", "KV": "kv_cache", "RS": "kv_cache", "output": "buffers", "compute": "buffers",
    "images": "compute buffer of images",
}  # fmt: skip
# It reserves these again where something has changed, and gives the former one back.
REPLACED = ("output", "compute", "images")
# Rows of a projector, whose weights the log does not say (tools/mtmd/clip.cpp, reserve_compute_meta).
PROJECTOR = {"projector": "", "projector's compute buffer": KINDS["images"]}
_START = re.compile(r"llama_model_loader: loaded meta data with ")
_BUFFER = re.compile(r"(\w+): +(\S{1,60}) +(model|KV|RS|output|compute) +buffer size += +(\d{1,9}\.\d\d) MiB")
_CARD = re.compile(r"[A-Za-z]+(\d{1,3})$")


class Buffer(NamedTuple):
    """One buffer: `device` as the server calls it, such as `CUDA0`, `CUDA_Host` or `CPU_REPACK`."""

    device: str
    word: str
    size: int


def check_buffers(target: Target) -> str:
    """What the last start took of each device lies within the rows of the ledger."""
    buffers = read_buffers(_lines_of(target))
    if not buffers:
        raise Skipped("the log holds no start that says its buffers: they are said from --verbosity 4 on")
    seen = []
    for device, rows in _planned(target):
        own = [each for each in buffers if _place(target, each.device) == device]
        seen += [_compare(device, kind, own, rows) for kind in _kinds(own, rows) if own]
    return "; ".join(seen)


def read_buffers(lines: Iterable[str]) -> list[Buffer]:
    """The buffers of the last start."""
    found: list[Buffer] = []
    for line in lines:
        if _START.search(line):
            found = []
        match = _BUFFER.search(line)
        if match:
            function, device, word, size = match.groups()
            word = "images" if function == "reserve_compute_meta" else word
            if word in REPLACED:
                found = [each for each in found if (each.device, each.word) != (device, word)]
            found.append(Buffer(device, word, int(size.replace(".", "")) * MIB // 100))
    return found


def _planned(target: Target) -> Iterator[tuple[int, list[JsonObject]]]:
    for device in target.plan["devices"]:
        for server in device["servers"]:
            if server["service"] == target.service["name"]:
                yield device["index"], server["rows"]


def _place(target: Target, device: str) -> int | None:
    """The index of the plan's device; None for main memory beside GPUs, which no row is of."""
    if target.plan["node"]["kind"] == "cpu":
        return 0
    card, devices = _CARD.match(device), target.service["devices"]
    return devices[int(card.group(1))] if card and int(card.group(1)) < len(devices) else None


def _compare(device: int, kind: str, buffers: list[Buffer], rows: list[JsonObject]) -> str:
    own = [each for each in buffers if KINDS[each.word] == kind]
    size, slack = sum(each.size for each in own), ROUNDING * len(own)
    least = sum(row["bytes"]["low"] for row in rows if _kind(row) == kind)
    most = sum(row["bytes"]["high"] for row in rows if _kind(row) == kind)
    said = f"device {device}: {kind.replace('_', ' ')} {size / MIB:.2f} MiB"
    planned = f"the ledger has {least / MIB:.2f} to {most / MIB:.2f} MiB"
    expect(least - slack <= size <= most + slack, f"{said}, {planned}")
    return said


def _kinds(buffers: list[Buffer], rows: list[JsonObject]) -> list[str]:
    """What is compared: images only where the server or the ledger has something for them."""
    found = {KINDS[each.word] for each in buffers} | {_kind(row) for row in rows}
    return [kind for kind in dict.fromkeys(KINDS.values()) if kind in found or kind != KINDS["images"]]


def _kind(row: JsonObject) -> str:
    return PROJECTOR.get(row["title"], row["kind"])


def _lines_of(target: Target) -> Iterator[str]:
    if target.log is not None:
        return _lines_of_file(target.log)
    if not target.is_local:
        raise Skipped("the server is on another machine: name its log with --server-log")
    return _lines_of_journal(f"{target.plan['stack']}-{target.service['name']}.service")


def _lines_of_file(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            yield from _lines(file)
    except OSError as error:
        raise Skipped(f"the log cannot be read: {path}: {error.strerror}") from error


def _lines_of_journal(unit: str) -> Iterator[str]:
    """Of the unit's present run."""
    run = "".join(_said("systemctl", "show", "--property", "InvocationID", "--value", unit))
    lines = _said("journalctl", "--quiet", "--output", "cat", f"_SYSTEMD_INVOCATION_ID={run}") if run else iter(())
    first = next(lines, None)
    if first is None:
        raise Skipped(f"no journal of {unit} can be read here: name the server's log with --server-log")
    yield first
    yield from lines


def _said(*command: str) -> Iterator[str]:
    """What a program of the system prints; nothing where it is not here or may not say it."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return
    timer = threading.Timer(JOURNAL_SECONDS, process.kill)
    timer.start()
    try:
        if process.stdout is not None:
            yield from _lines(process.stdout)
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Each cut where no line of the server's is as long."""
    size = 0
    while size < MAX_BYTES and (line := file.readline(LONGEST_LINE)):
        size += len(line)
        yield line.decode("utf-8", "replace").rstrip("\n")
