"""Every config that the tests know, laid out on cards of three generations, divided in four ways, at two sizes.

Ten stacks would not notice a term that no ledger reaches any more. `python -m tests.ledgers` writes `digests.txt` anew;
`python -m tests.ledgers NAME` prints what is behind the digests of one config, to compare with another commit's.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import tests.unit
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import LedgerRow
from compiler.lock.models import HUB, CodeFacts, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.spec.models import Spec
from tests.unit.test_engine_counts import CASES

DIGESTS = Path(__file__).with_name("digests.txt")
RELEASE = RELEASES["0.33.0"]
Config = dict[str, Any]


class Layout(NamedTuple):
    """One question about a config: on which GPUs, how divided, how large."""

    capability: str
    tensor: int
    pipeline: int
    terms: tuple[int, int, dict[str, Any]]


# (context, concurrency, other keys); no context is longer than the model's own.
SMALL = (2048, 1, {})
LARGE = (16384, 24, {"kv_cache_dtype": "fp8", "max_num_batched_tokens": 16384})
LAYOUTS = tuple(
    Layout(capability, *split, terms)
    for capability, split, terms in product(("8.9", "9.0", "10.0"), ((1, 1), (2, 1), (1, 2), (4, 2)), (SMALL, LARGE))
)


def configs() -> dict[str, Config]:
    """Each distinct config.json of the tests, by where it is written."""
    found = {f"counts.{name}": case["config"] for name, case in CASES.items()}
    seen = {_text(config) for config in found.values()}
    for module in sorted(pkgutil.iter_modules(tests.unit.__path__)):
        for name, value in sorted(vars(importlib.import_module(f"tests.unit.{module.name}")).items()):
            if isinstance(value, dict) and "architectures" in value and _text(value) not in seen:
                seen.add(_text(value))
                found[f"{module.name.removeprefix('test_')}.{name}"] = value
    return found


def _text(config: Config) -> str:
    return json.dumps(config, sort_keys=True)


def answer(config: Config, layout: Layout) -> str:
    """All that is decided of it for the first task that it serves, or why it serves none, as lines."""
    refusals = []
    for task in ("chat", "embed", "score", "classify"):
        found = attempt(*_question(config, layout, task), pinned(RELEASE))
        if isinstance(found, Solution):
            return "\n".join(_lines(found))
        refusals += [f"{task}: {problem.code} {problem.message}" for problem in found]
    return "\n".join(refusals)


def _question(config: Config, layout: Layout, task: str) -> tuple[Spec, Lock]:
    context, concurrency, keys = layout.terms
    length = config.get("max_position_embeddings") or config.get("n_positions") or 2048
    service = {
        "model": "own/m",
        "quantization": "auto",
        "port": 8000,
        "task": task,
        "context": min(context, int(length)),
        "concurrency": concurrency,
        "tensor_parallel_size": layout.tensor,
        "pipeline_parallel_size": layout.pipeline,
        **keys,
    }
    gpus = {"memory": "4000GiB", "compute_capability": layout.capability, "count": layout.tensor * layout.pipeline}
    spec = Spec.model_validate(
        {
            "stack": "x",
            "engine": {"vllm": RELEASE.version},
            "nodes": {"n": {"gpus": gpus}},
            "services": {"s": service},
            "policy": {"margin": "allow", "trust_remote_code": "allow"},
        }
    )
    locked = LockedService(model="own/m", quantization=("auto",), candidates=("own/m",))
    return spec, Lock(schema=1, services={"s": locked}, models={"own/m": _facts(config)})


def _facts(config: Config) -> ModelFacts:
    """As of a repository that brings code for its config.json: transformers does not know every model type."""
    config = config | {"auto_map": {"AutoConfig": "configuration.Own"}}
    code = CodeFacts(file="config.json", auto_map={"AutoConfig": ("configuration.Own",)})
    return ModelFacts(source=HUB, commit="0" * 40, chat_template="x", config=config, remote_code=True, code=(code,))


def _lines(solution: Solution) -> Iterator[str]:
    yield str(solution.verdict)
    for ledger in solution.ledgers:
        for server in ledger.servers:
            yield from map(line_of, server.rows)


def line_of(row: LedgerRow) -> str:
    """A row less its source's words, which may be put better."""
    return f"{row.kind} {row.title} {row.bytes.low} {row.bytes.expected} {row.bytes.high} {row.basis}"


def digest(text: str) -> str:
    """Eight hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def table() -> str:
    """`digests.txt`: a line for each config, a digest for each layout."""
    lines = (" ".join([name, *(digest(answer(config, one)) for one in LAYOUTS)]) for name, config in configs().items())
    return "".join(f"{line}\n" for line in sorted(lines))
