"""A certificate by ACME: a real certbot, a real nginx, and an authority of the test's own in place of Let's Encrypt."""

from __future__ import annotations

import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.plan.ir import Tls
from tests.conftest import tool
from tests.gateway.authority import Authority, certifying
from tests.gateway.machine import Machine, free_port, gateway_plan, machine_with, wait_until
from tests.gateway.test_tls import Load, SecureClient, trusting

NAMES = ("llm.example.org", "llm2.example.org")


@pytest.fixture
def certbot() -> str:
    """certbot, as Debian packs it or from PyPI."""
    return tool("certbot")


@pytest.fixture
def machine(nginx: str, certbot: str, tmp_path: Path) -> Iterator[Machine]:
    """A gateway that has no certificate yet, and does not run."""
    challenges = Path(tempfile.mkdtemp(prefix="stackc-acme-"))
    folder = tmp_path / "tls"
    pair = str(folder / "fullchain.pem"), str(folder / "privkey.pem")
    tls = Tls(*pair, NAMES, free_port(), challenges=str(challenges / "served"), acme="ops@example.org")
    # For root nginx has workers of another user, who may not look into pytest's folders.
    challenges.chmod(0o755)
    with machine_with(tmp_path / "machine", gateway_plan(tls=tls)) as one:
        yield one
    shutil.rmtree(challenges)


@pytest.fixture
def authority(machine: Machine, tmp_path: Path) -> Iterator[Authority]:
    """Asks the gateway's port without TLS, as Let's Encrypt asks port 80."""
    tls = tls_of(machine)
    assert tls.http_port is not None
    with certifying(tmp_path / "authority", tls.http_port) as one:
        yield one


def tls_of(machine: Machine) -> Tls:
    assert machine.plan.gateway is not None
    assert machine.plan.gateway.tls is not None
    return machine.plan.gateway.tls


def own_folders(machine: Machine) -> list[str]:
    """certbot's folders, which are root's elsewhere."""
    kinds = ("config", "work", "logs")
    return [word for kind in kinds for word in (f"--{kind}-dir", str(machine.root / "certbot" / kind))]


def issue(machine: Machine, authority: Authority, *more: str) -> subprocess.CompletedProcess[str]:
    words = ("--server", authority.url, *own_folders(machine), *more)
    return machine.command("certificate", "issue", "--", *words)


def test_the_first_certificate_and_its_renewal_cost_no_request(machine: Machine, authority: Authority) -> None:
    tls = tls_of(machine)
    done = machine.command("certificate", "prepare")
    assert (done.returncode, "placeholder" in done.stdout) == (0, True), done.stderr
    assert stat.S_IMODE(Path(tls.key).stat().st_mode) == 0o640, "containers are in root's group"
    context = trusting(Path(tls.certificate))
    context.load_verify_locations(str(authority.root.certificate))
    with machine.running(), Load(SecureClient(machine.port, context)) as load:
        wait_until(lambda: len(load.statuses) >= 10)
        done = issue(machine, authority)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert authority.asked == len(NAMES)
        by_authority = SecureClient(machine.port, trusting(authority.root.certificate))
        assert by_authority.chat("coder")[0] == 200
        first = Path(tls.certificate).read_text()
        # As certbot's timer calls it: all else it has kept.
        words = ["certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", *own_folders(machine)]
        renewed = subprocess.run(words, env=machine.environment, capture_output=True, text=True, check=False)
        assert renewed.returncode == 0, (renewed.stdout, renewed.stderr)
        assert Path(tls.certificate).read_text() != first
        assert by_authority.chat("coder")[0] == 200
        wait_until(lambda: len(load.statuses) >= 40)
    assert set(load.statuses) == {200}, load.errors
    assert stat.S_IMODE(Path(tls.key).stat().st_mode) == 0o640, "containers are in root's group"
    # What is there is kept.
    assert "placeholder" not in machine.command("certificate", "prepare").stdout


def test_an_authority_that_finds_another_answer_leaves_all_as_it_was(machine: Machine, authority: Authority) -> None:
    assert machine.command("certificate", "prepare").returncode == 0
    before = Path(tls_of(machine).certificate).read_text()
    authority.http_port = machine.servers["coder"].port
    with machine.running():
        assert issue(machine, authority).returncode == 29
        assert SecureClient(machine.port, trusting(Path(tls_of(machine).certificate))).chat("coder")[0] == 200
    assert Path(tls_of(machine).certificate).read_text() == before


def test_nobody_is_asked_while_the_gateway_does_not_run(machine: Machine, authority: Authority) -> None:
    done = issue(machine, authority)
    assert (done.returncode, "start it first" in done.stderr) == (3, True), done.stderr
    assert (authority.asked, authority.names) == (0, [])


def test_files_that_do_not_belong_together_are_not_handed_over(machine: Machine, tmp_path: Path) -> None:
    assert machine.command("certificate", "prepare").returncode == 0
    before = Path(tls_of(machine).certificate).read_text()
    lineage = tmp_path / "lineage"
    lineage.mkdir()
    (lineage / "fullchain.pem").write_text(before)
    (lineage / "privkey.pem").write_text("nothing\n")
    done = machine.command("certificate", "deploy", RENEWED_LINEAGE=str(lineage))
    assert done.returncode == 19, done.stderr
    assert Path(tls_of(machine).certificate).read_text() == before
    assert machine.command("certificate", "deploy").returncode == 2
