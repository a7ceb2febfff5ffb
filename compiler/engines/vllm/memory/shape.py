"""What decides a server's memory besides its model."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots

# (multiprocessors of the largest card, resident threads of each) by compute capability: CUDA C++ Programming Guide,
# "Compute Capabilities", and the vendor's data sheets.
_PROCESSORS = {
    (7, 0): (84, 2048), (7, 5): (72, 1024), (8, 0): (108, 2048), (8, 6): (84, 1536), (8, 9): (144, 1536),
    (9, 0): (132, 2048), (10, 0): (152, 2048), (10, 3): (160, 2048), (12, 0): (188, 1536), (12, 1): (48, 1536),
}  # fmt: skip
_LARGEST = (188, 2048)


@dataclass(frozen=True, slots=True)
class ServerShape:
    """What decides a server's memory besides the model: its batch limits, its split and what it runs on.

    Attributes:
        compute_capability: of the GPU; None on a CPU.
        stage: pipeline stage of the rank, from 0.
        moe_backend: kernels that the server is told to take for experts, as vLLM names them; `auto`: its own choice.
        attention_backend: likewise for attention; None: its own choice.
        machines: that have as many of its ranks each.
        multiprocessors: of the GPU or its slice; None for the most of any card of its compute capability.
        splits_over_network: parts of one layer are on several of the machines.
        adapters: room for LoRA adapters; None without any.
        draft_tokens: guessed for each request in a step, and checked in the next.
    """

    tensor_parallel_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    served_dtype: str
    compute_capability: tuple[int, int] | None
    enforce_eager: bool = False
    pipeline_parallel_size: int = 1
    stage: int = 0
    data_parallel_size: int = 1
    expert_parallel: bool = False
    moe_backend: str = "auto"
    attention_backend: str | None = None
    multiprocessors: int | None = None
    machines: int = 1
    splits_over_network: bool = False
    adapters: AdapterSlots | None = None
    draft_tokens: int = 0

    @property
    def parallelism(self) -> Parallelism:
        """The rank that this is the shape of."""
        return Parallelism(
            self.tensor_parallel_size,
            self.pipeline_parallel_size,
            self.stage,
            self.data_parallel_size,
            self.expert_parallel,
        )

    @property
    def ranks(self) -> int:
        """Ranks that talk to each other over NCCL."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size


def processors(shape: ServerShape) -> tuple[int, int]:
    """Multiprocessors, of the largest card of its compute capability where they are not known, and threads of one."""
    most, threads = _PROCESSORS.get(shape.compute_capability or (0, 0), _LARGEST)
    return shape.multiprocessors or most, threads


def hidden_bytes(architecture: Architecture, shape: ServerShape) -> int:
    """Hidden states of a whole batch."""
    return shape.max_num_batched_tokens * architecture.hidden_size * SERVED_BYTES[shape.served_dtype]
