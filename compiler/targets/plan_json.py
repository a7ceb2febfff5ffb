"""`plan.json`: the plan for machines, and the only data that the emitted Python programs read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.disk import compiled_bytes, disk_of
from compiler.plan.ir import (
    SCHEMA_VERSION,
    Argument,
    Card,
    CpuNode,
    DeviceLedger,
    Draft,
    Embedding,
    Engine,
    Gateway,
    GpuNode,
    Group,
    Image,
    Kubernetes,
    KvCache,
    LedgerRow,
    Objectives,
    Plan,
    ServedAdapter,
    ServedModel,
    Service,
)
from compiler.render.artifact import Artifact
from compiler.targets.deployment import user_of
from compiler.targets.plan_speed import speed_objects
from compiler.units import ByteRange

PATH = PurePosixPath("plan.json")

JsonObject = dict[str, Any]


def emit_plan_json(plan: Plan) -> Artifact:
    """The plan as JSON with sorted keys, so that a review shows only what changed."""
    return Artifact(PATH, json.dumps(plan_object(plan), indent=2, sort_keys=True, ensure_ascii=True) + "\n")


def plan_object(plan: Plan) -> JsonObject:
    """The plan as plain data. Byte figures carry `_bytes` in their key, times `_seconds`."""
    return {
        "schema": SCHEMA_VERSION,
        "stack": plan.stack,
        "user": user_of(plan.stack),
        "verdict": plan.verdict.value,
        "engine": {
            plan.engine.host.name: plan.engine.version,
            "image": plan.engine.image,
            "cuda": plan.engine.host.cuda,
            "minimum_driver": plan.engine.host.minimum_driver,
            "kernels": [asdict(wheel) for wheel in plan.engine.host.kernels],
        },
        "engines": {name: _engine(engine) for name, engine in plan.engines.items()},
        "node": _node(plan.node),
        "devices": [_device(device) for device in plan.devices],
        "disk": _disk(plan),
        "main_memory": None if plan.host is None else _memory(plan.host),
        "speed": speed_objects(plan),
        "services": [_service(plan, service) for service in plan.services],
        "paths": {
            "install": plan.paths.install,
            "current": plan.paths.current,
            "state": plan.paths.state,
            **{engine.host.program.key: engine.program for engine in plan.engines.values()},
            "nginx": plan.paths.nginx,
            "litellm": plan.paths.litellm,
        },
        "secrets": {
            "hf_token": plan.secrets.hf_token,
            "api_key": plan.secrets.api_key,
            "client_keys": plan.secrets.client_keys,
        },
        "targets": list(plan.targets),
        "images": [_image(image) for image in plan.images],
        "templates": dict(plan.templates),
        "gateway": None if plan.gateway is None else _gateway(plan.gateway),
        "monitoring": None if plan.monitoring is None else asdict(plan.monitoring),
    } | _around(plan)


def _around(plan: Plan) -> JsonObject:
    """What a node knows of its cluster and of the others; nothing where a stack has one."""
    found: JsonObject = {} if plan.kubernetes is None else {"kubernetes": _cluster(plan.kubernetes)}
    if plan.entrances:
        found["entrances"] = [asdict(each) for each in plan.entrances]
    if plan.neighbours:
        found["neighbours"] = [_neighbour(each) for each in plan.neighbours]
    if plan.slurm is not None:
        found["slurm"] = asdict(plan.slurm)
    return found


def _cluster(kubernetes: Kubernetes) -> JsonObject:
    labels = {name: dict(getattr(kubernetes, name)) for name in ("node_selector", "monitoring_labels")}
    return asdict(kubernetes) | labels


def _neighbour(plan: Plan) -> JsonObject:
    """As much as the programs of the gateway's node ask about."""
    services = [
        {
            "name": each.name,
            "engine": each.engine,
            "task": each.task,
            "served_name": each.served_name,
            "candidate_of": each.candidate_of,
            **_replica(each),
            "features": list(each.features),
            "host": each.host,
            "port": each.port,
            "max_model_len": each.max_model_len,
        }
        for each in plan.services
    ]
    return {"node": plan.node.name, "address": plan.node.address, "services": services}


def _replica(service: Service) -> JsonObject:
    """Of which service it is a server, where that has several."""
    alone = service.replicas == 1 and service.replica_of is None
    return {} if alone else {"replica_of": service.replica_of, "replicas": service.replicas}


def _engine(engine: Engine) -> JsonObject:
    host = engine.host
    return {
        "title": host.title,
        "version": engine.version,
        "commit": host.commit,
        "program": {"name": host.program.name, "variable": host.program.variable, "path": engine.program},
        "key_variable": host.key_variable,
        "configuration": list(host.configuration),
        "answers_while_loading": host.answers_while_loading,
        "image": engine.image,
        "cuda": host.cuda,
        "minimum_driver": host.minimum_driver,
        "kernels": [asdict(wheel) for wheel in host.kernels],
        "signals": {signal.name.lower(): series for signal, series in host.signals.items()},
    }


def _image(image: Image) -> JsonObject:
    return {**asdict(image), "unconfirmed": [] if image.digest is not None else ["digest"]}


def _gateway(gateway: Gateway) -> JsonObject:
    return {
        "kind": gateway.kind,
        "version": LITELLM_VERSION if gateway.kind == "litellm" else None,
        "host": gateway.host,
        "port": gateway.port,
        "max_body_bytes": gateway.max_body,
        "requests_per_second": gateway.requests_per_second,
        "burst": gateway.burst,
        "connections": gateway.connections,
        "cors_origins": list(gateway.cors_origins),
        "routes": [
            {
                "name": route.name,
                "service": route.service,
                "read_timeout_seconds": route.read_timeout,
                "rollout": None if route.rollout is None else asdict(route.rollout),
                "upstreams": [asdict(each) for each in route.upstreams],
                "sticky": route.sticky,
                "header": route.header,
            }
            for route in gateway.routes
        ],
    } | _clients(gateway)


def _clients(gateway: Gateway) -> JsonObject:
    """How clients come to the gateway, where that is not plain HTTP and alike for all."""
    found: JsonObject = {}
    if gateway.tls is not None:
        found["tls"] = asdict(gateway.tls)
    if gateway.teams:
        found["teams"] = [asdict(team) for team in gateway.teams]
    return found


def _place(node: GpuNode | CpuNode) -> JsonObject:
    return {} if node.address is None else {"address": node.address}


def _node(node: GpuNode | CpuNode) -> JsonObject:
    if isinstance(node, CpuNode):
        return {"name": node.name, "kind": "cpu", "memory_bytes": node.memory} | _place(node)
    return _place(node) | {
        "name": node.name,
        "kind": "gpu",
        "gpu": node.title,
        "product": node.product,
        "count": node.count,
        "memory_bytes": node.memory,
        "compute_capability": ".".join(map(str, node.compute_capability)),
        "uuids": list(node.uuids),
        "mig": node.mig,
        **({"cards": [_card(card) for card in node.cards]} if node.cards else {}),
    }


def _card(card: Card) -> JsonObject:
    return {
        "gpu": card.title,
        "product": card.product,
        "memory_bytes": card.memory,
        "compute_capability": ".".join(map(str, card.compute_capability)),
    }


def _device(device: DeviceLedger) -> JsonObject:
    return {"index": device.index, **_memory(device)}


def _memory(device: DeviceLedger) -> JsonObject:
    return {
        "total_bytes": device.total,
        "total_source": device.total_source,
        "reserve_bytes": device.reserve,
        "used_bytes": _range(device.used),
        "slack_bytes": device.slack,
        "servers": [
            {
                "service": server.service,
                "budget_bytes": _range(server.budget),
                "rows": [_row(row) for row in server.rows],
            }
            for server in device.servers
        ],
    }


def _disk(plan: Plan) -> JsonObject:
    disk = disk_of(plan)
    return {
        "download_bytes": disk.to_download,
        "compiled_bytes": disk.compiled,
        "total_bytes": disk.total,
        "basis": disk.basis.value,
        "downloads": [
            {"name": each.name, "services": list(each.services), "bytes": each.bytes, "basis": each.basis.value}
            for each in disk.downloads
        ],
    }


def _row(row: LedgerRow) -> JsonObject:
    return {
        "kind": row.kind.value,
        "title": row.title,
        "bytes": _range(row.bytes),
        "basis": row.basis.value,
        "source": row.source,
    }


def _range(size: ByteRange) -> JsonObject:
    return {"low": size.low, "expected": size.expected, "high": size.high}


def _service(plan: Plan, service: Service) -> JsonObject:
    return {
        "name": service.name,
        "engine": service.engine,
        "task": service.task,
        "features": list(service.features),
        "embedding": None if service.embedding is None else _embedding(service.embedding),
        "labels": service.labels,
        "model": _model(service.model),
        **({"adapters": list(map(_adapter, service.adapters))} if service.adapters else {}),
        **({} if service.draft is None else {"draft": _draft(service.draft)}),
        "served_name": service.served_name,
        "candidate_of": service.candidate_of,
        **_replica(service),
        "host": service.host,
        "port": service.port,
        "devices": list(service.devices),
        "start_after": list(service.start_after),
        "max_model_len": service.max_model_len,
        "concurrency": service.concurrency,
        "solved": list(service.solved),
        "max_num_seqs": service.max_num_seqs,
        **service.figures,
        "kv_cache": _kv_cache(service.kv_cache),
        "timeouts": {
            "ready_seconds": service.timeouts.ready,
            "start_seconds": service.timeouts.start,
            "drain_seconds": service.timeouts.drain,
            "stop_seconds": service.timeouts.stop,
        },
        "arguments": [
            {"flag": argument.flag, "value": _value(argument), "reason": argument.reason}
            for argument in service.arguments
        ],
        "environment": dict(service.environment),
        "media_domains": None if service.media_domains is None else list(service.media_domains),
        "host_needs": [asdict(need) for need in service.host_needs],
        "compiled_bytes": compiled_bytes(plan, service),
        "objectives": None if service.objectives is None else _objectives(service.objectives),
        **({} if service.group is None else {"group": _group(service, service.group)}),
    }


def _group(service: Service, group: Group) -> JsonObject:
    return {
        "revision": service.revision,
        "rank": group.rank,
        "members": [asdict(member) for member in group.members],
        "rendezvous_port": group.rendezvous_port,
        "watch_port": group.watch_port,
    }


def _objectives(asked: Objectives) -> JsonObject:
    return {"ttft_p95_seconds": asked.ttft_p95, "tokens_per_second": asked.tokens_per_second}


def _value(argument: Argument) -> str | list[str] | None:
    return list(argument.value) if isinstance(argument.value, tuple) else argument.value


def _draft(draft: Draft) -> JsonObject:
    model = None if draft.model is None else _model(draft.model)
    return {"method": draft.method, "tokens": draft.tokens, "model": model}


def _embedding(embedding: Embedding) -> JsonObject:
    return {"dimension": embedding.dimension, "normalized": embedding.is_normalized}


def _model(model: ServedModel) -> JsonObject:
    return {
        "requested": model.requested,
        "repository": model.repository,
        "folder": model.folder,
        "file": model.file,
        **({} if model.projector is None else {"projector": model.projector}),
        "commit": model.commit,
        "pinned": model.is_pinned,
        "license": model.license,
        "quantization": model.quantization,
        "weights_bytes": model.weights_bytes,
        "files": [asdict(file) for file in model.files],
        "base_models": list(model.base_models),
        "unconfirmed": list(model.unconfirmed),
    }


def _adapter(adapter: ServedAdapter) -> JsonObject:
    return {
        "name": adapter.name,
        "rank": adapter.rank,
        "base": adapter.base,
        "model": _model(adapter.model),
    }


def _kv_cache(cache: KvCache) -> JsonObject:
    return {
        "dtype": cache.dtype,
        "block_size": cache.block_size,
        "bytes_per_block": cache.bytes_per_block,
        "num_blocks": cache.num_blocks,
        "bytes": cache.bytes,
        "capacity_tokens": cache.capacity_tokens,
        "max_concurrency": cache.max_concurrency,
    }
