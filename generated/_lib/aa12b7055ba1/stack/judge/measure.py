"""One measurement: `vllm bench serve` with a load that follows from the plan.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Options and fields are those of vLLM 0.33.0 and 0.32.0 (vllm/benchmarks/serve.py).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_ENVIRONMENT, EXIT_USAGE, JsonObject, StackError
from stack.ask.server import Endpoint
from stack.models.model import model_folder

EXIT_FAILED = 1
# The same prompts every time, so that two runs differ in nothing but the server.
SEED = 0
# vLLM's own random load has these lengths by default.
INPUT_TOKENS, OUTPUT_TOKENS = 1024, 128
# Of 50 requests two or three lie beyond the 95th percentile: with fewer it would be one straggler's figure.
REQUESTS, WAVES = 50, 10
SHOWN_LINES, SHOWN_LENGTH = 12, 300
# Proxies would stand between the client and the server: vLLM's client follows these variables.
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class Load(NamedTuple):
    """What is asked of a server: so many requests, so many at once, of so many tokens."""

    requests: int
    concurrency: int
    input_tokens: int
    output_tokens: int

    def __str__(self) -> str:
        """In words."""
        lengths = (
            f"{self.input_tokens} + {self.output_tokens} tokens"
            if self.output_tokens
            else (f"{self.input_tokens} tokens")
        )
        return f"{self.requests} requests of {lengths}, {self.concurrency} at once"


class Metric(NamedTuple):
    """A figure of a run, by vLLM's name for it."""

    key: str
    title: str
    more_is_better: bool = False


_LATENCIES = (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL"), ("e2el", "latency"))
_BY_LATENCY = {
    name: (Metric(f"median_{name}_ms", f"{title} p50, ms"), Metric(f"p95_{name}_ms", f"{title} p95, ms"))
    for name, title in _LATENCIES
}
_GENERATING = (
    Metric("output_throughput", "output tokens/s", more_is_better=True),
    *(metric for name, _ in _LATENCIES for metric in _BY_LATENCY[name]),
)
_POOLING = (Metric("total_token_throughput", "input tokens/s", more_is_better=True), *_BY_LATENCY["e2el"])
# Backend, path and dataset by task (vllm/benchmarks/lib/endpoint_request_func.py of 0.33.0). For labels there is no
# backend: `/pooling` asks the same of the same server.
_BACKENDS = {
    "chat": ("openai-chat", "/v1/chat/completions", "random"),
    "completion": ("openai", "/v1/completions", "random"),
    "embed": ("openai-embeddings", "/v1/embeddings", "random"),
    "score": ("vllm-rerank", "/v1/rerank", "random-rerank"),
    "classify": ("vllm-pooling", "/pooling", "random"),
}


def metrics_of(service: JsonObject) -> tuple[Metric, ...]:
    """The figures that count for a service."""
    return _GENERATING if _generates(service) else _POOLING


def _generates(service: JsonObject) -> bool:
    return service["task"] in ("chat", "completion")


def plan_load(services: list[JsonObject], asked: dict[str, int | None]) -> Load:
    """The load for a service and the one it is compared with: what both can take. `asked` overrides by field."""
    context = min(service["max_model_len"] for service in services)
    generates = _generates(services[0])
    planned = min(service["concurrency"] for service in services)
    concurrency = asked["concurrency"] or planned
    load = Load(
        requests=asked["requests"] or max(REQUESTS, WAVES * concurrency),
        concurrency=concurrency,
        # A quarter of a short context stays free for the chat template.
        input_tokens=asked["input_tokens"] or min(INPUT_TOKENS, context // 2),
        output_tokens=(asked["output_tokens"] or min(OUTPUT_TOKENS, context // 4)) if generates else 0,
    )
    if load.input_tokens + load.output_tokens > context:
        raise StackError(EXIT_USAGE, f"{load.input_tokens} + {load.output_tokens} tokens exceed the context, {context}")
    return load


def bench_command(vllm: Path, endpoint: Endpoint, load: Load, folder: Path) -> list[str]:
    """The command line of one run. It holds no secret: the key goes through the environment."""
    backend, path, dataset = _BACKENDS[endpoint.service["task"]]
    command = [str(vllm), "bench", "serve", "--backend", backend, "--endpoint", path]
    command += ["--base-url", endpoint.base_url, "--model", endpoint.model, *_tokenizer(endpoint.service)]
    command += ["--dataset-name", dataset, "--seed", str(SEED), "--num-prompts", str(load.requests)]
    command += ["--random-input-len", str(load.input_tokens), "--max-concurrency", str(load.concurrency)]
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "95"]
    command += ["--num-warmups", str(load.concurrency), "--ready-check-timeout-sec", "0", "--disable-tqdm"]
    command += ["--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", "result.json"]
    if _generates(endpoint.service):
        # The prompts repeat from run to run; without a salt the later ones would come from the prefix cache.
        salt = json.dumps({"cache_salt": f"bench-{uuid.uuid4()}"})
        command += ["--random-output-len", str(load.output_tokens), "--ignore-eos", "--temperature", "0"]
        command += ["--extra-body", salt]
    return command


def _tokenizer(service: JsonObject) -> list[str]:
    """The tokenizer as the server has it."""
    options = {argument["flag"]: argument["value"] for argument in service["arguments"]}
    words = ["--tokenizer", options.get("--tokenizer") or str(model_folder(service["model"]))]
    if options.get("--tokenizer-mode"):
        words += ["--tokenizer-mode", options["--tokenizer-mode"]]
    return words + (["--trust-remote-code"] if "--trust-remote-code" in options else [])


def measure(vllm: Path, endpoint: Endpoint, load: Load, seconds: float) -> dict[str, float]:
    """One run: the figures by vLLM's name.

    Raises:
        StackError: it did not run, did not end in `seconds`, or a request failed.
    """
    with tempfile.TemporaryDirectory(prefix="stackc-bench-") as name:
        folder = Path(name)
        _run(bench_command(vllm, endpoint, load, folder), endpoint.key, folder, seconds)
        try:
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StackError(EXIT_FAILED, f"`vllm bench serve` left no result: {error}") from error
    _check(result, endpoint, load)
    return _figures(result, metrics_of(endpoint.service))


def _run(command: list[str], key: str | None, folder: Path, seconds: float) -> None:
    log = folder / "log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                env=_environment(key),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StackError(EXIT_ENVIRONMENT, f"cannot run {command[0]}: {error.strerror}") from error
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StackError(EXIT_FAILED, f"a run did not end in {seconds:.0f} s: set --run-timeout") from None
        finally:
            _end(process)
    if code != 0:
        raise StackError(EXIT_FAILED, f"`vllm bench serve` ended with {code}:\n{_tail(log, key)}")


def _environment(key: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    kept.pop("OPENAI_API_KEY", None)
    kept.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    return kept if key is None else {**kept, "OPENAI_API_KEY": key}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a run behind, however it ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path, key: str | None) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    if key is not None:
        text = text.replace(key, "[key]")
    lines = [re.sub(r"[^\x20-\x7e]", "?", line)[:SHOWN_LENGTH] for line in text.splitlines()]
    return "\n".join(f"  {line}" for line in lines[-SHOWN_LINES:])


def _check(result: JsonObject, endpoint: Endpoint, load: Load) -> None:
    """Refuse a run that measured something else than the load."""
    failed = load.requests - int(result.get("completed", 0))
    if failed:
        raise StackError(EXIT_FAILED, f"{failed} of {load.requests} requests failed{_first_error(result, endpoint)}")
    expected = load.requests * load.output_tokens
    if expected and result.get("total_output_tokens") != expected:
        found = result.get("total_output_tokens")
        raise StackError(EXIT_FAILED, f"{found} tokens were generated instead of {expected}: not the load that counts")


def _first_error(result: JsonObject, endpoint: Endpoint) -> str:
    errors = [str(error).strip().splitlines()[-1] for error in result.get("errors", []) if str(error).strip()]
    if not errors:
        return ""
    hint = ": the gateway limits requests, lower --concurrency" if "Too Many" in errors[0] else ""
    return f", such as: {errors[0][:SHOWN_LENGTH]}{hint if endpoint.route != 'server' else ''}"


def _figures(result: JsonObject, metrics: tuple[Metric, ...]) -> dict[str, float]:
    figures = {}
    for metric in metrics:
        value = result.get(metric.key)
        if not isinstance(value, (int, float)):
            raise StackError(EXIT_FAILED, f"`vllm bench serve` does not report {metric.key}")
        figures[metric.key] = float(value)
    return figures
