"""Keys of the Compose Specification: one that is not here would be refused by `docker compose` on the server.

Source: schema/compose-spec.json of compose-spec/compose-spec, as check-jsonschema 0.39.0 carries it; a test compares.
"""

from __future__ import annotations

PROMETHEUS, GRAFANA, DCGM = "prometheus", "grafana", "dcgm-exporter"
"""Names of the containers of monitoring, by which they find each other."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP_LEVEL_KEYS = _words("configs include models name networks secrets services version volumes")
"""Beside extensions, whose names start with `x-`."""

SERVICE_KEYS = _words(
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name
    cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec
    depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file
    environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc
    isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit
    models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_start
    pre_stop privileged profiles provider pull_policy pull_refresh_after read_only restart runtime scale secrets
    security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits
    use_api_socket user userns_mode uts volumes volumes_from working_dir
    """
)
