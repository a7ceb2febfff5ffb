"""Every field of the plan: where each artifact shows it, or why an artifact does not need it.

A new field fails `test_knobs.py` until it has a row. A row changes one field of a sample plan; exactly the kinds of
artifacts in `shows` must then change, and hold the value where the locator says (see `readers.py`).
"""

from __future__ import annotations

from compiler.plan.ir import Verdict
from tests.faithfulness.knobs_around import AROUND
from tests.faithfulness.knobs_ledger import OF_LEDGER
from tests.faithfulness.samples import with_parts
from tests.faithfulness.table import CHECKED, FIGURE, OPTION, PEOPLE, SCRIPT, TARGET, Knob, in_plan_only
from tests.unit.plan_samples import COMMIT, UUIDS, one_on_cpu, one_on_two_gpus

NODE, SERVICE, MODEL = ("node",), ("services", 0), ("services", 0, "model")
CACHE, ARGUMENT, TIMEOUTS = (*SERVICE, "kv_cache"), (*SERVICE, "arguments", 3), (*SERVICE, "timeouts")
UNIT = "duo-coder.service"
GPUS_OF_BIG = "services.big.deploy.resources.reservations.devices.0.device_ids"
HUB = "/nonexistent/.cache/huggingface/hub"
ALL = "all kinds show it"

OF_STACK = (
    Knob(
        "Plan.stack",
        ("stack",),
        "other",
        {
            "plan.json": {"stack": "other"},
            "launch": {},
            "systemd": {
                "other-coder.service Unit PartOf": "other.target",
                "other.target Unit Wants": "other-coder.service",
            },
            "compose": {"name": "other"},
        },
        ALL,
    ),
    in_plan_only("Plan.targets", ("targets",), ("compose", "systemd"), "targets", "decides which artifacts there are"),
    in_plan_only("Plan.verdict", ("verdict",), Verdict.MARGIN, "verdict", PEOPLE),
    Knob("Plan.folder", ("folder",), "gpu01", {}, "where the tree lies in the repository; no machine knows it"),
    Knob(
        "Plan.templates",
        ("templates",),
        (("systemd/service.j2", "0"),),
        {"plan.json": {"templates": {"systemd/service.j2": "0"}}},
        PEOPLE,
    ),
    in_plan_only("Engine.cuda", ("engine", "cuda"), "99.9", "engine.cuda", CHECKED),
    in_plan_only("Engine.minimum_driver", ("engine", "minimum_driver"), "999", "engine.minimum_driver", CHECKED),
    in_plan_only("GpuNode.product", (*NODE, "product"), "X1", "node.product", CHECKED),
    in_plan_only("Engine.version", ("engine", "version"), "9.9.9", "engine.vllm", CHECKED),
    Knob(
        "Engine.image",
        ("engine", "image"),
        "vllm:x",
        {
            "plan.json": {"engine.image": "vllm:x"},
            "compose": {"services.coder.image": "vllm:x", "services.prefetch.image": "vllm:x"},
        },
        "units run the vLLM of `paths.vllm`",
    ),
    in_plan_only("GpuNode.name", (*NODE, "name"), "gpu99", "node.name", PEOPLE),
    in_plan_only("GpuNode.title", (*NODE, "title"), "H100", "node.gpu", CHECKED),
    in_plan_only("GpuNode.count", (*NODE, "count"), 2, "node.count", CHECKED),
    in_plan_only("GpuNode.memory", (*NODE, "memory"), 5, "node.memory_bytes", CHECKED),
    in_plan_only("GpuNode.mig", (*NODE, "mig"), "1g.10gb", "node.mig", CHECKED),
    Knob(
        "GpuNode.compute_capability",
        (*NODE, "compute_capability"),
        (9, 0),
        {"plan.json": {"node.compute_capability": "9.0"}},
        CHECKED,
    ),
    Knob(
        "GpuNode.uuids",
        (*NODE, "uuids"),
        ("GPU-a", "GPU-b"),
        {
            "plan.json": {"node.uuids": "GPU-b"},
            "launch": {"big $CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"},
            "compose": {GPUS_OF_BIG: "GPU-b"},
        },
        SCRIPT,
        one_on_two_gpus,
    ),
    in_plan_only("CpuNode.name", (*NODE, "name"), "box2", "node.name", PEOPLE, sample=one_on_cpu),
    in_plan_only("CpuNode.memory", (*NODE, "memory"), 5, "node.memory_bytes", CHECKED, sample=one_on_cpu),
    Knob(
        "Paths.install",
        ("paths", "install"),
        "/srv/x",
        {"plan.json": {"paths.install": "/srv/x", "paths.current": "/srv/x/current"}, "systemd": {}},
        "scripts find each other beside themselves, and containers mount the tree",
    ),
    Knob(
        "Paths.state",
        ("paths", "state"),
        "/var/lib/x",
        {
            "plan.json": {"paths.state": "/var/lib/x"},
            "launch": {"coder $lock_directory": "/var/lib/x/locks"},
            "systemd": {f"{UNIT} Service StateDirectory": "x", f"{UNIT} Service Environment": "HF_HOME=/var/lib/x/hf"},
        },
        "containers keep their state in volumes",
    ),
    Knob(
        "Paths.vllm",
        ("paths", "vllm"),
        "/opt/v/bin/vllm",
        {
            "plan.json": {"paths.vllm": "/opt/v/bin/vllm"},
            "systemd": {f"{UNIT} Service Environment": "STACKC_VLLM=/opt/v/bin/vllm"},
        },
        "the launch script takes it from its environment, and an image has its own",
    ),
    Knob(
        "Secrets.hf_token",
        ("secrets", "hf_token"),
        "/etc/x",
        {
            "plan.json": {"secrets.hf_token": "/etc/x"},
            "systemd": {"duo-prefetch.service Service LoadCredential": "hf-token:/etc/x"},
            "compose": {"secrets.hf-token.file": "/etc/x"},
        },
        "the servers never go online",
    ),
    Knob(
        "Secrets.api_key",
        ("secrets", "api_key"),
        "/etc/x",
        {
            "plan.json": {"secrets.api_key": "/etc/x"},
            "launch": {"coder $key_file": "/etc/x"},
            "systemd": {f"{UNIT} Service LoadCredential": "api-key:/etc/x"},
            "compose": {"secrets.api-key.file": "/etc/x"},
        },
        ALL,
    ),
)

OF_SERVICE = (
    Knob(
        "Service.name",
        (*SERVICE, "name"),
        "main",
        {
            "plan.json": {"services.0.name": "main"},
            "launch": {"main argv": "serve"},
            "systemd": {"duo-main.service Service ExecStartPost": "main", "duo.target Unit Wants": "duo-main.service"},
            "compose": {"services.main.entrypoint": "/opt/stackc/bin/launch-main"},
        },
        ALL,
    ),
    in_plan_only("Service.task", (*SERVICE, "task"), "completion", "services.0.task", CHECKED),
    in_plan_only("Service.labels", (*SERVICE, "labels"), 3, "services.0.labels", CHECKED),
    Knob(
        "Service.served_name",
        (*SERVICE, "served_name"),
        "x",
        {"plan.json": {"services.0.served_name": "x"}, "systemd": {f"{UNIT} Unit Description": "x"}},
        OPTION,
    ),
    Knob(
        "Service.host",
        (*SERVICE, "host"),
        "10.0.0.9",
        {
            "plan.json": {"services.0.host": "10.0.0.9"},
            "launch": {"coder argv": "10.0.0.9"},
            "systemd": {
                f"{UNIT} Unit After": "network-online.target",
                f"{UNIT} Service IPAddressDeny": "link-local",
            },
            "compose": {"services.coder.ports.0.host_ip": "10.0.0.9"},
        },
        ALL,
    ),
    Knob(
        "Service.port",
        (*SERVICE, "port"),
        8111,
        {
            "plan.json": {"services.0.port": 8111},
            "compose": {"services.coder.ports.0.target": 8111},
            "systemd": {f"{UNIT} Service ExecStart": "8111"},
        },
        OPTION,
    ),
    Knob(
        "Service.devices",
        (*SERVICE, "devices"),
        (1, 0),
        {
            "plan.json": {"services.0.devices": [1, 0]},
            "launch": {"big $CUDA_VISIBLE_DEVICES": f"{UUIDS[1]},{UUIDS[0]}"},
            "compose": {GPUS_OF_BIG: UUIDS[0]},
        },
        SCRIPT,
        one_on_two_gpus,
    ),
    Knob(
        "Service.start_after",
        ("services", 1, "start_after"),
        (),
        {"plan.json": {"services.1.start_after": []}, "systemd": {}, "compose": {}},
        "an order between servers is no matter of one of them",
    ),
    in_plan_only("Service.dtype", (*SERVICE, "dtype"), "float16", "services.0.dtype", OPTION),
    in_plan_only("Service.max_model_len", (*SERVICE, "max_model_len"), 77, "services.0.max_model_len", OPTION),
    in_plan_only("Service.concurrency", (*SERVICE, "concurrency"), 77, "services.0.concurrency", FIGURE),
    in_plan_only("Service.max_num_seqs", (*SERVICE, "max_num_seqs"), 77, "services.0.max_num_seqs", OPTION),
    in_plan_only(
        "Service.max_num_batched_tokens",
        (*SERVICE, "max_num_batched_tokens"),
        77,
        "services.0.max_num_batched_tokens",
        OPTION,
    ),
    Knob(
        "Service.gpu_memory_utilization",
        (*SERVICE, "gpu_memory_utilization"),
        1234,
        {"plan.json": {"services.0.gpu_memory_utilization": 0.1234}},
        OPTION,
    ),
    Knob(
        "Service.environment",
        (*SERVICE, "environment"),
        (("VLLM_X", "a b"),),
        {"plan.json": {"services.0.environment": {"VLLM_X": "a b"}}, "launch": {"coder $VLLM_X": "a b"}},
        SCRIPT,
    ),
    Knob(
        "Service.pipeline_parallel_size",
        (*SERVICE, "pipeline_parallel_size"),
        2,
        {"plan.json": {"services.0.pipeline_parallel_size": 2, "services.0.tensor_parallel_size": 1}},
        OPTION,
        one_on_two_gpus,
    ),
    Knob(
        "Service.media_domains",
        (*SERVICE, "media_domains"),
        ("images.example.org",),
        {
            "plan.json": {"services.0.media_domains": "images.example.org"},
            "systemd": {
                f"{UNIT} Service IPAddressDeny": "192.168.0.0/16",
                f"{UNIT} Service IPAddressAllow": "localhost",
            },
        },
        OPTION,
    ),
    in_plan_only("Service.features", (*SERVICE, "features"), ("tools",), "services.0.features", OPTION),
    in_plan_only("Service.solved", (*SERVICE, "solved"), ("context",), "services.0.solved", PEOPLE),
    in_plan_only("Service.candidate_of", (*SERVICE, "candidate_of"), "x", "services.0.candidate_of", TARGET),
    Knob(
        "Timeouts.ready",
        (*TIMEOUTS, "ready"),
        601,
        {
            "plan.json": {"services.0.timeouts.ready_seconds": 601},
            "launch": {},  # of the neighbour, which waits for its lock so long
            "systemd": {f"{UNIT} Service ExecStartPost": "1201"},
            "compose": {"services.coder.healthcheck.start_period": "1201s"},
        },
        ALL,
    ),
    Knob(
        "Timeouts.start",
        (*TIMEOUTS, "start"),
        1720,
        {"plan.json": {"services.0.timeouts.start_seconds": 1720}, "systemd": {}},
        "Compose has no limit for a start, only for the time until failures count",
    ),
    in_plan_only("Timeouts.drain", (*TIMEOUTS, "drain"), 31, "services.0.timeouts.drain_seconds", OPTION),
    Knob(
        "Timeouts.stop",
        (*TIMEOUTS, "stop"),
        61,
        {
            "plan.json": {"services.0.timeouts.stop_seconds": 61},
            "systemd": {f"{UNIT} Service TimeoutStopSec": "61"},
            "compose": {"services.coder.stop_grace_period": "61s"},
        },
        "whoever stops the server needs it, not the server",
    ),
    Knob(
        "Argument.flag",
        (*ARGUMENT, "flag"),
        "--x",
        {"plan.json": {"services.0.arguments.3.flag": "--x"}, "launch": {"coder argv": "--x"}},
        SCRIPT,
    ),
    Knob(
        "Argument.value",
        (*ARGUMENT, "value"),
        "-1 $x",
        {"plan.json": {"services.0.arguments.3.value": "-1 $x"}, "launch": {"coder argv": "--max-model-len=-1 $x"}},
        SCRIPT,
    ),
    in_plan_only("Argument.reason", (*ARGUMENT, "reason"), "why", "services.0.arguments.3.reason", PEOPLE),
    in_plan_only("KvCache.dtype", (*CACHE, "dtype"), "fp8", "services.0.kv_cache.dtype", OPTION),
    in_plan_only("KvCache.block_size", (*CACHE, "block_size"), 32, "services.0.kv_cache.block_size", FIGURE),
    in_plan_only(
        "KvCache.bytes_per_block", (*CACHE, "bytes_per_block"), 3, "services.0.kv_cache.bytes_per_block", OPTION
    ),
    in_plan_only("KvCache.num_blocks", (*CACHE, "num_blocks"), 9, "services.0.kv_cache.num_blocks", OPTION),
    in_plan_only(
        "KvCache.capacity_tokens", (*CACHE, "capacity_tokens"), 9, "services.0.kv_cache.capacity_tokens", FIGURE
    ),
    in_plan_only(
        "KvCache.max_concurrency", (*CACHE, "max_concurrency"), 9.5, "services.0.kv_cache.max_concurrency", FIGURE
    ),
)

OF_MODEL = (
    in_plan_only("ServedModel.requested", (*MODEL, "requested"), "org/x", "services.0.model.requested", PEOPLE),
    Knob(
        "ServedModel.repository",
        (*MODEL, "repository"),
        "org/x",
        {
            "plan.json": {"services.0.model.repository": "org/x"},
            "launch": {"coder argv": f"{HUB}/models--org--x/snapshots/{COMMIT}"},
        },
        SCRIPT,
    ),
    Knob(
        "ServedModel.folder",
        (*MODEL, "folder"),
        "/srv/x",
        {"plan.json": {"services.0.model.folder": "/srv/x"}, "launch": {"tiny argv": "/srv/x"}, "compose": {}},
        "the unit sees the whole machine, as far as its sandbox goes",
        one_on_cpu,
    ),
    Knob(
        "ServedModel.commit",
        (*MODEL, "commit"),
        "f" * 40,
        {
            "plan.json": {"services.0.model.commit": "f" * 40},
            "launch": {"coder argv": f"{HUB}/models--org--coder-awq/snapshots/{'f' * 40}"},
        },
        SCRIPT,
    ),
    Knob(
        "ServedModel.is_pinned",
        (*MODEL, "is_pinned"),
        False,
        {"plan.json": {"services.0.model.pinned": False}, "launch": {"coder $expected": COMMIT}},
        SCRIPT,
    ),
    in_plan_only("ServedModel.license", (*MODEL, "license"), "mit", "services.0.model.license", PEOPLE),
    in_plan_only(
        "ServedModel.quantization",
        (*MODEL, "quantization"),
        "gptq",
        "services.0.model.quantization",
        "vLLM reads it from the checkpoint; where it does not, an option says it",
    ),
    in_plan_only("ServedModel.weights_bytes", (*MODEL, "weights_bytes"), 9, "services.0.model.weights_bytes", CHECKED),
    in_plan_only("ServedModel.unconfirmed", (*MODEL, "unconfirmed"), ("x",), "services.0.model.unconfirmed", PEOPLE),
    in_plan_only("ServedModel.base_models", (*MODEL, "base_models"), ("x",), "services.0.model.base_models", PEOPLE),
)

FILE, EMBEDDING, NEED = (*MODEL, "files", 0), (*SERVICE, "embedding"), (*SERVICE, "host_needs", 0)
OF_PARTS = (
    in_plan_only("HostNeed.tool", (*NEED, "tool"), "c++", "services.0.host_needs.0.tool", CHECKED, sample=with_parts),
    in_plan_only("HostNeed.why", (*NEED, "why"), "y", "services.0.host_needs.0.why", CHECKED, sample=with_parts),
    in_plan_only(
        "HostNeed.unless", (*NEED, "unless"), "B", "services.0.host_needs.0.unless", CHECKED, sample=with_parts
    ),
    in_plan_only("ModelFile.path", (*FILE, "path"), "x", "services.0.model.files.0.path", CHECKED, sample=with_parts),
    in_plan_only("ModelFile.size", (*FILE, "size"), 9, "services.0.model.files.0.size", CHECKED, sample=with_parts),
    in_plan_only(
        "ModelFile.sha256", (*FILE, "sha256"), "x", "services.0.model.files.0.sha256", CHECKED, sample=with_parts
    ),
    in_plan_only(
        "Embedding.dimension",
        (*EMBEDDING, "dimension"),
        9,
        "services.0.embedding.dimension",
        CHECKED,
        sample=with_parts,
    ),
    in_plan_only(
        "Embedding.is_normalized",
        (*EMBEDDING, "is_normalized"),
        False,
        "services.0.embedding.normalized",
        CHECKED,
        sample=with_parts,
    ),
)

KNOBS = (*OF_STACK, *OF_SERVICE, *OF_MODEL, *OF_PARTS, *OF_LEDGER, *AROUND)
