"""Which names of websites a spec may hold: those that a browser sends, character by character."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.checks.entry.cors import _meant, _reason
from compiler.pipeline import compile_stack
from compiler.targets.gateway.nginx import nginx_config
from tests.gateway.machine import gateway_plan

ORIGINS = [
    "https://app.example.org", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:8080", "https://a",
    "https://xn--bcher-kva.example", "https://app.example.org:8443", "capacitor://localhost", "http://a:443", "*",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "https://a_b.example.org",
]  # fmt: skip
NONE = [
    "", "null", "NULL", "https://", "https://*", "https://*.example.org", "*.example.org", "example.org",
    "//example.org", "https://example.org/", "https://example.org/a", "https://example.org?a",
    "https://example.org#a", "https://EXAMPLE.org", "HTTPS://example.org", "https://example.org:443",
    "http://example.org:80", "https://example.org:", "https://a:0", "https://example.org:99999",
    "https://u@example.org", "https://b\u00fccher.example", "https://a b", "https://a\n", "a",
    'https://a"; return 200; "', "https://a$b", "~https://a", "https://a;", "https://a,https://b",
    "https://a https://b", "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "https://a..b", "https://.a", "https://-a", "default", "hostnames", "include /etc/passwd", "https://a\u0000",
    "https://a\u202e", "(null)", "https://[::1", "file://",
]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_a_browser_sends_is_taken(origin: str) -> None:
    assert _reason(origin) is None


@pytest.mark.parametrize("origin", NONE)
def test_what_no_browser_sends_is_refused(origin: str) -> None:
    assert _reason(origin) is not None


@given(
    st.one_of(st.text(max_size=40), st.from_regex(r"https?://[A-Za-z.]{1,20}(:[0-9]{1,5})?(/.{0,9})?", fullmatch=True))
)
def test_what_is_taken_needs_no_quoting_and_what_is_offered_is_taken_or_nothing(text: str) -> None:
    if _reason(text) is None:
        assert not set(text) & set(" \t\r\n\"'$;{}\\,#~")
        assert text == text.lower()
    meant = _meant(text)
    assert _meant(meant) == meant or _reason(meant) is not None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://App.Example.org/chat?x#y", "https://app.example.org"),
        ("app.example.org/", "https://app.example.org"),
        (" http://localhost:3000/ ", "http://localhost:3000"),
        ("https://app.example.org:443", "https://app.example.org"),
        ("http://user:word@localhost", "http://localhost"),
    ],
)
def test_the_origin_of_an_address_is_offered(written: str, meant: str) -> None:
    assert _meant(written) == meant
    assert _reason(meant) is None


def test_the_order_of_a_spec_does_not_matter(tmp_path: Path, root: Path) -> None:
    """The same files come of it."""
    text = (root / "stacks/team-96gb.yaml").read_text()
    shutil.copy(root / "stacks/team-96gb.lock.yaml", tmp_path)
    found = []
    for origins in ("https://b.example.org, https://a.example.org", "https://a.example.org, https://b.example.org"):
        (tmp_path / "team-96gb.yaml").write_text(with_origins(text, origins))
        compiled, diagnostics = compile_stack(tmp_path / "team-96gb.yaml", "team-96gb.yaml")
        assert compiled is not None, diagnostics
        assert compiled.plan.gateway is not None
        found.append(compiled.plan.gateway.cors_origins)
    assert found == [("https://a.example.org", "https://b.example.org")] * 2


def with_origins(text: str, origins: str) -> str:
    assert text.count("\ngateway:") == 1
    head, _, rest = text.partition("\ngateway:")
    line, _, tail = rest.partition("\n")
    if line.strip().startswith("{"):
        return f"{head}\ngateway:{line.rstrip().removesuffix('}')}, cors: {{origins: [{origins}]}}}}\n{tail}"
    return f"{head}\ngateway:{line}\n  cors: {{origins: [{origins}]}}\n{tail}"


def test_every_website_is_its_own_case() -> None:
    plan = replace(gateway_plan(cors_origins=("*",)))
    assert plan.gateway is not None
    assert nginx_config(plan, plan.gateway).allows_any_origin
    assert not nginx_config(plan, replace(plan.gateway, cors_origins=("https://a",))).allows_any_origin
