"""`plan.json`: the plan for machines, and the only data that the emitted Python programs read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from compiler.catalog.packages import LITELLM_VERSION
from compiler.catalog.vllm.kernels import kernel_wheels
from compiler.plan.ir import (
    SCHEMA_VERSION,
    Argument,
    CpuNode,
    DeviceLedger,
    Embedding,
    Gateway,
    GpuNode,
    Image,
    KvCache,
    LedgerRow,
    Plan,
    ServedModel,
    Service,
)
from compiler.render.artifact import Artifact
from compiler.targets.deployment import user_of
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
            "vllm": plan.engine.version,
            "image": plan.engine.image,
            "cuda": plan.engine.cuda,
            "minimum_driver": plan.engine.minimum_driver,
            "kernels": [asdict(wheel) for wheel in kernel_wheels(plan.engine.version)],
        },
        "node": _node(plan.node),
        "devices": [_device(device) for device in plan.devices],
        "services": [_service(service) for service in plan.services],
        "paths": {
            "install": plan.paths.install,
            "current": plan.paths.current,
            "state": plan.paths.state,
            "vllm": plan.paths.vllm,
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
            }
            for route in gateway.routes
        ],
    }


def _node(node: GpuNode | CpuNode) -> JsonObject:
    if isinstance(node, CpuNode):
        return {"name": node.name, "kind": "cpu", "memory_bytes": node.memory}
    return {
        "name": node.name,
        "kind": "gpu",
        "gpu": node.title,
        "product": node.product,
        "count": node.count,
        "memory_bytes": node.memory,
        "compute_capability": ".".join(map(str, node.compute_capability)),
        "uuids": list(node.uuids),
        "mig": node.mig,
    }


def _device(device: DeviceLedger) -> JsonObject:
    return {
        "index": device.index,
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


def _service(service: Service) -> JsonObject:
    return {
        "name": service.name,
        "task": service.task,
        "features": list(service.features),
        "embedding": None if service.embedding is None else _embedding(service.embedding),
        "labels": service.labels,
        "model": _model(service.model),
        "served_name": service.served_name,
        "candidate_of": service.candidate_of,
        "host": service.host,
        "port": service.port,
        "devices": list(service.devices),
        "start_after": list(service.start_after),
        "dtype": service.dtype,
        "max_model_len": service.max_model_len,
        "concurrency": service.concurrency,
        "solved": list(service.solved),
        "max_num_seqs": service.max_num_seqs,
        "max_num_batched_tokens": service.max_num_batched_tokens,
        "tensor_parallel_size": service.tensor_parallel_size,
        "pipeline_parallel_size": service.pipeline_parallel_size,
        "gpu_memory_utilization": service.gpu_memory_utilization / 10_000,
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
    }


def _value(argument: Argument) -> str | list[str] | None:
    return list(argument.value) if isinstance(argument.value, tuple) else argument.value


def _embedding(embedding: Embedding) -> JsonObject:
    return {"dimension": embedding.dimension, "normalized": embedding.is_normalized}


def _model(model: ServedModel) -> JsonObject:
    return {
        "requested": model.requested,
        "repository": model.repository,
        "folder": model.folder,
        "commit": model.commit,
        "pinned": model.is_pinned,
        "license": model.license,
        "quantization": model.quantization,
        "weights_bytes": model.weights_bytes,
        "files": [asdict(file) for file in model.files],
        "base_models": list(model.base_models),
        "unconfirmed": list(model.unconfirmed),
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
