"""Every field of the plan: where each artifact shows it, or why an artifact does not need it.

A new field fails `test_knobs.py` until it has a row. A row changes one field of a sample plan; exactly the kinds of
artifacts in `shows` must then change, and hold the value where the locator says (see `readers.py`).
"""

from __future__ import annotations

from compiler.engines.interface.launch import Placeholder
from compiler.plan.ir import Verdict
from tests.faithfulness.knobs_around import AROUND
from tests.faithfulness.knobs_clients import OF_CLIENTS
from tests.faithfulness.knobs_cluster import OF_CLUSTER
from tests.faithfulness.knobs_engine import OF_ENGINE, OF_HOST
from tests.faithfulness.knobs_groups import OF_GROUP, OF_SLURM
from tests.faithfulness.knobs_ledger import OF_LEDGER
from tests.faithfulness.knobs_model import OF_ADAPTERS, OF_MODEL, OF_PARTS
from tests.faithfulness.knobs_speed import OF_SPEED
from tests.faithfulness.table import CHECKED, FIGURE, OPTION, PEOPLE, SCRIPT, TARGET, Knob, in_plan_only
from tests.unit.other_engine import with_another_engine
from tests.unit.plan_samples import UUIDS, one_beside_other_cards, one_on_cpu, one_on_two_gpus

NODE, SERVICE, MODEL = ("node",), ("services", 0), ("services", 0, "model")
CARD, CARD_1 = (*NODE, "cards", 1), "node.cards.1"
CACHE, ARGUMENT, TIMEOUTS = (*SERVICE, "kv_cache"), (*SERVICE, "arguments", 3), (*SERVICE, "timeouts")
UNIT = "duo-coder.service"
GPUS_OF_BIG = "services.big.deploy.resources.reservations.devices.0.device_ids"
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
    in_plan_only("GpuNode.product", (*NODE, "product"), "X1", "node.product", CHECKED),
    in_plan_only("GpuNode.name", (*NODE, "name"), "gpu99", "node.name", PEOPLE),
    in_plan_only("GpuNode.address", (*NODE, "address"), "10.0.0.9", "node.address", PEOPLE),
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
    in_plan_only("Card.title", (*CARD, "title"), "T4", "node.cards.1.gpu", CHECKED, sample=one_beside_other_cards),
    in_plan_only("Card.memory", (*CARD, "memory"), 5, f"{CARD_1}.memory_bytes", CHECKED, sample=one_beside_other_cards),
    in_plan_only("Card.product", (*CARD, "product"), "T4", f"{CARD_1}.product", CHECKED, sample=one_beside_other_cards),
    Knob(
        "Card.compute_capability",
        (*CARD, "compute_capability"),
        (7, 5),
        {"plan.json": {"node.cards.1.compute_capability": "7.5"}},
        CHECKED,
        one_beside_other_cards,
    ),
    in_plan_only("CpuNode.name", (*NODE, "name"), "box2", "node.name", PEOPLE, sample=one_on_cpu),
    in_plan_only("CpuNode.address", (*NODE, "address"), "10.0.0.9", "node.address", PEOPLE, sample=one_on_cpu),
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
    in_plan_only("Service.max_model_len", (*SERVICE, "max_model_len"), 77, "services.0.max_model_len", OPTION),
    in_plan_only("Service.concurrency", (*SERVICE, "concurrency"), 77, "services.0.concurrency", FIGURE),
    in_plan_only("Service.max_num_seqs", (*SERVICE, "max_num_seqs"), 77, "services.0.max_num_seqs", OPTION),
    Knob(
        "Service.figures",
        (*SERVICE, "figures"),
        {"gpu_memory_utilization": 0.1234, "n_gpu_layers": 7},
        {"plan.json": {"services.0.gpu_memory_utilization": 0.1234, "services.0.n_gpu_layers": 7}},
        OPTION,
    ),
    Knob(
        "Service.engine",
        ("services", 1, "engine"),
        "other",
        {
            "plan.json": {"services.1.engine": "other"},
            "launch": {},
            "systemd": {"duo-general.service Service Environment": "STACKC_OTHER=/opt/other/bin/other-server"},
            "compose": {"services.general.image": "other:1"},
        },
        TARGET,
        with_another_engine,
    ),
    Knob("Service.words", (*SERVICE, "words"), ("run", Placeholder.MODEL), {"launch": {"coder argv": "run"}}, SCRIPT),
    Knob(
        "Service.shared_memory",
        (*SERVICE, "shared_memory"),
        64 << 20,
        {"compose": {"services.coder.shm_size": "128m"}},
        "the machine's own is as large as it is; preflight looks",
    ),
    Knob(
        "Service.uses_gpus",
        (*SERVICE, "uses_gpus"),
        False,
        {
            "launch": {},
            "systemd": {"duo-coder.service Service PrivateDevices": "yes"},
            "compose": {},
        },
        TARGET,
    ),
    Knob("Service.notes", (*SERVICE, "notes"), ("x",), {}, "`stackc explain` says them, and no program reads them"),
    Knob(
        "Service.measures",
        (*SERVICE, "measures"),
        False,
        {},
        "one of two that share a GPU measures still, so that both hold its lock",
    ),
    Knob(
        "Service.environment",
        (*SERVICE, "environment"),
        (("VLLM_X", "a b"),),
        {"plan.json": {"services.0.environment": {"VLLM_X": "a b"}}, "launch": {"coder $VLLM_X": "a b"}},
        SCRIPT,
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

KNOBS = (
    *OF_STACK,
    *OF_ENGINE,
    *OF_HOST,
    *OF_SERVICE,
    *OF_GROUP,
    *OF_SLURM,
    *OF_MODEL,
    *OF_PARTS,
    *OF_ADAPTERS,
    *OF_LEDGER,
    *OF_SPEED,
    *AROUND,
    *OF_CLIENTS,
    *OF_CLUSTER,
)
