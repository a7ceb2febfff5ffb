"""Which options of `vllm serve` a spec may give in `engine_args`, and why it may not give the others.

Only options that somebody has looked at pass: one that is new in a release is refused until then. An option that
changes memory in a way that the ledger does not follow, or opens a door that the plan keeps shut, is never passed
through.
"""

from __future__ import annotations

from compiler.engines.common.engine_args import Decided
from compiler.engines.common.options import Flag

_BUDGET = Decided("it is an output: the ledger decides it for each server")
_SPLIT = Decided("the ledger is worked out for tensor parallelism and pipeline stages only")
_MACHINES = Decided("it follows from the nodes that a server gets", "machines")
_MEMORY = Decided("it can change memory in a way that the ledger does not follow")
_PROBES = Decided("the probes and the smoke test expect plain HTTP on the service's port")
_SECRET = Decided("a secret on the command line shows in `ps`", "secrets")
_FACTS = Decided("the model's facts come from the lock")
_CODE = Decided("it runs code inside the server, before a key is asked for")
_DRAFTS = Decided("drafts take memory, which the ledger counts for the spec's own key", "speculate")
_UNSEEN = Decided("stackc does not know what it changes or opens")

DECIDED = {
    "--allowed-media-domains": Decided(
        "the spec has a key for it, which the unit's addresses follow from too", "allowed_media_domains"
    ),
    "--api-key": _SECRET,
    "--api-server-count": _SPLIT,
    "--block-size": _MEMORY,
    "--code-revision": _FACTS,
    "--compilation-config": _MEMORY,
    "--config": Decided("the options of a server stand in its launch script, nowhere else"),
    "--config-format": Decided("the Hugging Face format is served, of which memory is proved; the plan says so"),
    "--convert": _MEMORY,
    "--cpu-offload-gb": _MEMORY,
    "--cudagraph-capture-sizes": _MEMORY,
    "--data-parallel-size": _SPLIT,
    "--data-parallel-supervisor-port": _SPLIT,
    "--decode-context-parallel-size": _SPLIT,
    "--device-ids": Decided("GPUs are chosen by the placement", "gpus"),
    "--disable-hybrid-kv-cache-manager": _MEMORY,
    "--distributed-executor-backend": _SPLIT,
    "--download-dir": Decided("the server reads the snapshot that bin/prefetch fetched"),
    "--dp-supervisor-probe-failure-threshold": _SPLIT,
    "--dp-supervisor-probe-interval-s": _SPLIT,
    "--dp-supervisor-probe-timeout-s": _SPLIT,
    "--dtype": Decided("it follows from the checkpoint and the GPU"),
    "--enable-expert-parallel": Decided("it decides which weights a GPU holds", "expert_parallel"),
    "--enable-lora": _MEMORY,
    "--enable-scale-out": _SPLIT,
    "--enable-sleep-mode": _MEMORY,
    "--enable-ssl-refresh": _PROBES,
    "--gdn-prefill-backend": _MEMORY,
    "--gpu-memory-utilization": _BUDGET,
    "--grpc": _PROBES,
    "--grpc-port": _PROBES,
    "--headless": _MACHINES,
    "--hf-config-path": _FACTS,
    "--hf-overrides": _FACTS,
    "--hf-token": _SECRET,
    "--host": Decided("the probes and the compose file need it too", "host"),
    "--ignore-patterns": Decided("it decides which files of the checkpoint are loaded"),
    "--kda-decode-backend": _MEMORY,
    "--kda-prefill-backend": _MEMORY,
    "--kv-cache-dtype": Decided("it decides the bytes of every block", "kv_cache_dtype"),
    "--kv-cache-memory-bytes": _BUDGET,
    "--kv-offloading-size": _MEMORY,
    "--kv-transfer-config": _MEMORY,
    "--language-model-only": Decided("it decides whether a tower is loaded", "media"),
    "--limit-mm-per-prompt": Decided("it decides what the profile run makes up of images, sound and videos", "media"),
    "--lora-modules": _MEMORY,
    "--max-cudagraph-capture-size": _MEMORY,
    "--max-model-len": Decided("it is what the KV cache is sized for", "context"),
    "--max-num-batched-tokens": Decided("it decides the activation peak", "max_num_batched_tokens"),
    "--max-num-seqs": Decided("it decides the sampler's memory", "max_num_seqs"),
    "--middleware": _CODE,
    "--model": Decided("the lock pins it", "model"),
    "--nnodes": _MACHINES,
    "--node-rank": _MACHINES,
    "--num-gpu-blocks-override": _BUDGET,
    "--pipeline-parallel-size": Decided("it follows from the placement", "pipeline_parallel_size"),
    "--port": Decided("the probes and the compose file need it too", "port"),
    "--prefill-context-parallel-size": _SPLIT,
    "--pt-load-map-location": _MEMORY,
    "--quantization": Decided("the checkpoint's own quantization is served", "quantization"),
    "--revision": _FACTS,
    "--root-path": _PROBES,
    "--runner": _MEMORY,
    "--served-model-name": Decided("clients and the smoke test need it too", "served_name"),
    "--shutdown-timeout": Decided("the units' stop timeouts follow from it"),
    "--skip-mm-profiling": _MEMORY,
    "--spec-method": _DRAFTS,
    "--spec-model": _DRAFTS,
    "--spec-tokens": _DRAFTS,
    "--speculative-config": _DRAFTS,
    "--ssl-ca-certs": _PROBES,
    "--ssl-cert-reqs": _PROBES,
    "--ssl-certfile": _PROBES,
    "--ssl-ciphers": _PROBES,
    "--ssl-keyfile": _PROBES,
    "--tensor-parallel-size": Decided("it follows from the placement", "tensor_parallel_size"),
    "--tokenizer": _FACTS,
    "--tokenizer-revision": _FACTS,
    "--tokens-only": _PROBES,
    "--tool-server": Decided("the server would call other programs at a model's word"),
    "--trust-remote-code": Decided("the policy decides it", "policy.trust_remote_code"),
    "--trust-request-chat-template": Decided("a client's template is a program that the server runs"),
    "--trust-request-mm-kwargs": Decided("a client could ask for more memory than the ledger has for an image"),
    "--uds": _PROBES,
}


# vLLM's configuration classes whose options can change memory, the split, or what the server is.
_GUARDED_GROUPS = {
    "CacheConfig",
    "KernelConfig",
    "LoRAConfig",
    "MambaConfig",
    "ModelConfig",
    "MultiModalConfig",
    "OffloadConfig",
    "ParallelConfig",
    "SchedulerConfig",
    "VllmConfig",
}
_HARMLESS = {
    "--aggregate-engine-logging",
    "--allow-credentials",
    "--allowed-headers",
    "--allowed-local-media-path",
    "--allowed-methods",
    "--allowed-origins",
    "--attention-backend",  # compiler/engines/vllm/judge/backends.py judges these two for the model and the GPU
    "--moe-backend",
    "--anthropic-disabled-thinking-effort",
    "--async-scheduling",
    "--chat-template",
    "--chat-template-content-format",
    "--cohere-format",
    "--cohere-is-reasoning-model",
    "--collect-detailed-traces",
    "--cudagraph-metrics",
    "--custom-histogram-buckets",
    "--default-chat-template-kwargs",
    "--disable-access-log-for-endpoints",
    "--disable-cascade-attn",
    "--disable-custom-all-reduce",
    "--disable-fastapi-docs",
    "--disable-log-stats",
    "--disable-uvicorn-access-log",
    "--enable-auto-tool-choice",
    "--enable-flash-late-interaction",
    "--enable-force-include-usage",
    "--enable-layerwise-nvtx-tracing",
    "--enable-log-deltas",
    "--enable-log-outputs",
    "--enable-log-requests",
    "--enable-logging-iteration-details",
    "--enable-mfu-metrics",
    "--enable-offline-docs",
    "--enable-per-request-metrics",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--enable-request-id-headers",
    "--enable-server-load-tracking",
    "--enable-tokenizer-info-endpoint",
    "--enforce-eager",
    "--exclude-tools-when-tool-choice-none",
    "--fail-on-environ-validation",
    "--fingerprint-mode",
    "--fingerprint-value",
    "--generation-config",
    "--h11-max-header-count",
    "--h11-max-incomplete-event-size",
    "--jit-monitor-mode",
    "--jit-monitor-verbose",
    "--kv-cache-metrics",
    "--kv-cache-metrics-sample",
    "--load-format",
    "--log-config-file",
    "--log-error-stack",
    "--log-level",
    "--logging-config",
    "--logprobs-mode",
    "--long-prefill-token-threshold",
    "--max-log-len",
    "--max-num-queued-reqs",
    "--max-num-queued-tokens",
    "--model-loader-extra-config",
    "--numa-bind",
    "--numa-bind-cpus",
    "--numa-bind-nodes",
    "--otlp-traces-endpoint",
    "--override-generation-config",
    "--per-request-spec-decode-metrics",
    "--prefix-caching-hash-algo",
    "--reasoning-effort-map",
    "--reasoning-parser",
    "--reasoning-parser-plugin",
    "--response-role",
    "--return-tokens-as-token-ids",
    "--safetensors-load-strategy",
    "--safetensors-prefetch-block-size",
    "--safetensors-prefetch-num-threads",
    "--scheduling-policy",
    "--seed",
    "--show-hidden-metrics-for-version",
    "--sse-keep-alive-interval",
    "--stream-interval",
    "--structured-outputs-config",
    "--tokenizer-mode",
    "--tool-call-parser",
    "--tool-parser-plugin",
    "--tool-strict-level",
    "--use-tqdm-on-load",
    "--uvicorn-log-level",
}


HOST_FILE_OPTIONS = (
    "--allowed-local-media-path",
    "--chat-template",
    "--generation-config",
    "--log-config-file",
    "--reasoning-parser-plugin",
    "--tool-parser-plugin",
)
"""Options that may name a file or folder of the host, which a container must be given to see it (0.33.0 and 0.32.0)."""


def decided(flag: Flag) -> Decided | None:
    """Why an option is not the user's to set; None if it is."""
    if flag.name in DECIDED or flag.name in _HARMLESS:
        return DECIDED.get(flag.name)
    return _MEMORY if flag.group in _GUARDED_GROUPS else _UNSEEN
