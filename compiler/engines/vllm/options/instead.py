"""What stackc does instead of an option that a spec may not give: a key of the spec, or what is taken for granted.

Options without a sentence keep the default of vLLM's parser, which `instead` reads from the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.common.options import Flag
from compiler.spec.reading.instead import ADAPTERS, BUDGET, KEPT, REPLICA

_SENTENCES: Mapping[str, tuple[str, ...]] = {
    BUDGET: (
        "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--num-gpu-blocks-override",
    ),
    REPLICA: (
        "--api-server-count", "--data-parallel-size", "--data-parallel-size-local", "--data-parallel-rank",
        "--data-parallel-start-rank", "--data-parallel-address", "--data-parallel-rpc-port",
        "--data-parallel-backend", "--data-parallel-external-lb", "--data-parallel-hybrid-lb",
        "--data-parallel-multi-port-external-lb", "--data-parallel-supervisor-port",
        "--dp-supervisor-probe-failure-threshold", "--dp-supervisor-probe-interval-s",
        "--dp-supervisor-probe-timeout-s", "--disable-nccl-for-dp-synchronization", "--dp-sync-interval",
        "--enable-scale-out",
    ),
    "`machines` lets a service span nodes, and its options follow from the plan; vLLM starts the ranks as processes": (
        "--master-addr", "--master-port", "--distributed-executor-backend",
        "--ray-workers-use-nsight",
    ),
    "layers are split by `tensor_parallel_size`, and divided into stages by `pipeline_parallel_size`; a context is "
    "never divided": (
        "--prefill-context-parallel-size", "--decode-context-parallel-size", "--cp-kv-cache-interleave-size",
        "--dcp-comm-backend", "--dcp-kv-cache-interleave-size", "--dcp-q-replicate",
    ),
    "experts lie on the GPUs in their order, without copies, whole ones where `expert_parallel` says so": (
        "--all2all-backend", "--enable-eplb", "--eplb-config", "--expert-placement-strategy", "--enable-elastic-ep",
        "--elastic-ep-max-dp-size", "--enable-ep-weight-filter",
    ),
    "a batch is one batch: none is cut in two that overlap": (
        "--enable-dbo", "--dbo-decode-token-threshold", "--dbo-prefill-token-threshold", "--ubatch-size",
    ),
    "the supervisor starts a server anew that fails (`plan.json`, `timeouts`), and vLLM's own deadlines hold inside": (
        "--distributed-timeout-seconds", "--cpu-distributed-timeout-seconds", "--enable-fault-tolerance",
        "--fault-tolerance-config", "--watchdog-config", "--shutdown-timeout",
    ),
    "vLLM's own classes run: code of others is never loaded": (
        "--worker-cls", "--worker-extension-cls", "--scheduler-cls", "--logits-processors", "--io-processor-plugin",
        "--model-class-overrides", "--middleware", "--additional-config",
    ),
    "ranks load and sample as vLLM does by default, which the ledger counts": (
        "--enable-batch-sharded-sampling", "--enable-hc-sp", "--max-parallel-loading-workers",
    ),
    "the KV cache is as wide as `kv_cache_dtype` or the checkpoint says, in every layer alike, in blocks of the "
    "attention backend's own size": ("--block-size", "--kv-cache-dtype-skip-layers", "--prefix-match-unit"),
    "nothing is kept outside the GPU: what does not fit is an error that says by how much": (
        "--kv-offloading-size", "--kv-offloading-backend", "--cpu-offload-gb", "--cpu-offload-params",
        "--offload-backend", "--offload-group-size", "--offload-num-in-group", "--offload-params",
        "--offload-prefetch-step", "--kv-transfer-config", "--ec-transfer-config", "--ec-manager-config",
        "--kv-events-config", "--weight-transfer-config", "--engram-config",
    ),
    "recurrent states are kept as the model and vLLM's defaults say; `enable-prefix-caching: false` in `engine_args` "
    "is the one choice that the ledger follows": (
        "--mamba-block-size", "--mamba-cache-dtype", "--mamba-cache-mode", "--mamba-ssm-cache-dtype",
        "--enable-mamba-shared-prefix-checkpoint", "--use-replayssm", "--replayssm-buffer-len",
        "--mamba-backend", "--mamba-ssu-algorithm", "--gdn-prefill-backend", "--kda-prefill-backend",
        "--kda-decode-backend",
    ),
    "CUDA graphs of vLLM's own sizes are captured and counted; `enforce-eager: true` in `engine_args` does without": (
        "--cudagraph-capture-sizes", "--max-cudagraph-capture-size", "--compilation-config", "--optimization-level",
        "--performance-mode",
    ),
    "vLLM chooses kernels for the GPU and the quantization, and the ledger follows it; `moe-backend` in `engine_args` "
    "is taken where it knows the layout": (
        "--linear-backend", "--kernel-config", "--ir-op-priority", "--enable-flashinfer-autotune",
        "--sparse-indexer-topk-backend",
    ),
    "vLLM chooses the attention backend, and blocks of the KV cache follow it; `attention-backend` in `engine_args` "
    "is taken where the ledger follows it": ("--attention-config",),
    ADAPTERS: (
        "--enable-lora", "--lora-modules", "--default-mm-loras", "--lora-target-modules", "--max-cpu-loras",
        "--max-lora-cls-labels", "--max-loras", "--max-lora-rank", "--lora-dtype", "--fully-sharded-loras",
        "--enable-tower-connector-lora", "--enable-mixed-moe-lora-format", "--enable-moe-shared-loras",
        "--specialize-active-lora",
    ),
    "text is written from its beginning to its end, and not by diffusion": ("--diffusion-config",),
    "`bin/prefetch` fetches the lock's files at their commit, and the server reads that snapshot": (
        "--download-dir", "--ignore-patterns", "--pt-load-map-location", "--revision", "--code-revision",
        "--tokenizer", "--tokenizer-revision", "--hf-config-path",
    ),
    "config.json is served as it is; `score_tokens` is the one override that the ledger follows": ("--hf-overrides",),
    "the checkpoint's own quantization is served: `quantization` chooses among its variants": (
        "--quantization-config", "--allow-deprecated-quantization",
    ),
    "`task` says what the server is for: `embed`, `score` and `classify` run the pooling runner": (
        "--runner", "--convert", "--pooler-config",
    ),
    "weights are served in the checkpoint's dtype, or the nearest that the GPU computes in": ("--dtype",),
    "the class of vLLM's own runs, and transformers' only where there is none": ("--model-impl",),
    "sliding windows are kept as config.json has them, and whole prefixes of what lies in them": (
        "--disable-sliding-window", "--swa-bounded-replay", "--kv-sharing-fast-prefill",
        "--prefix-cache-retention-interval",
    ),
    KEPT: (
        "--enable-sleep-mode", "--sleep-mode-backend", "--sleep-mode-offload-cudagraph",
        "--sleep-preserve-parameter-names", "--enable-cumem-allocator", "--enable-nccl-comm-suspend",
    ),
    "`media` says what a prompt may hold; an item is as large as the model's processor lets it be, and clients send "
    "media, no embeddings": (
        "--enable-mm-embeds", "--media-io-kwargs", "--mm-processor-kwargs", "--mm-encoder-only", "--skip-mm-profiling",
        "--video-pruning-rate", "--video-pruning-method", "--disable-chunked-mm-input", "--trust-request-mm-kwargs",
        "--enable-prompt-embeds",
    ),
    "towers run on each GPU as vLLM chooses, split by `tensor_parallel_size` where they can be": (
        "--mm-encoder-tp-mode", "--mm-encoder-attn-backend", "--mm-encoder-attn-dtype", "--mm-encoder-fp8-scale-path",
        "--mm-encoder-fp8-scale-save-path", "--mm-encoder-fp8-scale-save-margin", "--mm-device-do-normalize",
        "--mm-processor-device",
    ),
    "prompts are cut into pieces of `max_num_batched_tokens`, but for models that pool whole texts": (
        "--enable-chunked-prefill", "--max-num-scheduled-tokens", "--max-num-active-seqs",
        "--long-prefill-token-threshold-adaptive",
    ),
    "caches of several kinds share their blocks as vLLM groups them, which the ledger follows": (
        "--disable-hybrid-kv-cache-manager",
    ),
    "`features: [reasoning]` says that clients want what a model thinks apart from its answer": ("--reasoning-config",),
    "nothing is profiled, traced or marked while clients are served": (
        "--profiler-config", "--watermark-config", "--aux-output-config", "--enable-trace-replay",
        "--enable-return-routed-experts", "--return-sampling-mask",
    ),
    "servers speak plain HTTP on `host` and `port`: `gateway` is the door for clients, and TLS belongs before it": (
        "--grpc", "--grpc-port", "--root-path", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-certfile", "--ssl-ciphers",
        "--ssl-keyfile", "--enable-ssl-refresh", "--uds", "--tokens-only",
    ),
    "clients call tools themselves: `features: [tools]` has the server write the calls": ("--tool-server",),
    "the template of the checkpoint renders chats, or `chat-template` in `engine_args`": (
        "--trust-request-chat-template", "--skip-tokenizer-init",
    ),
    "the options of a server stand in its launch script and in plan.json": ("--config",),
    "config.json is read, and the weights that its index names": ("--config-format",),
}  # fmt: skip

INSTEAD: Mapping[str, str] = {option: sentence for sentence, options in _SENTENCES.items() for option in options}
"""Sentences by option."""


def instead(flag: Flag) -> str | None:
    """What holds in place of a refused option; None where nothing is known of it."""
    if flag.name in INSTEAD:
        return INSTEAD[flag.name]
    if flag.default is None:
        return None
    value = str(flag.default).lower() if isinstance(flag.default, bool) else flag.default
    return f"vLLM's default stays: {value}"
