"""Which options of `llama-server` a spec may give in `engine_args`, and why it may not give the others.

Only options that somebody has looked at pass: one that is new in a build is refused until then. An option that changes
memory in a way that the ledger does not follow, or opens a door that the plan keeps shut, is never passed through.
Read in common/arg.cpp and tools/server of b10435, whose options are those of b10434.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.common.engine_args import Decided
from compiler.engines.llama_cpp.options.catalog import Flag

_MEMORY = Decided("it can change memory in a way that the ledger does not follow")
_FITTING = Decided("the server would lower the context or the layers on its own, where the plan says what it serves")
_BUDGET = Decided("it is an output: the ledger decides it for each server")
_PLACEMENT = Decided("it follows from the placement")
_LAYERS = Decided("it decides which layers a GPU holds", "gpu_layers")
_EXPERTS = Decided("it decides whose experts stay in main memory", "cpu_moe")
_CACHE = Decided("it decides the bytes of every cell", "kv_cache_dtype")
_LOADING = Decided("it decides whether weights of main memory are the process's own, as the ledger counts them")
_SHIFT = Decided("it moves entries of the cache by a computation whose memory the ledger has not")
_LENGTH = Decided("positions are those that the model was trained on, by its header; the check of `context` is too")
_FACTS = Decided("the model's facts come from the lock")
_DOWNLOAD = Decided("the server reads files that bin/prefetch fetched and the lock pins, and downloads nothing")
_TASK = Decided("what a server answers follows from the service", "task")
_MEDIA = Decided("the lock pins the projector, and the ledger holds one image at once", "media")
_LEAST_IMAGE = Decided("the ledger holds the images that the projector's own kind lets pass")
_DRAFT = Decided("a draft takes memory, and so do its tokens: the ledger has neither")
_ROUTER = Decided("a server has one model: those of a router would size themselves when they are asked for")
_REMOTE = Decided("layers on other machines are in nobody's ledger, and their servers take orders from anyone")
_SECRET = Decided("a secret on the command line shows in `ps`", "secrets")
_PROBES = Decided("the probes and the smoke test expect plain HTTP on the service's port, and its paths")
_ORIGINS = Decided("websites come to the gateway, which answers for its servers", "gateway.cors")
_TOOLS = Decided("the server would run or call other programs at a model's word")
_PAGES = Decided("servers have no pages: clients ask the API")
_FILES = Decided("clients or the server would read and write files of the host")
_LOG = Decided("the log is read by its lines, of which buffers' sizes are some, and the machine's journal keeps it")
_SERVICE = Decided("clients would change what every client gets")
_NOTHING = Decided("the server ignores it")
_UNSEEN = Decided("stackc does not know what it changes or opens")

# llama-server's own shorthands for models, each with its downloads, context and batch.
_PRESETS = (
    "--embd-gemma-default", "--fim-qwen-1.5b-default", "--fim-qwen-14b-spec", "--fim-qwen-30b-default",
    "--fim-qwen-3b-default", "--fim-qwen-7b-default", "--fim-qwen-7b-spec", "--gpt-oss-120b-default",
    "--gpt-oss-20b-default", "--vision-gemma-12b-default", "--vision-gemma-4b-default",
)  # fmt: skip

DECIDED: Mapping[str, Decided] = {
    "--agent": _TOOLS,
    "--alias": Decided("clients and the smoke test need it too", "served_name"),
    "--api-key": _SECRET,
    "--api-key-file": _SECRET,
    "--api-prefix": _PROBES,
    "--backend-sampling": _MEMORY,
    "--batch-size": Decided("it decides the compute buffer", "max_num_batched_tokens"),
    "--cache-ram": _BUDGET,
    "--cache-reuse": _SHIFT,
    "--cache-type-k": _CACHE,
    "--cache-type-v": _CACHE,
    "--cont-batching": Decided("requests at once would wait for each other, of which `concurrency` promises some"),
    "--context-shift": Decided(
        f"{_SHIFT.why}, and a request could write past its end with it (CVE-2026-21869, in builds of early 2026)"
    ),
    "--control-vector": _MEMORY,
    "--control-vector-layer-range": _MEMORY,
    "--control-vector-scaled": _MEMORY,
    "--cors-credentials": _ORIGINS,
    "--cors-headers": _ORIGINS,
    "--cors-methods": _ORIGINS,
    "--cors-origins": _ORIGINS,
    "--cpu-moe": _EXPERTS,
    "--ctx-checkpoints": _BUDGET,
    "--ctx-size": Decided("it is what the caches are sized for, of all slots together", "context"),
    "--defrag-thold": _NOTHING,
    "--device": Decided("GPUs are chosen by the placement", "gpus"),
    "--direct-io": _LOADING,
    "--docker-repo": _DOWNLOAD,
    "--embedding": _TASK,
    "--fit": _FITTING,
    "--fit-ctx": _FITTING,
    "--fit-target": _FITTING,
    "--flash-attn": Decided("memory is proved with it, and where no kernel has it the service is refused"),
    "--gpu-layers": _LAYERS,
    "--hf-file": _DOWNLOAD,
    "--hf-repo": _DOWNLOAD,
    "--hf-token": _SECRET,
    "--host": Decided("the probes and the compose file need it too", "host"),
    "--image-min-tokens": _LEAST_IMAGE,
    "--kv-offload": _MEMORY,
    "--kv-unified": Decided("each slot has the promised context, whatever others do"),
    "--load-mode": _LOADING,
    "--log-disable": _LOG,
    "--log-file": _LOG,
    "--log-prompts-dir": _FILES,
    "--lookup-cache-dynamic": _DRAFT,
    "--lookup-cache-static": _DRAFT,
    "--lora": _MEMORY,
    "--lora-init-without-apply": _MEMORY,
    "--lora-scaled": _MEMORY,
    "--main-gpu": Decided("GPUs are chosen by the placement", "gpus"),
    "--mcp-servers-config": _TOOLS,
    "--mcp-servers-json": _TOOLS,
    "--media-path": _FILES,
    "--metrics": Decided("monitoring and the smoke test ask for them: they are always on"),
    "--mlock": _LOADING,
    "--mmap": _LOADING,
    "--mmproj": _MEDIA,
    "--mmproj-auto": _MEDIA,
    "--mmproj-offload": _MEDIA,
    "--mmproj-url": _DOWNLOAD,
    "--model": Decided("the lock pins it", "model"),
    "--model-url": _DOWNLOAD,
    "--models-autoload": _ROUTER,
    "--models-dir": _ROUTER,
    "--models-max": _ROUTER,
    "--models-preset": _ROUTER,
    "--mtmd-batch-max-tokens": _MEDIA,
    "--n-cpu-moe": _EXPERTS,
    "--no-host": _MEMORY,
    "--offline": Decided("servers download nothing: their units say so already"),
    "--op-offload": _MEMORY,
    "--override-kv": _FACTS,
    "--override-tensor": _MEMORY,
    "--parallel": Decided("a slot is one promised request", "concurrency"),
    "--path": _PAGES,
    "--pooling": _TASK,
    "--port": Decided("the probes and the compose file need it too", "port"),
    "--prio": Decided("it needs rights that the servers' user has not"),
    "--prio-batch": Decided("it needs rights that the servers' user has not"),
    "--props": _SERVICE,
    "--rerank": _TASK,
    "--reuse-port": Decided("two servers on one port would share its requests without a word"),
    "--rope-freq-base": _LENGTH,
    "--rope-freq-scale": _LENGTH,
    "--rope-scale": _LENGTH,
    "--rope-scaling": _LENGTH,
    "--rpc": _REMOTE,
    "--sleep-idle-seconds": Decided("a server that sleeps gives up its memory, and may not get it back"),
    "--slot-save-path": _FILES,
    "--spec-default": _DRAFT,
    "--spec-draft-type-k": _DRAFT,
    "--spec-draft-type-v": _DRAFT,
    "--split-mode": _PLACEMENT,
    "--ssl-cert-file": _PROBES,
    "--ssl-key-file": _PROBES,
    "--swa-full": _MEMORY,
    "--tensor-split": _PLACEMENT,
    "--tools": _TOOLS,
    "--tools-runtime": _TOOLS,
    "--ubatch-size": Decided("it decides the compute buffer; it is 512, or the whole text where one is pooled"),
    "--ui": _PAGES,
    "--ui-config": _PAGES,
    "--ui-config-file": _PAGES,
    "--ui-mcp-proxy": _TOOLS,
    "--verbose": _LOG,
    "--verbosity": _LOG,
    "--warmup": Decided("kernels take memory with the first step: without one a start proves nothing"),
    "--yarn-attn-factor": _LENGTH,
    "--yarn-beta-fast": _LENGTH,
    "--yarn-beta-slow": _LENGTH,
    "--yarn-ext-factor": _LENGTH,
    "--yarn-orig-ctx": _LENGTH,
    **dict.fromkeys(_PRESETS, _DOWNLOAD),
}

HARMLESS = frozenset(
    {
        # Requests that say nothing get these; memory is the same.
        "--adaptive-decay", "--adaptive-target", "--dry-allowed-length", "--dry-base", "--dry-multiplier",
        "--dry-penalty-last-n", "--dry-sequence-breaker", "--dynatemp-exp", "--dynatemp-range", "--frequency-penalty",
        "--grammar", "--grammar-file", "--ignore-eos", "--json-schema", "--json-schema-file", "--keep", "--logit-bias",
        "--min-p", "--mirostat", "--mirostat-ent", "--mirostat-lr", "--predict", "--presence-penalty",
        "--repeat-last-n", "--repeat-penalty", "--reverse-prompt", "--sampler-seq", "--samplers", "--seed", "--temp",
        "--top-k", "--top-nsigma", "--top-p", "--typical", "--xtc-probability", "--xtc-threshold",
        # How prompts are written and answers read.
        "--chat-template", "--chat-template-file", "--chat-template-kwargs", "--embd-normalize", "--escape", "--jinja",
        "--prefill-assistant", "--reasoning", "--reasoning-budget", "--reasoning-budget-message", "--reasoning-effort",
        "--reasoning-format", "--reasoning-preserve", "--skip-chat-parsing", "--special", "--spm-infill",
        # Which processors compute, and how they wait.
        "--cpu-mask", "--cpu-mask-batch", "--cpu-range", "--cpu-range-batch", "--cpu-strict", "--cpu-strict-batch",
        "--numa", "--poll", "--poll-batch", "--repack", "--threads", "--threads-batch", "--threads-http",
        # Slots and prompts, within the memory that `--cache-ram` and `--ctx-checkpoints` allow them.
        "--cache-idle-slots", "--cache-prompt", "--checkpoint-min-step", "--slot-prompt-similarity", "--slots",
        # The largest image, which the ledger follows.
        "--image-max-tokens",
        # What is checked, told and waited for.
        "--check-tensors", "--log-colors", "--log-prefix", "--log-timestamps", "--perf", "--sse-ping-interval",
        "--tags", "--timeout",
    }
)  # fmt: skip


def decided(flag: Flag) -> Decided | None:
    """Why an option is not the user's to set; None if it is."""
    if flag.name in HARMLESS:
        return None
    return DECIDED.get(flag.name, _DRAFT if flag.group == "speculative" else _UNSEEN)
