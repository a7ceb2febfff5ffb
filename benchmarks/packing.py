"""How good placements are: small random stacks against every placement there is.

`python -m benchmarks.packing --instances N --seed S [--json]`. Two to six services of one to three candidates share
one to four GPUs, whose memory is chosen so that some stacks fit with ease, some hardly, and some not at all.

Three questions. Is a stack refused that fits? Could the services have had better variants, counted in steps down each
service's ranking, over all services? And how much KV cache does the service have that has least of what it asked for,
against the best placement of the same variants on the same terms, with no more ranks and no more services in stages?
"""

from __future__ import annotations

import json
import math
import random
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.placements.exhaustive import Capacity, best_capacity, fewest_ranks, fewest_steps
from benchmarks.solver import AWQ, FP8, PINNED, SHAPES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt, high, least_terms, machine_of
from compiler.solve.budget import Solution
from compiler.solve.field import judge_field
from compiler.solve.place import Choice
from compiler.spec.models import Spec
from compiler.units import GIB

GOOD_ENOUGH = 0.99
"""Of the best capacity: less than that is a placement that should have been found."""
MODELS = tuple(dict.fromkeys(shape for shape, _ in SHAPES))
METHODS: tuple[tuple[str, dict[str, Any] | None], ...] = (("", None), ("-fp8", FP8), ("-awq", AWQ))
CONTEXTS = (2048, 4096, 8192, 16384, 32768)
OPEN = 0.1
"""Of contexts, and of concurrencies, that the solver finds: where it does, nothing is left over to compare."""
OPEN_CONTEXTS: tuple[Any, ...] = ("max", {"min": 4096, "max": 32768}, {"min": 8192})
OPEN_CONCURRENCIES: tuple[Any, ...] = ("max", {"min": 2, "max": 16}, {"min": 4})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one stack that fits somehow.

    Attributes:
        steps: of quality that were lost.
        kv: smallest relative capacity over the best; None where the stack is refused.
        ranks: more than the fewest with which the same would fit.
    """

    number: int
    refused: bool
    steps: int = 0
    kv: float | None = None
    ranks: int = 0


def _config(shape: tuple[int, int, int, int, int, int]) -> dict[str, Any]:
    layers, hidden, intermediate, heads, kv_heads, vocabulary = shape
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": vocabulary,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip


def _gib(index: int, bits: int) -> float:
    """Of weights, roughly: it only decides how large the GPUs are."""
    layers, hidden, intermediate, _, _, vocabulary = MODELS[index]
    return (layers * (3 * hidden * intermediate + 3 * hidden**2) * bits / 8 + 4 * vocabulary * hidden) / GIB


def _service(number: int, dice: random.Random) -> tuple[dict[str, Any], LockedService, int]:
    """What is asked, its candidates, and which model it is."""
    index = dice.choices(range(len(MODELS)), (3, 4, 3, 2, 2, 1)[: len(MODELS)])[0]
    kinds = dice.choice((("",), ("", "-fp8"), ("", "-awq"), ("", "-fp8", "-awq")))
    name = f"example/m{index}"
    context = dice.choice(OPEN_CONTEXTS) if dice.random() < OPEN else dice.choice(CONTEXTS)
    concurrency = dice.choice(OPEN_CONCURRENCIES) if dice.random() < OPEN else dice.choice((1, 2, 4, 8))
    asked = {"model": name, "context": context, "concurrency": concurrency, "port": 8000 + number}
    asked |= {"share": dice.choice((0, 2, 3))} if dice.random() < OPEN else {}
    candidates = tuple(f"{name}{kind}" for kind in kinds)
    return (
        asked,
        LockedService(model=name, quantization=("auto",), publishers=("example",), candidates=candidates),
        index,
    )


def instance(number: int, seed: int) -> tuple[Spec, Lock]:
    """A stack by its number: the same numbers give the same stack."""
    dice = random.Random(f"{seed}/{number}")
    found = [_service(each, dice) for each in range(dice.randint(2, 6))]
    count = dice.randint(1, 4)
    # Between all at their best with half the memory left, and all at 4 bits with hardly any.
    most, least = (sum(_gib(index, bits) + 3 for *_, index in found) for bits in (16, 4))
    each = math.exp(dice.uniform(math.log(least), math.log(2 * most))) / count
    spec = Spec.model_validate(
        {
            "stack": "packing",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"gpus": {"memory": f"{int(each * 1024)}MiB", "compute_capability": "9.0", "count": count}}},
            "services": {f"s{at}": asked for at, (asked, _, _) in enumerate(found)},
            "policy": {"publishers": ["example"]},
        }
    )
    models = {
        f"example/m{index}{suffix}": ModelFacts(
            source=HUB, chat_template="x", config=_config(shape), quantization=block
        )
        for index, shape in enumerate(MODELS)
        for suffix, block in METHODS
    }
    return spec, Lock(schema=1, services={f"s{at}": each for at, (_, each, _) in enumerate(found)}, models=models)


def judged(number: int, seed: int) -> Outcome | None:
    """What the solver makes of a stack; None where nothing fits."""
    spec, lock = instance(number, seed)
    machine = machine_of(spec.nodes["n"])
    variants = judge_field(spec, lock, PINNED, machine).variants
    best = fewest_steps(variants, least_terms(spec.services, PINNED), machine)
    found = attempt(spec, lock, PINNED)
    if not isinstance(found, Solution):
        return None if best is None else Outcome(number, refused=True)
    if best is None:
        raise AssertionError(f"stack {number} is served, and exhaustive search finds no place for it")
    demands = {server.demand.service: server.demand for server in found.servers}
    steps = sum([each.name for each in variants[name]].index(demands[name].variant.name) for name in demands)
    terms = {name: demand.terms for name, demand in demands.items()}
    choice = Choice(terms, {name: demand.variant for name, demand in demands.items()}, machine, high)
    own = Capacity.of(found)
    ranks = own.ranks - fewest_ranks(found, choice)
    kv = float(own.least / best_capacity(found, choice).least)
    return Outcome(number, refused=False, steps=steps - best, kv=kv, ranks=ranks)


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """Of so many stacks that fit."""
    numbers = (judged(number, seed) for number in range(sys.maxsize))
    feasible = (each for each in numbers if each is not None)
    for _, outcome in zip(range(count), feasible, strict=False):
        yield outcome


def summary(found: list[Outcome]) -> dict[str, float | int]:
    """The last line: shares are of the stacks that are served."""
    kept = [each.kv for each in found if each.kv is not None]
    return {
        "n": len(found),
        "refused": sum(each.refused for each in found),
        "kv_ok": round(sum(kv >= GOOD_ENOUGH for kv in kept) / max(1, len(kept)), 4),
        "kv_worst": round(min(kept, default=1.0), 4),
        "steps_lost": sum(each.steps for each in found),
        "below_best_quality": sum(each.steps > 0 for each in found),
        "ranks_wasted": sum(each.ranks for each in found),
    }


def main() -> None:
    """Print each stack that could be better, and last the sums."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, default=100, help="stacks that fit somehow")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the sums as JSON, on the last line")
    options = parser.parse_args()
    found = []
    for outcome in outcomes(options.instances, options.seed):
        found.append(outcome)
        if outcome.refused or outcome.steps or outcome.ranks or (outcome.kv or 1) < GOOD_ENOUGH:
            print(json.dumps(asdict(outcome)), flush=True)
    sums = summary(found)
    print(json.dumps(sums) if options.json else "\n".join(f"{name}: {value}" for name, value in sums.items()))


if __name__ == "__main__":
    main()
