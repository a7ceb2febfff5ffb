"""`stackc fit`: a one-off question. It is asked as a spec of one service, in a folder that is gone afterwards."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from compiler.catalog.gpus import GPUS
from compiler.catalog.releases import RELEASES
from compiler.cli.explain import candidate_lines, judgement_object, service_lines
from compiler.cli.lock import lock_spec
from compiler.cli.report import FORMAT, finish
from compiler.diagnostics import has_errors
from compiler.pipeline import explain_stack
from compiler.resolve.cache import Cache, cache_folder
from compiler.resolve.hub import Hub
from compiler.targets.plan_json import plan_object


@click.command("fit")
@click.argument("model")
@click.option("--gpu", required=True, help="A catalog name (`stackc gpus`).")
@click.option("--count", default=1, show_default=True, help="How many of them.")
@click.option("--context", default="8K", show_default=True, help="Tokens of one request.")
@click.option("--concurrency", default=1, show_default=True, help="Requests of full context at once.")
@click.option("--quantization", default="auto", show_default=True, help="As in a spec.")
@click.option("--kv-cache-dtype", default="auto", show_default=True, help="As in a spec.")
@click.option("--publisher", "publishers", multiple=True, help="Trusted for quantized variants; may be repeated.")
@FORMAT
def command(model: str, *, gpu: str, count: int, form: str, publishers: tuple[str, ...], **service: Any) -> None:
    """Ask whether MODEL (a Hub id or a folder) fits on a GPU, with how much KV cache, and for how many requests."""
    if gpu not in GPUS:
        raise click.UsageError(f"unknown GPU {gpu}: `stackc gpus` lists them")
    folder = str(Path(model).resolve()) if model.startswith((".", "/")) else model
    question = {
        "stack": "fit",
        "engine": {"vllm": next(r.version for r in RELEASES.values() if r.build == "gpu")},
        "nodes": {"node": {"gpus": {"model": gpu, "count": count}}},
        "services": {"server": {"model": folder, "task": "completion", "port": 8000, **service}},
        "policy": {"publishers": list(publishers), "gated": "allow"},
    }
    _answer(question, form)


def _answer(question: dict[str, Any], form: str) -> None:
    with tempfile.TemporaryDirectory(prefix="stackc-fit-") as folder:
        path = Path(folder) / "fit.yaml"
        path.write_text(json.dumps(question, indent=1), encoding="utf-8")  # JSON is YAML
        hub = Hub()
        diagnostics, _ = lock_spec(path, "fit.yaml", hub, cache=Cache(cache_folder(), hub.endpoint))
        if has_errors(diagnostics):
            finish(form, diagnostics, result={}, lines=())
        explained, found = explain_stack(path, "fit.yaml")
    if explained is None:
        finish(form, found, result={}, lines=())
    rows = explained.candidates["server"]
    result: dict[str, Any] = {"candidates": [judgement_object(row) for row in rows]}
    lines = list(candidate_lines(rows))
    if explained.plan is not None:
        result["plan"] = plan_object(explained.plan)
        lines = [*service_lines(explained.plan, explained.plan.services[0]), *lines]
    finish(form, found, result=result, lines=lines)
