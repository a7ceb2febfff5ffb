"""How long one question about a repository of 40 quantizations takes, after its headers were read.

    python -m benchmarks.gguf_fit

Each quantization of a model is a candidate, layers and experts are left open, and main memory is told: the most that
can be asked about one service. Seconds are of the processor; nothing is known from an earlier question.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from time import process_time

from benchmarks.ggufs.shapes import shaped_model
from compiler.engines.registry import ENGINES
from compiler.gguf.model import GgufModel, Tensor
from compiler.gguf.types import TYPES_BY_NAME, TensorType
from compiler.lock.gguf import GgufFile, of_model
from compiler.lock.models import Lock, LockedService, ModelFacts, lock_key
from compiler.solve.attempt import attempt
from compiler.solve.judgements import judge_stack
from compiler.spec.models import Spec

BUILD = "b10434"
MOST = 0.1
"""Seconds that an answer may take beyond reading headers."""

# Of layers, and of the embedding and the output, so that no two candidates are of one size.
_LAYERS = (
    "f16", "q8_0", "q6_K", "q5_K", "q5_1", "q5_0", "q4_K", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_K", "iq3_s",
    "iq3_xxs", "q2_K", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s",
)  # fmt: skip
_ENDS = ("q8_0", "q6_K")


@dataclass(frozen=True)
class Question:
    """A model, and the node it is to be served on."""

    model: str
    gpu: str
    count: int
    memory: str

    def __str__(self) -> str:
        return f"{self.model} on {self.count} × {self.gpu} beside {self.memory}"


QUESTIONS = (
    Question("qwen3-8b", "rtx-4060-ti-16gb", 1, "64GiB"),
    Question("llama-3.3-70b", "rtx-4060-ti-16gb", 1, "128GiB"),
    Question("qwen3-30b-a3b", "rtx-4060-ti-16gb", 1, "64GiB"),
    Question("gpt-oss-120b", "rtx-4090", 4, "256GiB"),
    Question("deepseek-v3", "rtx-4060-ti-16gb", 1, "64GiB"),
)


def spec_of(question: Question) -> Spec:
    """The question as a spec."""
    gpus = {"model": question.gpu, "count": question.count}
    data = {
        "stack": "fit",
        "engine": {"llama.cpp": BUILD},
        "nodes": {"node": {"gpus": gpus, "memory": question.memory}},
        "services": {"server": {"model": f"a/{question.model}-GGUF", "context": "8K", "port": 8000}},
    }
    return Spec.model_validate(data, context=ENGINES)


def lock_of(question: Question) -> Lock:
    """A lock with all quantizations of the model."""
    repository = f"a/{question.model}-GGUF"
    model = shaped_model(question.model)
    if model is None:
        raise TypeError(f"{question.model} has no shape")
    models = dict(_candidates(repository, model))
    service = LockedService(model=repository, quantization=("auto",), candidates=tuple(sorted(models)))
    return Lock(schema=1, services={"server": service}, models=models)


def _candidates(repository: str, model: GgufModel) -> Iterator[tuple[str, ModelFacts]]:
    for layers, ends in product(_LAYERS, _ENDS):
        file = f"{layers}-{ends}.gguf"
        tensors = tuple(_as_type(each, TYPES_BY_NAME[layers], TYPES_BY_NAME[ends]) for each in model.tensors)
        found = of_model(GgufModel(model.keys, tensors, model.vocabulary), [GgufFile(path=file)])
        yield (
            lock_key(repository, None, file),
            ModelFacts(source="loopback", kind="gguf", gguf=found, chat_template=file, config={}),
        )


def _as_type(tensor: Tensor, layers: TensorType, ends: TensorType) -> Tensor:
    wanted = layers if tensor.name.startswith("blk.") else ends
    is_matrix = len(tensor.shape) > 1 and tensor.shape[0] % wanted.block == 0
    return Tensor(tensor.name, wanted, tensor.shape) if is_matrix else tensor


def seconds(question: Question) -> tuple[float, str]:
    """Of the processor, for a solution and the table of candidates; and what came of it."""
    spec, lock = spec_of(question), lock_of(question)
    pinned = {"llama.cpp": ENGINES["llama.cpp"].pin(BUILD, None, assumes_full=False)}
    begun = process_time()
    found = attempt(spec, lock, pinned)
    solved = {} if isinstance(found, tuple) else {"node": found}
    judge_stack(spec, lock, pinned, solved)
    taken = process_time() - begun
    said = found[0].message if isinstance(found, tuple) else _said(found.servers[0].demand)
    return taken, said


def _said(demand: object) -> str:
    variant, division = getattr(demand, "variant", None), getattr(demand, "division", None)
    return f"{getattr(variant, 'name', '')} on {division}"


def main() -> None:
    """Print each question's time beside the most that it may take."""
    gc.set_threshold(200_000)  # as the command line has it
    found = [(question, *seconds(question)) for question in QUESTIONS]
    for question, taken, said in found:
        print(f"{'met ' if taken <= MOST else 'MISS'}  {question}: {1000 * taken:.0f} ms, at most {1000 * MOST:.0f}")
        print(f"        {said}")


if __name__ == "__main__":
    main()
