"""Prometheus, Grafana and the GPU exporter as containers of the compose file, in the profile `monitoring`."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS
from compiler.plan.ir import GpuNode, Monitoring, Plan
from compiler.targets.containers import Container, Port, Tmpfs, Volume, all_devices

PROFILE = "monitoring"

# The users that the images have for this; the exporter's figures of processes and errors need no capability.
_PROMETHEUS_USER, _GRAFANA_USER, _DCGM_USER = "65534:65534", "472:0", "1000:1000"
# Group 0 reads the files of secrets.
_KEY_READER = "65534:0"
# On which the images listen.
_GRAFANA_PORT, _PROMETHEUS_PORT, _DCGM_PORT = 3000, 9090, 9400


@dataclass(frozen=True, slots=True)
class MonitoringContainer:
    """One of them. `command` replaces the image's; folders are (folder beside the compose file's, path), read only.

    Attributes:
        inner_port: on which it listens inside; the host's is in `container.ports`.
        sees_all_devices: every GPU of the machine, because none of them has the plan's name.
    """

    container: Container
    command: tuple[str, ...]
    folders: tuple[tuple[str, str], ...]
    inner_port: int
    sees_all_devices: bool = False


def monitoring_containers(plan: Plan) -> tuple[MonitoringContainer, ...]:
    """Those that the plan wants, in the order in which they are written."""
    monitoring = plan.monitoring
    if monitoring is None:
        return ()
    found = [_prometheus(plan, monitoring)]
    if monitoring.has_grafana:
        found.append(_grafana(monitoring))
    if monitoring.has_dcgm and isinstance(plan.node, GpuNode):
        found.append(_dcgm(plan, plan.node, monitoring))
    return tuple(found)


def _prometheus(plan: Plan, monitoring: Monitoring) -> MonitoringContainer:
    shows_key = plan.secrets.api_key is not None and any(
        plan.engine_of(service).host.guards_metrics for service in plan.reached
    )
    container = Container(
        name=PROMETHEUS,
        image=monitoring.prometheus_image,
        user=_KEY_READER if shows_key else _PROMETHEUS_USER,
        entrypoint=("/bin/prometheus",),
        environment=(),
        secrets=("api-key",) if shows_key else (),
        volumes=(Volume("prometheus-data", "/prometheus", _PROMETHEUS_USER),),
        is_read_only=True,
        ports=(Port("127.0.0.1", monitoring.port),),
    )
    command = (
        "--config.file=/etc/prometheus/prometheus-compose.yml",
        "--storage.tsdb.path=/prometheus",
        "--storage.tsdb.retention.time=15d",
    )
    return MonitoringContainer(container, command, (("monitoring", "/etc/prometheus"),), _PROMETHEUS_PORT)


# Everyone on the machine may look and nobody may change: so there is no password, neither a default one nor in a file.
_GRAFANA_ENVIRONMENT = (
    ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
    ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
    ("GF_ANALYTICS_REPORTING_ENABLED", "false"),
    ("GF_AUTH_ANONYMOUS_ENABLED", "true"),
    ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer"),
    ("GF_AUTH_BASIC_ENABLED", "false"),
    ("GF_AUTH_DISABLE_LOGIN_FORM", "true"),
    ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "true"),
)


def _grafana(monitoring: Monitoring) -> MonitoringContainer:
    container = Container(
        name=GRAFANA,
        image=monitoring.grafana_image,
        user=_GRAFANA_USER,
        entrypoint=("/run.sh",),
        environment=_GRAFANA_ENVIRONMENT,
        volumes=(Volume("grafana-data", "/var/lib/grafana", _GRAFANA_USER),),
        tmpfs=(Tmpfs("/tmp", _GRAFANA_USER),),  # noqa: S108
        is_read_only=True,
        ports=(Port("127.0.0.1", monitoring.grafana_port),),
    )
    folders = (
        ("monitoring/grafana/provisioning", "/etc/grafana/provisioning"),
        ("monitoring/grafana/dashboards", "/var/lib/grafana/dashboards"),
    )
    return MonitoringContainer(container, (), folders, _GRAFANA_PORT)


def _dcgm(plan: Plan, node: GpuNode, monitoring: Monitoring) -> MonitoringContainer:
    # Prometheus runs where the gateway does.
    address = node.address if plan.entrances and plan.gateway is None else None
    container = Container(
        name=DCGM,
        image=monitoring.dcgm_image,
        user=_DCGM_USER,
        entrypoint=("/usr/bin/dcgm-exporter-entrypoint.sh",),
        environment=(),
        ports=(Port(address or "127.0.0.1", monitoring.dcgm_port),),
        # It reads whole cards, which a slice's UUID does not name.
        devices=() if node.mig is not None else all_devices(node),
    )
    return MonitoringContainer(container, (), (), _DCGM_PORT, sees_all_devices=node.mig is not None)
