"""Weights, KV cache, adapters and drafts of many real configs against what vLLM itself answers for them.

`python -m benchmarks.oracle --truth FILE --hub DIR [--json]`: FILE holds an answer a line, DIR a folder for each model,
`ORGANISATION__NAME`, with its config.json. An answer names the model and how it is divided, and gives `weight_bytes`,
`kv_specs` and `kv`, or the reason why vLLM refuses it; one with `max_lora_rank` gives `lora_bytes`, one with
`speculate` gives `draft_bytes` and `num_blocks` (tests/engine/draft_oracle.py). There may be several files. With
`--json` the last line is one object.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from benchmarks.drafts.judged import Drafted, is_of_drafts, judged_drafts
from benchmarks.hub.folders import facts_of
from benchmarks.oracle_adapters import is_of_adapters, judged_adapters
from compiler.checkpoints.architecture import Architecture, HeadCache, LatentCache
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.verdicts import Engine, refusal_of
from compiler.engines.vllm.kernels.attention import AttentionPlan, attention_plan
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format
from compiler.units import GIB

RELEASE = RELEASES["0.33.0"]
# Compute capabilities of the cards that answers are asked for, and what vLLM batches there by default.
CARDS = {"H100": ((9, 0), 8192), "L40S": ((8, 9), 2048), "A100": ((8, 0), 2048)}


@dataclass(frozen=True)
class Comparison:
    """A figure of ours and of vLLM's, for one row."""

    row: str
    ours: int
    theirs: int

    @property
    def relative(self) -> float:
        """0 where they are equal."""
        return abs(self.ours - self.theirs) / self.theirs if self.theirs else float(self.ours != 0)


@dataclass
class Table:
    """What came of all rows. `refusals` are rows that vLLM refuses, with our reason or None."""

    weights: list[Comparison] = field(default_factory=list)
    kv: list[Comparison] = field(default_factory=list)
    lora: list[Comparison] = field(default_factory=list)
    drafts: list[Comparison] = field(default_factory=list)
    refusals: list[tuple[str, str | None]] = field(default_factory=list)
    unjudged: list[tuple[str, str]] = field(default_factory=list)

    def add(self, row: dict[str, Any], hub: Path) -> None:
        """Judge one answer."""
        name = f"{row['model']} TP {row['tensor_parallel_size']} PP {row['pipeline_parallel_size']}"
        facts = facts_of(row["model"], hub)
        if facts is None:
            self.unjudged.append((name, "no config.json"))
            return
        found = _found(row, facts)
        if row.get("refused"):
            self.refusals.append((name, found if isinstance(found, str) else None))
        elif isinstance(found, str):
            self.unjudged.append((name, found))
        elif isinstance(found, int):
            words = f"{name}, {row.get('max_loras', 1)} × rank {row['max_lora_rank']}"
            self.lora.append(Comparison(words, found, row["lora_bytes"]))
        elif isinstance(found, Drafted):
            self._compare_drafts(name, row, found)
        else:
            self._compare(name, row, found)

    def _compare_drafts(self, name: str, row: dict[str, Any], found: Drafted) -> None:
        """The worse of the draft's bytes and of the blocks."""
        loaded = Comparison(f"{name}, {row['speculate']['method']} bytes", found.loaded, row["draft_bytes"])
        blocks = Comparison(f"{name}, {row['speculate']['method']} blocks", found.num_blocks, row["num_blocks"])
        self.drafts.append(max(loaded, blocks, key=lambda comparison: comparison.relative))

    def _compare(self, name: str, row: dict[str, Any], found: Judged) -> None:
        self.weights.append(Comparison(name, found.weights, row["weight_bytes"]))
        if "kv_error" in row:
            return
        theirs = row.get("kv") or {"num_blocks": 0, "capacity_tokens": 0}
        blocks = Comparison(name, found.num_blocks, theirs["num_blocks"])
        capacity = Comparison(name, found.capacity_tokens, theirs["capacity_tokens"])
        self.kv.append(max(blocks, capacity, key=lambda comparison: comparison.relative))

    def summary(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        agreed = sum(reason is not None for _, reason in self.refusals)
        return {
            "weights": _figures(self.weights),
            "kv": _figures(self.kv),
            "lora": _figures(self.lora),
            "drafts": _figures(self.drafts),
            "refusals": {"n": len(self.refusals), "agreed": agreed},
            "unjudged": len(self.unjudged),
        }


def _figures(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    errors = [comparison.relative for comparison in comparisons]
    return {"n": len(errors), "exact": sum(error == 0 for error in errors), "worst": max(errors, default=0.0)}


@dataclass(frozen=True)
class Judged:
    """Our figures for one row; no blocks where the model keeps no cache."""

    weights: int
    num_blocks: int = 0
    capacity_tokens: int = 0


def _found(row: dict[str, Any], facts: ModelFacts) -> Judged | Drafted | int | str:
    if is_of_drafts(row):
        return judged_drafts(row, facts, *CARDS[row["gpu"]])
    return judged_adapters(row, facts, RELEASE.version) if is_of_adapters(row) else judged(row, facts)


def judged(row: dict[str, Any], facts: ModelFacts) -> Judged | str:
    """Our figures, or the reason why there are none."""
    if row["gpu"] not in CARDS:
        return f"answers for the card {row['gpu']} are not known here"
    capability, batched_tokens = CARDS[row["gpu"]]
    method, dtype = checkpoint_format(facts), row.get("dtype")
    ranks = row["tensor_parallel_size"]
    parallelism = Parallelism(ranks, row["pipeline_parallel_size"], row.get("rank", 0) // ranks)
    engine = Engine(RELEASE, capability)
    refusal = refusal_of(facts.config, method, facts.quantization, engine, parallelism=parallelism, dtype=dtype)
    if refusal is not None:
        return refusal
    try:
        architecture = read_architecture(facts.config)
        quantization = read_quantization(method, facts.quantization, facts.config)
    except UnsupportedArchitectureError as error:
        return f"no formulas for {error}"
    except ConfigError as error:
        return str(error)
    weights = rank_weights(architecture, quantization, parallelism, served_dtype=dtype or "bfloat16")
    chosen = quantization.kv_cache_dtype if quantization is not None else None
    asked = row["kv_cache_dtype"] if row.get("kv_cache_dtype", "auto") != "auto" else chosen or "auto"
    try:
        plan = attention_plan(
            architecture,
            capability=capability,
            served_dtype=dtype or "bfloat16",
            kv_cache_dtype=asked,
            tensor_parallel_size=ranks,
        )
        layout = rank_kv_layout(
            architecture,
            parallelism,
            dtype=plan.kv_dtype,
            block_size=_block_size(row, architecture, plan),
            max_num_batched_tokens=batched_tokens,
            served_dtype=dtype or "bfloat16",
            compute_capability=capability,
        )
    except (NoBackendError, ConfigError) as error:
        return str(error)
    if layout.bytes_per_block == 0:
        return Judged(weights)
    blocks = row.get("kv_cache_gib", 0) * GIB // layout.bytes_per_block
    return Judged(weights, blocks, layout.capacity_tokens(blocks, row.get("max_model_len", 1)))


def _block_size(row: dict[str, Any], architecture: Architecture, plan: AttentionPlan) -> int:
    """What the answer was given for: some ask before the engine takes its attention backend's own block size."""
    blocks = [spec["block"] for spec in row.get("kv_specs", ())]
    plain = all(isinstance(cache, HeadCache | LatentCache) for layer in architecture.layers for cache in layer.caches)
    return min(blocks) if blocks and plain else plan.block_size


def _report(table: Table) -> Iterator[str]:
    for title, comparisons in (
        ("weights", table.weights),
        ("KV cache", table.kv),
        ("adapters", table.lora),
        ("drafts", table.drafts),
    ):
        figures = _figures(comparisons)
        yield f"{title}: {figures['exact']} of {figures['n']} equal, worst {figures['worst']:.4%}"
        for comparison in comparisons:
            if comparison.relative:
                yield f"  {comparison.row}: ours {comparison.ours}, vLLM {comparison.theirs}"
    agreed = [reason for _, reason in table.refusals if reason is not None]
    yield f"refusals: {len(agreed)} of {len(table.refusals)} agreed"
    yield from (f"  {row}: vLLM refuses it, we do not" for row, reason in table.refusals if reason is None)
    yield f"unjudged: {len(table.unjudged)}"
    for reason, count in Counter(reason for _, reason in table.unjudged).most_common():
        yield f"  {count} × {reason}"


@click.command()
@click.option("--truth", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, multiple=True)
@click.option("--hub", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one object as the last line.")
def main(truth: tuple[Path, ...], hub: Path, *, as_json: bool) -> None:
    """Compare weights, KV cache, room for adapters and drafts with vLLM's own answers."""
    table = Table()
    for line in (line for path in truth for line in path.read_text().splitlines()):
        if line.strip():
            table.add(json.loads(line), hub)
    for text in _report(table):
        click.echo(text)
    if as_json:
        click.echo(json.dumps(table.summary()))


if __name__ == "__main__":
    main()
