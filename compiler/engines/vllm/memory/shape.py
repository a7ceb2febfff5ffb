"""What decides a server's memory besides its model."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.parameters.ranks import Parallelism


@dataclass(frozen=True, slots=True)
class ServerShape:
    """What decides a server's memory besides the model: its batch limits, its split and what it runs on.

    Attributes:
        compute_capability: of the GPU; None on a CPU.
        stage: pipeline stage of the rank, from 0.
        moe_backend: kernels that the server is told to take for experts, as vLLM names them; `auto`: its own choice.
        attention_backend: likewise for attention; None: its own choice.
        multiprocessors: of the GPU or its slice; None for the most of any card of its compute capability.
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
