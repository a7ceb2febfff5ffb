"""Plans written by hand, with round figures: the targets must not depend on how a plan came about."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from compiler.engines.interface.launch import Placeholder
from compiler.engines.vllm.facts import host_facts
from compiler.engines.vllm.host.packages import vllm_packages
from compiler.engines.vllm.releases import RELEASES
from compiler.plan.ir import (
    Argument,
    Basis,
    Card,
    CpuNode,
    DeviceLedger,
    Engine,
    GpuNode,
    Group,
    KvCache,
    LedgerRow,
    Member,
    Monitoring,
    Paths,
    Plan,
    RowKind,
    Secrets,
    ServedModel,
    ServerLedger,
    Service,
    Slurm,
    Timeouts,
    Verdict,
)
from compiler.plan.lowering.operations import server_metrics
from compiler.targets.compose import emit_compose
from compiler.targets.gateway import emit_gateway
from compiler.targets.library import emit_library
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.readme.emit import emit_readme
from compiler.targets.requirements import emit_requirements
from compiler.targets.scripts import emit_scripts
from compiler.targets.systemd import emit_systemd
from compiler.units import GIB, MIB, ByteRange

# Of every release: the library, which all stacks share, has them.
ALL_PACKAGES = tuple(map(vllm_packages, RELEASES))

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
        engines={"vllm": _engine("0.33.0")},
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
    figures = {**service.figures, "tensor_parallel_size": 2}
    service = replace(
        service, host="10.0.0.7", devices=(0, 1), arguments=arguments, figures=figures, shared_memory=640 * MIB
    )
    return Plan(
        stack="pair",
        engines={"vllm": _engine("0.33.0")},
        node=GpuNode("gpu02", "NVIDIA H100 80GB HBM3", 2, 79 * GIB, (9, 0), UUIDS),
        devices=tuple(_device(index, (_ledger("big", 70),), total=79) for index in (0, 1)),
        services=(service,),
        paths=_paths("pair"),
        secrets=Secrets(None, None),
        targets=("scripts", "systemd", "compose"),
        verdict=Verdict.MARGIN,
    )


def one_beside_other_cards() -> Plan:
    """The same on a node whose two cards are of two models; no server has ranks on both."""
    plan = one_on_two_gpus()
    assert isinstance(plan.node, GpuNode)
    cards = (plan.node.model, Card("NVIDIA L4", 22 * GIB, (8, 9), "L4"))
    service = replace(plan.services[0], devices=(0,))
    return replace(plan, node=replace(plan.node, cards=cards), services=(service,))


def over_two_machines(rank: int = 0) -> Plan:
    """One server on two machines, of which this is one: the first answers, on loopback."""
    plan = one_on_two_gpus()
    members = (Member("gpu02", "10.0.0.7", "eth1"), Member("gpu03", "10.0.0.8", "eth1"))
    group = Group(rank, members, rendezvous_port=29500, watch_port=29501)
    plan = replace(plan, node=replace(plan.node, name=members[rank].node), targets=("scripts", "systemd"))
    return with_service(plan, "big", host="127.0.0.1", group=group)


def as_a_job() -> Plan:
    """The same on one machine, as a job of Slurm that says all that one may say."""
    slurm = Slurm("gpus", "ml", "high", "1-00:00:00", "gpu:h100", "nvlink")
    return replace(one_on_two_gpus(), targets=("slurm",), slurm=slurm)


def one_on_cpu() -> Plan:
    """A completion server on a CPU node, its model in a folder, with an API key."""
    folder = "/srv/models/tiny"
    model = replace(_model("org/tiny"), requested=folder, repository=None, folder=folder, commit=None, is_pinned=False)
    service = _service("tiny", port=8000, model=model, utilization=5000)
    service = replace(service, task="completion", environment=(("VLLM_CPU_KVCACHE_SPACE", "1"), *service.environment))
    return Plan(
        stack="cpu",
        engines={"vllm": _engine("0.32.0")},
        node=CpuNode("box", 4 * GIB),
        devices=(_device(0, (_ledger("tiny", 1),), total=4),),
        services=(service,),
        paths=_paths("cpu"),
        secrets=Secrets(None, "/etc/stackc/api-key"),
        targets=("scripts", "systemd", "compose"),
        verdict=Verdict.FITS,
    )


def _engine(build: str) -> Engine:
    """vLLM 0.33.0, as one of the releases is built."""
    facts = replace(host_facts(RELEASES[build]), cuda=None, minimum_driver=None)
    return Engine("0.33.0", "vllm/vllm-openai:v0.33.0", "/opt/vllm/bin/vllm", facts)


def with_engine(plan: Plan, **changes: Any) -> Plan:
    """The plan with its first engine changed."""
    first = next(iter(plan.engines))
    return replace(plan, engines={**plan.engines, first: replace(plan.engines[first], **changes)})


def with_host(plan: Plan, **changes: Any) -> Plan:
    """The plan with other facts of its first engine."""
    return with_engine(plan, host=replace(plan.engine.host, **changes))


def _paths(stack: str) -> Paths:
    return Paths(f"/opt/stackc/{stack}", f"/var/lib/stackc/{stack}")


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
        engine="vllm",
        task="chat",
        model=model,
        served_name=name,
        host="127.0.0.1",
        port=port,
        devices=(0,),
        start_after=(),
        max_model_len=16384,
        concurrency=8,
        max_num_seqs=16,
        kv_cache=KvCache("bfloat16", 16, 2 * MIB, 8193, 131072, 8.0),
        timeouts=Timeouts(ready=600, start=720, drain=30, stop=60),
        words=("serve", Placeholder.MODEL),
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
        figures={
            "dtype": "bfloat16",
            "max_num_batched_tokens": 8192,
            "tensor_parallel_size": 1,
            "pipeline_parallel_size": 1,
            "gpu_memory_utilization": utilization / 10_000,
        },
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
        *emit_requirements(ALL_PACKAGES),
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
        metrics=server_metrics([plan.engine.host]),
        scrape_seconds=15,
        has_grafana=True,
        grafana_port=3000,
        has_dcgm=isinstance(plan.node, GpuNode),
        dcgm_port=9400,
        port=9090,
    )
    return replace(plan, monitoring=replace(monitoring, **changes))
