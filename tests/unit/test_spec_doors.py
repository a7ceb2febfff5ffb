"""What a spec may open, and what it may not: hosts of media, hosts of servers, files that clients may read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.common.options import Flag, Kind
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.doors import opened, why_not_read
from compiler.hosts import host_of, is_loopback, is_wildcard
from compiler.spec.media_hosts import not_a_host
from compiler.spec.models import Spec

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("host", ["images.example.org", "cdn-1.example.co.uk", "xn--bcher-kva.example.org"])
def test_hosts_that_media_may_come_from(host: str) -> None:
    assert not_a_host(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "", ".", "..", "a..b.org", "-a.example.org", "example.org.", " example.org", "exa mple.org", "bücher.example",
        "http://example.org", "example.org/x", "user@example.org", "example.org:80", "*.example.org", "*",
        "127.0.0.1", "169.254.169.254", "::1", "[::1]", "fd00:ec2::254", "127.1", "0x7f.1", "0x7f000001", "2130706433",
        "1.2.3.4.5", "localhost", "a.localhost", "metadata.google.internal", "instance-data.ec2.internal", "x.local",
        "metadata", "minio", "db.svc", "a.svc.cluster.local", "x.home.arpa", "router.lan", "x.invalid", "x.test",
        "127.0.0.1.nip.io", "a.sslip.io", "nip.io", "x.localtest.me", "EXAMPLE.org", "x.onion", "a\n.example.org",
    ],
)  # fmt: skip
def test_hosts_that_media_cannot_come_from(host: str) -> None:
    assert not_a_host(host) is not None


@given(st.lists(LABELS, min_size=1, max_size=4), st.sampled_from(("internal", "local", "localhost", "nip.io", "7")))
def test_no_name_below_a_private_one_passes(labels: list[str], ending: str) -> None:
    assert not_a_host(".".join((*labels, ending))) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "::ffff:127.0.0.1"])
def test_only_this_machine_reaches_it(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7", "127.1", "0", "localhost.example.org", "LOCALHOST"]
)  # fmt: skip
def test_others_may_reach_it(host: str) -> None:
    assert not is_loopback(host)


def test_wildcards_in_another_dress() -> None:
    assert is_wildcard("::ffff:0.0.0.0")


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://10.0.0.1:4317", "10.0.0.1"), ("grpc://collector", "collector"), ("collector:4317", "collector"),
        ("[::1]:4317", "::1"), ("https://user:pw@c.example.org/v1/traces?x=1", "c.example.org"), ("", None),
        # The last `@` ends the login: what stands before it is no host.
        ("http://127.0.0.1@evil.example.org:80/", "evil.example.org"),
    ],
)  # fmt: skip
def test_the_host_of_an_endpoint(endpoint: str, host: str | None) -> None:
    assert host_of(endpoint) == host


def spec(**more: object) -> Spec:
    data = {
        "stack": "x",
        "engine": {"vllm": "0.33.0"},
        "nodes": {"n": {"gpus": {"model": "l40s"}}},
        "services": {"see": {"model": "/srv/models/eyes", "context": "4K", "port": 8000}},
        "secrets": {"api_key": "/srv/secrets/key"},
        **more,
    }
    return Spec.model_validate(data)


@pytest.mark.parametrize("folder", ["/srv/images", "/data/pictures/public", "/mnt/a"])
def test_folders_that_clients_may_read(folder: str) -> None:
    assert why_not_read(folder, spec()) is None


@pytest.mark.parametrize(
    "folder",
    [
        "/", "/srv", "/etc", "/etc/stackc", "/root/x", "/home/a/images", "/proc/self", "/var/lib/x", "/tmp/x", "images",
        "./images", "/srv/../etc", "/srv//images", "/srv/images/", "", 7, "/srv/models", "/srv/models/eyes/sub",
        "/srv/secrets", "/srv/secrets/key", "/opt/stackc/x", "/data/state", "/data/state/hf",
    ],
)  # fmt: skip
def test_folders_that_clients_must_not_read(folder: object) -> None:
    assert why_not_read(folder, spec(paths={"state": "/data/state"})) is not None


def test_an_option_that_nobody_has_looked_at_is_refused() -> None:
    """A release that brings a door does not open it."""
    for group in ("", "ObservabilityConfig", "LoadConfig", "ModelConfig", "NewConfig"):
        assert decided(Flag("--enable-something-new", Kind.BOOLEAN, group)) is not None


@pytest.mark.parametrize(
    "name",
    [
        "api-key", "hf-token", "middleware", "tool-server", "trust-request-chat-template", "trust-request-mm-kwargs",
        "allowed-media-domains", "io-processor-plugin", "logits-processors", "lora-modules", "enable-lora", "root-path",
        "ssl-keyfile", "uds", "grpc", "enable-sleep-mode", "profiler-config", "worker-cls", "worker-extension-cls",
        "scheduler-cls", "kv-transfer-config", "enable-prompt-embeds", "enable-mm-embeds", "ignore-patterns",
        "pt-load-map-location", "weight-transfer-config", "enable-scale-out", "additional-config", "config",
    ],
)  # fmt: skip
def test_doors_that_no_spec_opens(name: str) -> None:
    for version in ("0.33.0", "0.32.0"):
        flag = load_flags(version).find(name)
        assert flag is not None
        assert decided(flag) is not None


@pytest.mark.parametrize(
    ("option", "opens", "does_not"),
    [
        ("--allowed-origins", ["*"], ["https://a.example.org"]),
        ("--allow-credentials", True, False),
        ("--enable-log-requests", True, False),
        ("--otlp-traces-endpoint", "http://10.0.0.1:4317", "http://127.0.0.1:4317"),
        ("--enable-tokenizer-info-endpoint", True, False),
    ],
)
def test_what_opens_more_is_told(option: str, opens: object, does_not: object) -> None:
    assert opened(option, opens)
    assert opened(option, does_not) is None
