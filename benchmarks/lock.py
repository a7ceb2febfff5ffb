"""Locking a stack on a Hub of this machine: seconds, and requests for each repository.

`python -m benchmarks.lock [--latency 0.02] [--runs 5] [--json] [--hf-mem PYTHON]`: four models with eight quantized
variants each. `stackc lock` runs as a whole process, several times, and the median counts; hf-mem, where a Python that
has it is given, reads the same repositories once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import CONFIGS, recording
from benchmarks.hub.process import HubProcess, hub_process
from tests.hub.recordings import Recording

LOCK = "bench.lock.yaml"
STACKC = Path(sys.executable).with_name("stackc")
HF_MEM = Path(__file__).parent / "hub" / "hf_mem_client.py"

_MODELS = {f"{'Qwen' if name.startswith('Qwen') else 'meta-llama'}/{name}": config for name, config in CONFIGS.items()}
_AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
_GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def _compressed(bits: int, kind: str, group_size: int | None, *, activations: bool) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, "symmetric": True, "group_size": group_size}
    inputs = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": True} if activations else None
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


# Publisher (that of the model where None), suffix, quantization block.
_VARIANTS: tuple[tuple[str | None, str, dict[str, Any]], ...] = (
    (None, "-AWQ", _AWQ),
    (None, "-GPTQ-Int4", _GPTQ),
    (None, "-GPTQ-Int8", {**_GPTQ, "bits": 8}),
    (None, "-FP8", _FP8),
    ("RedHatAI", "-FP8-dynamic", _compressed(8, "float", None, activations=True)),
    ("RedHatAI", "-quantized.w8a8", _compressed(8, "int", None, activations=True)),
    ("RedHatAI", "-quantized.w4a16", _compressed(4, "int", 128, activations=False)),
    ("casperhansen", "-AWQ", _AWQ),
)

_SPEC = """\
stack: bench
engine: {vllm: 0.33.0}
nodes: {gpu01: {gpus: {model: h100-80gb, count: 4}}}
policy: {publishers: [Qwen, RedHatAI, casperhansen, meta-llama]}
services:
"""

_ABOUT = re.compile(
    r"/(?:api/models/(?P<listed>[^/?]+/[^/?]+)|(?P<file>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>[^?]+)"
    r"|cdn/(?P<stored>[^/]+/[^/]+)/-/.+).*"
)
# What a lock needs to know and hf-mem does not ask.
_SMALL = re.compile(r"(?!model\.safetensors\.index\.json).+\.(?:json|jinja)")


@dataclass(frozen=True)
class Run:
    """One measured command.

    Attributes:
        processor: seconds of processor time that the command took; the rest is waiting, for the Hub or for a core.
        start_up: seconds of `seconds` that the same command takes to print its help, so that the rest is the work.
        repositories: that it asked about.
        questions: requests to the Hub's origin, without those to which it redirected.
        small: of the questions, those for small files other than the index of the shards.
        most: questions about the repository that had the most.
        weights: bytes of tensors by repository.
    """

    what: str
    seconds: float
    processor: float = 0.0
    start_up: float = 0.0
    target: float | None = None
    requests: int = 0
    repositories: int = 0
    questions: int = 0
    small: int = 0
    most: int = 0
    by_repository: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)


def recordings() -> list[Recording]:
    """Every model with its variants."""
    found = []
    for name, config in _MODELS.items():
        own, _, short = name.partition("/")
        found.append(recording(name, config))
        found += [recording(f"{by or own}/{short}{end}", config, block, name) for by, end, block in _VARIANTS]
    return found


def spec() -> str:
    services = (
        f"  s{index}: {{model: {name}, quantization: auto, context: 8K, port: {8001 + index}}}\n"
        for index, name in enumerate(_MODELS)
    )
    return _SPEC + "".join(services)


def counted(run: Run, paths: Sequence[str]) -> Run:
    """A run with its requests told apart."""
    matches = [match for path in paths if (match := _ABOUT.fullmatch(path)) is not None]
    questions = Counter(name for match in matches if (name := match["listed"] or match["file"]) is not None)
    small = Counter(match["file"] for match in matches if match["path"] and _SMALL.fullmatch(match["path"]))
    return replace(
        run, requests=len(paths), repositories=len(questions), questions=questions.total(), small=small.total(),
        most=max(questions.values(), default=0),
        by_repository={name: count - small[name] for name, count in sorted(questions.items())},
    )  # fmt: skip


def environment(hub: HubProcess, folder: Path) -> dict[str, str]:
    """That of a user who installed stackc: byte code is kept, and no login counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache")}


def timed(arguments: Sequence[str], folder: Path, variables: dict[str, str]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of one `stackc` command."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(STACKC), *arguments], cwd=folder, env=variables, check=False, capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"stackc {' '.join(arguments)} failed:\n{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def locked(
    hub: HubProcess, folder: Path, what: str, target: float | None, *, runs: int, without: Sequence[str] = ()
) -> Run:
    """`stackc lock` as a whole process, `runs` times, before each of which some files are removed; the median."""
    variables = environment(hub, folder)
    start_up = min(timed(["lock", "--help"], folder, variables)[0] for _ in range(3))
    found = []
    for _ in range(runs):
        remove(folder, without)
        seconds, processor = timed(["lock", "bench.yaml"], folder, variables)
        found.append(counted(Run(what, seconds, processor, start_up, target), hub.taken()))
    median = sorted(found, key=lambda run: run.seconds)[len(found) // 2]
    return replace(median, weights=weights_of(folder / LOCK))


def remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)


def weights_of(lock: Path) -> dict[str, int]:
    """Totals of the headers that a lock holds."""
    from compiler.lock.file import read_lock  # noqa: PLC0415 - not while a command is timed

    found, problems = read_lock(lock, lock.name)
    if found is None:
        raise SystemExit(f"the lock cannot be read: {problems}")
    return {name: facts.tensors.total_bytes for name, facts in found.models.items() if facts.tensors is not None}


def hf_mem(hub: HubProcess, python: str, names: Sequence[str]) -> Run | str:
    """hf-mem's own code on every repository, one after the other as it works, in one process; or why not."""
    done = subprocess.run([python, str(HF_MEM), hub.url, *names], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return f"hf-mem is left out: {(done.stderr.strip().splitlines() or ['it did not run'])[-1]}"
    found = json.loads(done.stdout)
    return counted(Run("hf-mem 0.5.6", found["seconds"], weights=found["weights"]), hub.taken())


def measure(latency: float, python: str | None, times: int) -> tuple[list[Run], list[str]]:
    """All runs, and remarks."""
    known = recordings()
    with tempfile.TemporaryDirectory() as name, hub_process(known, latency) as hub:
        folder = Path(name)
        (folder / "bench.yaml").write_text(spec(), encoding="utf-8")
        runs = [
            locked(hub, folder, "stackc lock, cold", 2.0, runs=times, without=("cache", LOCK)),
            locked(hub, folder, "stackc lock, warm", 0.5, runs=times),
            locked(hub, folder, "stackc lock, cache and no lock", None, runs=times, without=(LOCK,)),
        ]
        names = [repository.repo for repository in known]
        peer = hf_mem(hub, python, names) if python else "hf-mem is left out: give its Python with --hf-mem"
    if isinstance(peer, str):
        return runs, [peer]
    return [*runs, peer], compared(runs[0], peer)


def compared(ours: Run, theirs: Run) -> list[str]:
    """Where the two disagree about bytes or ours asks more than theirs, small files apart."""
    totals = [name for name in theirs.weights if ours.weights.get(name) != theirs.weights[name]]
    more = [name for name, count in theirs.by_repository.items() if ours.by_repository.get(name, 0) > count]
    return [
        f"totals of weights that differ between stackc and hf-mem: {', '.join(totals) or 'none'}",
        f"repositories that stackc asks more about, small files apart: {', '.join(more) or 'none'}",
    ]


def table(runs: Sequence[Run]) -> str:
    head = (
        "",
        "s",
        "processor",
        "of it start-up",
        "target",
        "requests",
        "repositories",
        "questions each",
        "of them small",
        "most",
    )
    rows = [head, *(_row(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _row(run: Run) -> tuple[str, ...]:
    each, small = (count / max(1, run.repositories) for count in (run.questions, run.small))
    return (
        run.what,
        f"{run.seconds:.2f}",
        f"{run.processor:.2f}" if run.processor else "",
        f"{run.start_up:.2f}" if run.start_up else "",
        f"< {run.target:g}" if run.target else "",
        str(run.requests),
        str(run.repositories),
        f"{each:.1f}",
        f"{small:.1f}",
        str(run.most),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds by which the Hub answers late")
    parser.add_argument("--runs", type=int, default=5, help="of each command, of which the median counts")
    parser.add_argument("--json", action="store_true", help="the figures once more, as JSON on the last line")
    parser.add_argument("--hf-mem", metavar="PYTHON", help="the Python of a virtual environment with hf-mem 0.5.6")
    options = parser.parse_args()
    runs, remarks = measure(options.latency, options.hf_mem, options.runs)
    print(table(runs), *remarks, sep="\n")
    if options.json:
        print(json.dumps({"latency": options.latency, "runs": [asdict(run) for run in runs], "remarks": remarks}))


if __name__ == "__main__":
    main()
