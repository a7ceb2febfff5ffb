"""Plans written by hand, with round figures: the targets must not depend on how a plan came about."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from compiler.plan.ir import (
    Argument,
    Basis,
    CpuNode,
    DeviceLedger,
    Engine,
    GpuNode,
    KvCache,
    LedgerRow,
    Monitoring,
    Paths,
    Plan,
    RowKind,
    Secrets,
    ServedModel,
    ServerLedger,
    Service,
    Timeouts,
    Verdict,
)
from compiler.plan.lower_operations import SERVER_METRICS
from compiler.targets.compose import emit_compose
from compiler.targets.gateway import emit_gateway
from compiler.targets.library import emit_library
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.readme.emit import emit_readme
from compiler.targets.requirements import emit_requirements
from compiler.targets.scripts import emit_scripts
from compiler.targets.systemd import emit_systemd
from compiler.units import GIB, MIB, ByteRange

_Answer = TypeVar("_Answer")


def kept(ask: Callable[[Plan], _Answer]) -> Callable[[Plan], _Answer]:
    """A function of plans that answers from memory where it is asked of the very same plan again; nobody changes it."""
    known: dict[int, tuple[Plan, _Answer]] = {}

    def answer(plan: Plan) -> _Answer:
        # With the plan, so that no other one gets its number.
        _, found = known.get(id(plan)) or known.setdefault(id(plan), (plan, ask(plan)))
        return found

    return answer


COMMIT = "0123456789abcdef0123456789abcdef01234567"
# A plain interpreter first: a version manager's shim would cost more than the program that it starts.
PATH = f"{sys.base_prefix}/bin:/usr/bin:/bin"
UUIDS = ("GPU-00000000-1111-2222-3333-444444444444", "GPU-55555555-6666-7777-8888-999999999999")


def two_on_one_gpu() -> Plan:
    """Two servers that share one 96 GB GPU, one of them known only by a short commit; both secrets."""
    coder = _service("coder", port=8001, model=_model("org/coder-awq"), utilization=5100)
    general = _service("general", port=8002, model=_model("org/general", commit="89abcde"), utilization=3300)
    general = replace(general, start_after=("coder",))
    return Plan(
        stack="duo",
        engine=_ENGINE,
        node=GpuNode("gpu01", "NVIDIA RTX PRO 6000", 1, 94 * GIB, (12, 0)),
        devices=(_device(0, (_ledger("coder", 46), _ledger("general", 30))),),
        services=(coder, general),
        paths=_paths("duo"),
        secrets=Secrets("/etc/stackc/hf-token", "/etc/stackc/api-key"),
        targets=("scripts", "systemd", "compose"),
        verdict=Verdict.FITS,
    )


def one_on_two_gpus() -> Plan:
    """One server over two GPUs known by UUID, on an address of the network, with no key and no known commit."""
    service = _service("big", port=8000, model=_model("org/big", commit=None), utilization=9000)
    arguments = tuple(
        replace(argument, value="10.0.0.7") if argument.flag == "--host" else argument for argument in service.arguments
    )
    arguments += (Argument("--tensor-parallel-size", "2", "two GPUs"),)
    service = replace(service, host="10.0.0.7", devices=(0, 1), arguments=arguments)
    return Plan(
        stack="pair",
        engine=_ENGINE,
        node=GpuNode("gpu02", "NVIDIA H100 80GB HBM3", 2, 79 * GIB, (9, 0), UUIDS),
        devices=tuple(_device(index, (_ledger("big", 70),), total=79) for index in (0, 1)),
        services=(service,),
        paths=_paths("pair"),
        secrets=Secrets(None, None),
        targets=("scripts", "systemd", "compose"),
        verdict=Verdict.MARGIN,
    )


def one_on_cpu() -> Plan:
    """A completion server on a CPU node, its model in a folder, with an API key."""
    folder = "/srv/models/tiny"
    model = replace(_model("org/tiny"), requested=folder, repository=None, folder=folder, commit=None, is_pinned=False)
    service = _service("tiny", port=8000, model=model, utilization=5000)
    service = replace(service, task="completion", environment=(("VLLM_CPU_KVCACHE_SPACE", "1"), *service.environment))
    return Plan(
        stack="cpu",
        engine=_ENGINE,
        node=CpuNode("box", 4 * GIB),
        devices=(_device(0, (_ledger("tiny", 1),), total=4),),
        services=(service,),
        paths=_paths("cpu"),
        secrets=Secrets(None, "/etc/stackc/api-key"),
        targets=("scripts", "systemd", "compose"),
        verdict=Verdict.FITS,
    )


_ENGINE = Engine("0.33.0", "vllm/vllm-openai:v0.33.0")


def _paths(stack: str) -> Paths:
    return Paths(f"/opt/stackc/{stack}", f"/var/lib/stackc/{stack}", "/opt/vllm/bin/vllm")


def _model(repository: str, commit: str | None = COMMIT) -> ServedModel:
    is_pinned = commit == COMMIT
    return ServedModel(
        requested=repository,
        repository=repository,
        folder=None,
        commit=commit,
        is_pinned=is_pinned,
        license="apache-2.0",
        quantization="awq" if repository.endswith("awq") else "none",
        weights_bytes=4096,
        unconfirmed=() if is_pinned else ("commit",),
    )


def _service(name: str, *, port: int, model: ServedModel, utilization: int) -> Service:
    return Service(
        name=name,
        task="chat",
        model=model,
        served_name=name,
        host="127.0.0.1",
        port=port,
        devices=(0,),
        start_after=(),
        dtype="bfloat16",
        max_model_len=16384,
        concurrency=8,
        max_num_seqs=16,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=utilization,
        kv_cache=KvCache("bfloat16", 16, 2 * MIB, 8193, 131072, 8.0),
        timeouts=Timeouts(ready=600, start=720, drain=30, stop=60),
        arguments=(
            Argument("--host", "127.0.0.1", "the spec's host"),
            Argument("--port", str(port), "the spec's port"),
            Argument("--served-model-name", name, "the spec's name"),
            Argument("--max-model-len", "16384", "the spec's context"),
            Argument("--gpu-memory-utilization", f"{utilization / 10_000:.4f}", "the ledger"),
            Argument("--kv-cache-memory-bytes", str(8193 * 2 * MIB), "the ledger"),
            Argument("--enable-prefix-caching", None, "agreed | default"),
        ),
        environment=(("VLLM_ENGINE_READY_TIMEOUT_S", "480"),),
    )


def _device(index: int, servers: tuple[ServerLedger, ...], total: int = 94) -> DeviceLedger:
    return DeviceLedger(index, total * GIB, "catalog", GIB // 2, servers)


def _ledger(service: str, gib: int) -> ServerLedger:
    outside = LedgerRow(
        RowKind.OUTSIDE, "CUDA context", ByteRange(0, GIB // 4, GIB // 2), Basis.ESTIMATE, "measured on other cards"
    )
    weights = LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(gib * GIB // 2), Basis.EXACT, "safetensors headers")
    cache = LedgerRow(RowKind.KV_CACHE, "KV cache", ByteRange.exact(gib * GIB // 2), Basis.EXACT, "8193 blocks")
    return ServerLedger(service, (outside, weights, cache))


def with_service(plan: Plan, name: str, **changes: Any) -> Plan:
    """The plan with one service changed; a new port is also a new argument."""
    service = replace(plan.service(name), **changes)
    if "port" in changes:
        port = str(changes["port"])
        arguments = tuple(replace(each, value=port) if each.flag == "--port" else each for each in service.arguments)
        service = replace(service, arguments=arguments)
    return replace(plan, services=tuple(service if each.name == name else each for each in plan.services))


def write_tree(plan: Plan, folder: Path) -> Path:
    """Everything that is emitted for a plan, in a folder."""
    artifacts = (
        emit_plan_json(plan),
        *emit_library(),
        *emit_scripts(plan),
        *emit_gateway(plan),
        *emit_systemd(plan),
        *emit_compose(plan),
        *emit_readme(plan),
        *emit_requirements(),
    )
    for artifact in artifacts:
        path = folder / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is the same stays: a program that is just being started cannot be written.
        if not path.exists() or path.read_bytes() != artifact.text.encode():
            path.write_text(artifact.text, encoding="utf-8")
        path.chmod(artifact.mode)
    return folder


def write_executable(path: Path, text: str) -> Path:
    """A fake program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def write_snapshot(hf_home: Path, repository: str, commit: str = COMMIT, *, weights: int = 4096) -> Path:
    """A complete model in a Hugging Face cache, with `main` pointing to it."""
    cache = hf_home / "hub" / ("models--" + repository.replace("/", "--"))
    write_model(cache / "snapshots" / commit, weights=weights)
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(commit, encoding="ascii")
    return cache / "snapshots" / commit


def write_model(folder: Path, *, weights: int = 4096) -> Path:
    """A model that looks complete."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="ascii")
    (folder / "model.safetensors").write_bytes(bytes(weights))
    return folder


def monitored(plan: Plan, **changes: Any) -> Plan:
    """The plan with Prometheus, Grafana and, where there are GPUs, NVIDIA's exporter."""
    monitoring = Monitoring(
        ttft_p95_seconds=5.0,
        inter_token_p95_seconds=0.2,
        metrics=SERVER_METRICS,
        scrape_seconds=15,
        has_grafana=True,
        grafana_port=3000,
        has_dcgm=isinstance(plan.node, GpuNode),
        dcgm_port=9400,
        port=9090,
    )
    return replace(plan, monitoring=replace(monitoring, **changes))
