"""What a build of llama.cpp does differently from another, as facts that the formulas ask for by name."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.units import ByteRange


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides memory and is not the same in every build.

    Attributes:
        mixes_inputs: the graph has a way for ubatches that mix tokens and embeddings, whose tensors take memory of the
            card and of the host whether or not it is gone (src/llama-graph.cpp, build_inp_embd).
        gathers_states: beside a scan that reads states from the cache, those of all sequences but the first are
            gathered (src/llama-graph.cpp, build_rs).
        projects_flat: a scan's result is projected without a dimension of sequences, and not reshaped after
            (src/models/mamba-base.cpp).
        caches_prediction_layers: layers of multi-token prediction get a cache that nothing uses, except in the
            architectures of `filters_prediction_layers` (src/llama-model.cpp, create_memory).
        filters_prediction_layers: architectures whose cache leaves those layers out all the same.
        pooling_compared: servers that pool were compared with what is laid out.
        pipelined_host: tensors of the residual's size on the host where several cards compute one behind the other.
        flash_types: types of a cache that CUDA's flash attention reads, and whether keys and values must have the same
            (ggml/src/ggml-cuda/fattn.cu, ggml_cuda_get_best_fattn_kernel; built without GGML_CUDA_FA_ALL_QUANTS).
    """

    mixes_inputs: bool
    gathers_states: bool
    projects_flat: bool
    caches_prediction_layers: bool
    filters_prediction_layers: frozenset[str]
    pooling_compared: bool
    pipelined_host: int
    flash_types: frozenset[str]
    flash_types_equal: bool


@dataclass(frozen=True, slots=True)
class ContextMemory:
    """What a server holds of each card outside its buffers. `source` says where the figure comes from."""

    bytes: ByteRange
    source: str


@dataclass(frozen=True, slots=True)
class Release:
    """A build of llama.cpp, named as `llama-server --version` and the images name it: `b10434`.

    Attributes:
        commit: its first seven digits, by which builds are known whose builder set no number; None where nobody said.
        context_single, context_parallel: as measured on the plan's cards, of servers with one and with several.
    """

    build: str
    rules: Rules
    commit: str | None = None
    context_single: ContextMemory | None = None
    context_parallel: ContextMemory | None = None
