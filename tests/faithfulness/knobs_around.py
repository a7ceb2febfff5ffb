"""Rows of what stands around the servers: gateway, rollouts, monitoring and patches."""

from __future__ import annotations

from tests.faithfulness.samples import cluster, everything, replicated
from tests.faithfulness.table import around

ROUTE = ("gateway", "routes", 1)  # the one with a rollout
ROLLOUT = (*ROUTE, "rollout")
NGINX, STACK, SCRIPT = "gateway/nginx.conf", "gateway/stack.js", "bin/gateway"
UNIT, CONTAINER = "team-96gb-gateway.service", "quadlet/team-96gb-gateway.container"
RULES, SCRAPE, GUIDE = "monitoring/rules.yml", "monitoring/prometheus.yml", "monitoring/README.md"

# Rules ask for each of them and a release has no others, so that only their order can change.
METRICS = everything().monitoring.metrics  # type: ignore[union-attr]

OF_GATEWAY = (
    around("Paths.nginx", ("paths", "nginx"), "/opt/nginx", {
        "plan.json": {"paths.nginx": "/opt/nginx"},
        "systemd": {f"{UNIT} Service Environment": "STACKC_NGINX=/opt/nginx"},
        "bin/gateway": {SCRIPT: "/opt/nginx"},
    }),
    around("Paths.litellm", ("paths", "litellm"), "/opt/litellm", {
        "plan.json": {"paths.litellm": "/opt/litellm"},
        "systemd": {f"{UNIT} Service Environment": "STACKC_LITELLM=/opt/litellm"},
    }),
    around("Secrets.client_keys", ("secrets", "client_keys"), "/etc/x", {
        "plan.json": {"secrets.client_keys": "/etc/x"},
        "systemd": {f"{UNIT} Service LoadCredential": "client-keys:/etc/x"},
        "compose": {"secrets.client-keys.file": "/etc/x"},
        "bin/gateway": {SCRIPT: "/etc/x"},
    }),
    around("Gateway.kind", ("gateway", "kind"), "litellm", {
        "plan.json": {"gateway.kind": "litellm"}, "gateway": {"gateway/litellm.yaml": "general"},
        "systemd": {}, "compose": {}, "quadlet": {}, "bin/gateway": {SCRIPT: "litellm"},
    }),
    around("Gateway.host", ("gateway", "host"), "10.0.0.9", {
        "plan.json": {"gateway.host": "10.0.0.9"}, "systemd": {f"{UNIT} Unit After": "network-online.target"},
        "compose": {"services.gateway.ports.0.host_ip": "10.0.0.9"}, "quadlet": {CONTAINER: "10.0.0.9:8080:8080"},
        "bin/gateway": {SCRIPT: "10.0.0.9"},
    }),
    around("Gateway.port", ("gateway", "port"), 8111, {
        "plan.json": {"gateway.port": 8111}, "compose": {"services.gateway.ports.0.target": 8111},
        "quadlet": {CONTAINER: "0.0.0.0:8111:8111"}, "bin/gateway": {SCRIPT: "8111"},
        "systemd": {f"{UNIT} Service ExecStart": "8111"},
    }),
    around("Gateway.image", ("gateway", "image"), "nginx:x", {
        "compose": {"services.gateway.image": "nginx:x"}, "quadlet": {CONTAINER: "docker.io/library/nginx:x"},
    }),
    around("Gateway.max_body", ("gateway", "max_body"), 7777, {
        "plan.json": {"gateway.max_body_bytes": 7777}, "gateway": {NGINX: "7777"},
    }),
    around("Gateway.requests_per_second", ("gateway", "requests_per_second"), 77, {
        "plan.json": {"gateway.requests_per_second": 77}, "gateway": {NGINX: "77r/s"},
    }),
    around("Gateway.burst", ("gateway", "burst"), 77, {"plan.json": {"gateway.burst": 77}, "gateway": {NGINX: "77"}}),
    around("Gateway.connections", ("gateway", "connections"), 77, {
        "plan.json": {"gateway.connections": 77}, "gateway": {NGINX: "77"},
    }),
    around("Gateway.cors_origins", ("gateway", "cors_origins"), ("https://app.example.org",), {
        "plan.json": {"gateway.cors_origins": ["https://app.example.org"]},
        "gateway": {NGINX: "https://app.example.org"},
    }),
    around("Route.name", (*ROUTE, "name"), "x", {
        "plan.json": {"gateway.routes.1.name": "x"}, "gateway": {STACK: "x"},
    }),
    around("Route.service", ("gateway", "routes", 0, "service"), "general", {
        "plan.json": {"gateway.routes.0.service": "general"}, "gateway": {NGINX: "general"},
    }),
    around("Route.read_timeout", (*ROUTE, "read_timeout"), 7777, {
        "plan.json": {"gateway.routes.1.read_timeout_seconds": 7777}, "gateway": {NGINX: "7777s"},
    }),
    around("Route.sticky", (*ROUTE, "sticky"), "client", {
        "plan.json": {"gateway.routes.1.sticky": "client"}, "gateway": {}, "bin/gateway": {SCRIPT: "stackc_client"},
    }, replicated),
    around("Route.header", (*ROUTE, "header"), "X-User", {
        "plan.json": {"gateway.routes.1.header": "X-User"}, "gateway": {NGINX: "http_x_user"},
    }, replicated),
    around("Upstream.service", (*ROUTE, "upstreams", 1, "service"), "general", {
        "plan.json": {"gateway.routes.1.upstreams.1.service": "general"}, "gateway": {},
        "bin/gateway": {SCRIPT: "general"},
    }, replicated),
    *(
        # The gateway's program has it of the server itself.
        around(f"Upstream.{key}", (*ROUTE, "upstreams", 0, key), value, {
            "plan.json": {f"gateway.routes.1.upstreams.0.{key}": value},
        })
        for key, value in (("node", "gpu99"), ("host", "10.0.0.9"), ("port", 8111))
    ),
)  # fmt: skip

KEY = "gateway.routes.1.rollout"
OF_ROLLOUT = (
    around("Rollout.stable", (*ROLLOUT, "stable"), "coder", {
        "plan.json": {f"{KEY}.stable": "coder"}, "gateway": {}, "bin/gateway": {},
    }),
    around("Rollout.candidate", (*ROLLOUT, "candidate"), "coder", {
        "plan.json": {f"{KEY}.candidate": "coder"}, "bin/gateway": {},
    }),
    around("Rollout.strategy", (*ROLLOUT, "strategy"), "blue-green", {
        "plan.json": {f"{KEY}.strategy": "blue-green"}, "bin/gateway": {},
    }),
    around("Rollout.weight", (*ROLLOUT, "weight"), 77, {
        "plan.json": {f"{KEY}.weight": 77}, "bin/gateway": {SCRIPT: "77"},
    }),
    around("Rollout.sticky", (*ROLLOUT, "sticky"), "client", {
        "plan.json": {f"{KEY}.sticky": "client"}, "gateway": {}, "bin/gateway": {},
    }),
    around("Rollout.header", (*ROLLOUT, "header"), "X-User", {
        "plan.json": {f"{KEY}.header": "X-User"}, "gateway": {},
    }),
)  # fmt: skip

OF_CLUSTER = (
    around("Entrance.node", ("entrances", 0, "node"), "gpu99", {"plan.json": {"entrances.0.node": "gpu99"}}, cluster),
    around("Entrance.address", ("entrances", 0, "address"), "10.0.0.99", {
        "plan.json": {"entrances.0.address": "10.0.0.99"},
        "systemd": {"duo-coder.service Service IPAddressAllow": "10.0.0.99"},
    }, cluster),
)  # fmt: skip

OF_MONITORING = (
    around("Service.replicas", ("services", 0, "replicas"), 3, {
        "plan.json": {"services.0.replicas": 3}, "monitoring": {RULES: "NoReplicaAnswers"},
    }),
    around("Service.replica_of", ("services", 0, "replica_of"), "other", {
        "plan.json": {"services.0.replica_of": "other"}, "monitoring": {RULES: "other"},
    }),
    around("Monitoring.ttft_p95_seconds", ("monitoring", "ttft_p95_seconds"), 2.5, {
        "plan.json": {"monitoring.ttft_p95_seconds": 2.5}, "monitoring": {RULES: "2.5"},
    }),
    around("Monitoring.inter_token_p95_seconds", ("monitoring", "inter_token_p95_seconds"), 0.025, {
        "plan.json": {"monitoring.inter_token_p95_seconds": 0.025}, "monitoring": {RULES: "0.025"},
    }),
    around("Monitoring.metrics", ("monitoring", "metrics"), METRICS[::-1], {
        "plan.json": {"monitoring.metrics": list(METRICS[::-1])},
    }),
    around("Monitoring.scrape_seconds", ("monitoring", "scrape_seconds"), 30, {
        "plan.json": {"monitoring.scrape_seconds": 30}, "monitoring": {SCRAPE: "30s"},
    }),
    around("Monitoring.has_grafana", ("monitoring", "has_grafana"), False, {
        "plan.json": {"monitoring.has_grafana": False}, "monitoring": {}, "compose": {},
    }),
    around("Monitoring.grafana_port", ("monitoring", "grafana_port"), 3111, {
        "plan.json": {"monitoring.grafana_port": 3111}, "compose": {"services.grafana.ports.0.published": "3111"},
        "monitoring": {GUIDE: "3111"},
    }),
    around("Monitoring.has_dcgm", ("monitoring", "has_dcgm"), False, {
        "plan.json": {"monitoring.has_dcgm": False}, "monitoring": {}, "compose": {},
    }),
    around("Monitoring.dcgm_port", ("monitoring", "dcgm_port"), 9411, {
        "plan.json": {"monitoring.dcgm_port": 9411}, "monitoring": {SCRAPE: "127.0.0.1:9411"}, "compose": {},
    }),
    around("Monitoring.port", ("monitoring", "port"), 9111, {
        "plan.json": {"monitoring.port": 9111}, "compose": {"services.prometheus.ports.0.published": "9111"},
        "monitoring": {GUIDE: "9111"},
    }),
    *(
        around(f"Monitoring.{name}_image", ("monitoring", f"{name}_image"), "x/y:1@sha256:0", {
            "plan.json": {f"monitoring.{name}_image": "x/y:1@sha256:0"},
            "compose": {f"services.{container}.image": "x/y:1@sha256:0"},
        })
        for name, container in (("prometheus", "prometheus"), ("grafana", "grafana"), ("dcgm", "dcgm-exporter"))
    ),
)  # fmt: skip

OF_IMAGES = tuple(
    around(f"Image.{key}", ("images", 0, key), "x", {"plan.json": {f"images.0.{key}": "x"}})
    for key in ("part", "reference", "digest", "source", "read")
)

OF_PATCHES = (
    around("Patches.systemd", ("patches", "systemd"), {"coder": {"Service": {"Nice": -5}}}, {
        "systemd": {"team-96gb-coder.service Service Nice": "-5"},
    }),
    around("Patches.compose", ("patches", "compose"), {"x-owner": "team"}, {"compose": {"x-owner": "team"}}),
    around("Patches.quadlet", ("patches", "quadlet"), {"coder": {"Container": {"LogDriver": "journald"}}}, {
        "quadlet": {"quadlet/team-96gb-coder.container": "journald"},
    }),
)  # fmt: skip

AROUND = (*OF_GATEWAY, *OF_ROLLOUT, *OF_CLUSTER, *OF_MONITORING, *OF_IMAGES, *OF_PATCHES)
