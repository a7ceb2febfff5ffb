"""Fields that objects of custom kinds may have, of those that are emitted or near them. A server drops others silently.

Sources: prometheus-operator v0.86 (Documentation/api-reference/api.md), Gateway API v1.4 (apis/v1/httproute_types.go),
Gateway API Inference Extension v1.6.0 (api/v1/inferencepool_types.go), lws v0.10 (api/leaderworkerset/v1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What a field holds: a kind of value, the fields of an object, or, in a list, those of each of its entries.
Fields = Mapping[str, Any]

_LABELS: Fields = {"*": str}
_SELECTOR: Fields = {"matchLabels": _LABELS, "matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
_SECRET_KEY: Fields = {"name": str, "key": str, "optional": bool}
_RELABELING: Fields = {
    "sourceLabels": [str], "separator": str, "targetLabel": str, "regex": str, "modulus": int, "replacement": str,
    "action": str,
}  # fmt: skip

SERVICE_MONITOR: Fields = {
    "jobLabel": str,
    "targetLabels": [str],
    "podTargetLabels": [str],
    "namespaceSelector": {"any": bool, "matchNames": [str]},
    "selector": _SELECTOR,
    "sampleLimit": int,
    "endpoints": [
        {
            "port": str, "targetPort": (int, str), "path": str, "scheme": str, "interval": str, "scrapeTimeout": str,
            "honorLabels": bool, "params": {"*": [str]}, "relabelings": [_RELABELING],
            "metricRelabelings": [_RELABELING],
            "authorization": {"type": str, "credentials": _SECRET_KEY},
        }
    ],
}  # fmt: skip
PROMETHEUS_RULE: Fields = {
    "groups": [
        {
            "name": str, "interval": str, "limit": int, "labels": _LABELS,
            "rules": [
                {
                    "alert": str, "record": str, "expr": (str, int), "for": str, "keep_firing_for": str,
                    "labels": _LABELS, "annotations": _LABELS,
                }
            ],
        }
    ]
}  # fmt: skip
_PARENT: Fields = {"group": str, "kind": str, "namespace": str, "name": str, "sectionName": str, "port": int}
_BACKEND: Fields = {"group": str, "kind": str, "namespace": str, "name": str, "port": int, "weight": int}
HTTP_ROUTE: Fields = {
    "parentRefs": [_PARENT],
    "hostnames": [str],
    "rules": [
        {
            "name": str,
            "matches": [{"path": {"type": str, "value": str}}],
            "backendRefs": [_BACKEND],
            "timeouts": {"request": str, "backendRequest": str},
        }
    ],
}
INFERENCE_POOL: Fields = {
    "selector": {"matchLabels": _LABELS},
    "targetPorts": [{"number": int}],
    "endpointPickerRef": {"group": str, "kind": str, "name": str, "port": {"number": int}, "failureMode": str},
}

# What is in a template is checked as a pod's.
LEADER_WORKER_SET: Fields = {
    "replicas": int,
    "startupPolicy": str,
    "rolloutStrategy": {
        "type": str, "rollingUpdateConfiguration": {"maxSurge": int, "maxUnavailable": int, "partition": int}
    },
    "networkConfig": {"subdomainPolicy": str},
    "leaderWorkerTemplate": {"size": int, "restartPolicy": str, "leaderTemplate": object, "workerTemplate": object},
}  # fmt: skip

KINDS: Mapping[tuple[str, str], Fields] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HTTP_ROUTE,
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): LEADER_WORKER_SET,
    ("inference.networking.k8s.io/v1", "InferencePool"): INFERENCE_POOL,
}


def problems(value: Any, fields: Any, where: str) -> Iterator[str]:
    """What of a value is not what its fields say."""
    if isinstance(fields, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for index, each in enumerate(value):
            yield from problems(each, fields[0], f"{where}[{index}]")
    elif isinstance(fields, Mapping):
        if not isinstance(value, Mapping):
            yield f"{where} is no object"
            return
        for key, each in value.items():
            known = fields.get(key, fields.get("*"))
            if known is None:
                yield f"{where}.{key} is no field"
            else:
                yield from problems(each, known, f"{where}.{key}")
    elif not isinstance(value, fields) or (isinstance(value, bool) and fields is not bool):
        yield f"{where} is {value!r}"
