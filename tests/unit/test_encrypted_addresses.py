"""Where a gateway speaks TLS, nothing that is emitted tells anybody to ask it without: a key would travel in clear."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.plan.ir import Tls
from compiler.targets.readme.tables import entrance_address
from tests.conftest import ROOT
from tests.gateway.machine import gateway_plan
from tests.plain_yaml import read_yaml
from tests.unit.plan_samples import write_tree

STACKS = sorted(path for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
ENCRYPTED = [path for path in STACKS if "tls" in ((read_yaml(path.read_text()) or {}).get("gateway") or {})]


def in_clear(tree: Path, port: int) -> list[str]:
    """Files that have a URL of the port without TLS."""
    url = re.compile(rf"\bhttp://[^/\s\"'`]*:{port}\b")
    files = (path for path in tree.rglob("*") if path.is_file())
    return [str(path.relative_to(tree)) for path in files if url.search(path.read_text(errors="replace"))]


@pytest.mark.parametrize("spec", ENCRYPTED, ids=lambda path: path.stem)
def test_no_url_of_a_shipped_stack_leads_to_its_encrypted_port_without_tls(spec: Path) -> None:
    gateway = read_yaml(spec.read_text())["gateway"]
    tree = ROOT / "generated" / spec.stem
    assert in_clear(tree, gateway["port"]) == []
    address = f"https://{gateway['tls']['domains'][0]}:{gateway['port']}"
    readmes = [path for path in tree.rglob("README.md") if address in path.read_text()]
    # Of the whole stack, and of the gateway's node.
    assert len(readmes) == 2


def test_some_shipped_stack_has_tls() -> None:
    assert ENCRYPTED


@pytest.mark.parametrize("domains", [("llm.example.org", "llm2.example.org"), ()])
def test_every_example_asks_by_tls(domains: tuple[str, ...], tmp_path: Path) -> None:
    plan = gateway_plan(tls=Tls("/etc/stackc/tls/a.pem", "/etc/stackc/tls/b.pem", domains))
    assert plan.gateway is not None
    tree = write_tree(plan, tmp_path / "tree")
    assert in_clear(tree, plan.gateway.port) == []
    host = domains[0] if domains else "127.0.0.1"
    readme = (tree / "README.md").read_text()
    url = f"https://{host}:{plan.gateway.port}/v1/"
    # With curl twice, and in Python.
    assert readme.count(url) == 3


@pytest.mark.parametrize(
    ("port", "domains", "host", "address"),
    [
        (443, ("llm.example.org",), "127.0.0.1", "https://llm.example.org"),
        (8443, (), "2001:db8::1", "https://[2001:db8::1]:8443"),
        (443, (), "2001:db8::1", "https://[2001:db8::1]"),
    ],
)
def test_a_port_that_https_implies_is_not_said(port: int, domains: tuple[str, ...], host: str, address: str) -> None:
    plan = gateway_plan(tls=Tls("/a.pem", "/b.pem", domains), port=port)
    assert plan.gateway is not None
    assert entrance_address(plan.gateway, host) == address
