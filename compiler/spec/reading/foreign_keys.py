"""Keys of other tools, answered with the key of a spec that says it, or with what holds instead.

ONE table: a row is what the spec says, why, and the words that vLLM, SGLang, TGI, llama.cpp, Ollama, compose,
Kubernetes and the shell have for it. Case, `-`, `_` and leading dashes do not matter. What no row has is asked of the
engine that runs the service: its options, and what only it has another answer to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from compiler.spec.engines import EngineSpec
from compiler.spec.models import Spec
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.reading.engine_advice import Advisor, Foreign
from compiler.spec.reading.instead import BUDGET, DRAFTS, KEPT
from compiler.spec.services import ServiceSpec

_FILES = "units and container files are written from the plan: `patches` changes what they say"
_PLACE = "a server's GPUs are indices on its node, such as `gpus: [0]`, or left to the solver; cards stand in `nodes`"

_SERVICE: tuple[tuple[str | None, str, str], ...] = (
    ("context", "tokens of one request, prompt and answer together",
     "max_model_len max_seq_len max_sequence_length context_length context_size context_window max_context ctx_size "
     "ctx n_ctx num_ctx max_total_tokens max_input_length max_input_tokens"),
    ("concurrency", "requests of full context that the KV cache holds at once",
     "parallel n_parallel num_parallel ollama_num_parallel max_concurrent_requests max_concurrency "
     "max_running_requests"),
    ("max_num_seqs", "requests that a step may hold", "max_batch_size max_batch max_seqs"),
    ("max_num_batched_tokens", "tokens of one step",
     "chunked_prefill_size max_prefill_tokens max_batch_prefill_tokens max_batch_total_tokens batch_size n_batch "
     "num_batch"),
    ("tensor_parallel_size", "GPUs that each layer is split over; left out, the solver chooses",
     "tp tp_size tensor_parallel num_shard num_gpus gpu_count"),
    ("pipeline_parallel_size", "stages that the layers are divided into", "pp pp_size pipeline_parallel"),
    ("expert_parallel", "`true` puts whole experts on each GPU, as many as there are GPUs",
     "enable_expert_parallel ep ep_size expert_parallel_size moe_expert_parallel"),
    ("gpus", _PLACE, "gpu gpu_ids gpu_id device_id device_ids devices cuda_visible_devices main_gpu"),
    ("served_name", "the name that clients ask for", "served_model_name alias model_alias model_name name"),
    ("model", "a Hub id (organisation/name), or the path of a folder on the server",
     "model_id model_path model_tag hf_repo hf_model repo repository repo_id"),
    ("quantization", "a method, or a list of those that may do", "quantize quant"),
    ("media", "most images, videos and sounds of one prompt, such as `{image: 2}`",
     "limit_mm_per_prompt language_model_only mm_limits"),
    ("port", "where the server listens", "ports container_port listen_port"),
    ("host", "the address that the server listens on", "listen bind address hostname"),
    ("task", "`chat`, `completion`, `embed`, `score` or `classify`", "runner type kind mode is_embedding embedding"),
    ("node", "the node of `nodes` that it runs on", "node_name node_selector"),
    (None, f"an output of the ledger: {BUDGET}",
     "gpu_memory_utilization gpu_memory mem_fraction_static cuda_memory_fraction memory vram gpu_mem "
     "kv_cache_memory_bytes num_gpu_blocks max_ram mem_limit"),
    ("replicas", "servers that answer for it, each with GPUs and a port of its own",
     "num_replicas scale data_parallel_size data_parallel dp dp_size max_replicas"),
    (None, "one image serves the whole stack: `image` in `engine`", "image image_tag"),
    (None, _FILES,
     "environment env volumes volume_mounts restart restart_policy healthcheck depends_on container_name networks "
     "deploy resources limits requests runtime shm_size ipc user labels"),
    (None, "secrets are files of the server, and stand in `secrets`", "api_key api_keys hf_token token password"),
    (None, "the policy decides it: `policy: {trust_remote_code: allow}`", "trust_remote_code"),
    (None, "the lock pins the commit of each model, and `stackc lock --upgrade-service` moves it",
     "revision commit sha version tag"),
    (None, KEPT, "keep_alive ttl idle_timeout unload_after"),
    ("adapters", "LoRA adapters, such as `[{model: publisher/name, name: sql}]`",
     "adapter lora loras lora_adapters lora_modules lora_paths"),
    ("adapters_at_once", "adapters that may run in one batch", "max_loras max_loras_per_batch"),
    ("speculate", DRAFTS, "draft draft_model model_draft speculative speculative_model speculative_config"),
    (None, "`features: [tools]` has the server write calls of tools", "tools tool_calling function_calling"),
)  # fmt: skip

_GPUS: tuple[tuple[str | None, str, str], ...] = (
    ("model", "a name of `stackc gpus`", "name type gpu card product device accelerator"),
    ("count", "how many such cards the node has", "num n number quantity num_gpus gpu_count amount"),
    (
        "memory",
        "of each card, as CUDA reports it, such as `23.52GiB`",
        "vram mem memory_gb memory_size gpu_memory size",
    ),
    ("compute_capability", 'such as `"8.9"`', "cc sm compute_cap capability arch cuda_arch"),
    ("uuids", "one of each card, as `nvidia-smi -L` prints them", "uuid ids gpu_uuids device_ids"),
)

_NODE: tuple[tuple[str | None, str, str], ...] = (
    ("gpus", "its cards, such as `{model: NAME, count: 2}`", "gpu cards accelerator accelerators devices"),
    ("cpu", "of a node without GPUs, such as `{memory: 16GiB}`", "cpus processor"),
    ("reserve", "kept free on each GPU", "reserved keep_free headroom"),
    (None, f"an output of the ledger: {BUDGET}", "gpu_memory_utilization"),
    ("memory", "main memory beside GPUs", "ram main_memory host_memory system_memory"),
    (None, "a card's own stands in `gpus`, that of a node without GPUs in `cpu`", "vram mem"),
    (
        None,
        "the key of `nodes` is the machine's name, and nothing else of it is asked",
        "host hostname name ip",
    ),
)

_STACK: tuple[tuple[str | None, str, str], ...] = (
    ("services", "the stack's servers, each by its name", "service models model servers server deployments instances"),
    ("nodes", "the stack's machines, each by its name", "node hosts host machines machine gpus gpu hardware"),
    ("stack", "the name of the file", "name project metadata"),
    ("engine", "which engine runs, such as `{vllm: 0.33.0}`", "version vllm llama_cpp engines runtime api_version"),
    (
        "targets",
        "what is written: `scripts`, `systemd`, `compose`, `quadlet`, `kubernetes`",
        "target outputs output kind",
    ),
    ("gateway", "one port for the stack, with keys of clients", "proxy ingress router nginx load_balancer"),
    ("monitoring", "Prometheus, alerts and a dashboard", "metrics observability prometheus grafana"),
    (None, _FILES, "volumes networks configs"),
    (None, "secrets are files of the server, and stand in `secrets`", "api_key hf_token"),
)

_ENGINE: tuple[tuple[str | None, str, str], ...] = (
    ("vllm", "the release, such as `0.33.0`", "version vllm_version release name tag"),
    ("image", "best as `repository@sha256:…`", "container docker_image container_image"),
)


def plain(name: str) -> str:
    """A key's letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_rows(rows: tuple[tuple[str | None, str, str], ...]) -> Mapping[str, Foreign]:
    """Answers by `plain` key: a row is the spec's key if there is one, why, and the words of other tools."""
    return {plain(word): Foreign(why, key) for key, why, words in rows for word in words.split()}


# Words for what each engine answers in its own way.
CACHE_WORDS = "kv_cache_type cache_type cache_type_k cache_type_v kv_dtype kv_cache"
OFFLOAD_WORDS = "cpu_offload_gb offload low_vram"
LAYERS_WORDS = "n_gpu_layers ngl num_gpu"
EXPERTS_WORDS = "n_cpu_moe ncmoe"
ARGUMENT_WORDS = "command entrypoint args extra_args vllm_args extra_engine_args"
SAMPLING_WORDS = (
    "temperature top_p top_k min_p max_tokens num_predict n_predict stop seed repeat_penalty presence_penalty "
    "frequency_penalty"
)

TABLE: Mapping[type, Mapping[str, Foreign]] = {
    ServiceSpec: read_rows(_SERVICE),
    GpusSpec: read_rows(_GPUS),
    NodeSpec: read_rows(_NODE),
    Spec: read_rows(_STACK),
    EngineSpec: read_rows(_ENGINE),
}
"""Answers by the record that a key was written in, and by the key's letters and digits."""


def foreign_key(record: type, name: str, engine: Advisor, release: str | None) -> Foreign | None:
    """What to say of a key that `record` does not have; None where nothing is known of it.

    Args:
        record: the class of the map in which the key stands.
        name: of the key.
        engine: that runs the service which the key is of; for other records it is not asked.
        release: of the engine, which the spec pins.
    """
    found = TABLE.get(record, {}).get(plain(name))
    return engine.key_hint(name, release) if found is None and record is ServiceSpec else found
