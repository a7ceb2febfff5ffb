"""Get the gateway's certificate from Let's Encrypt by certbot, and hand each renewed one to the gateway.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

The authority asks the gateway itself, at port 80 of each domain, so that the gateway runs first: until then with a
placeholder that this program makes. certbot keeps the way it was called, and its own timer renews.

Exit codes: 0 done, 2 usage, 3 the gateway does not run, 4 no plan or a missing program, 19 the files cannot be used,
20 the gateway has not taken the files, 29 certbot failed: its output says why, and what served before still does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import stack
from stack import EXIT_ENVIRONMENT, JsonObject, StackError, load_plan
from stack.files import replace
from stack.runtime import EXIT_UNREACHABLE, found_runtime, renew_secrets, run

EXIT_CERTIFICATE, EXIT_CERTBOT = 19, 29
# Fewer than those that preflight and the smoke test warn of, so that nobody takes it for the real one.
PLACEHOLDER_DAYS = 7
_DAY = 86_400
PLACEHOLDER = "placeholder of stackc"
TIMERS = ("certbot.timer", "snap.certbot.renew.timer", "certbot-renew.timer")
CONTAINERS = ("compose", "quadlet")


class Pair(NamedTuple):
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


def planned_pair(tls: JsonObject) -> Pair:
    """Where the gateway looks."""
    return Pair(Path(tls["certificate"]), Path(tls["key"]))


def prepare(plan: JsonObject) -> str:
    """What the gateway needs to start before any authority was asked."""
    tls = plan["gateway"]["tls"]
    pair = planned_pair(tls)
    _make_folder(Path(tls["challenges"]))
    _make_folder(pair.certificate.parent)
    if all(path.exists() for path in pair) and not is_old_placeholder(pair):
        return f"{pair.certificate} is there"
    with tempfile.TemporaryDirectory(dir=pair.certificate.parent, prefix=".new-") as folder:
        made = Pair(Path(folder) / "certificate", Path(folder) / "key")
        _make_placeholder(made, tls["domains"])
        install(made, pair, _key_mode(plan))
    return f"{pair.certificate}: a placeholder, good for {PLACEHOLDER_DAYS} days and trusted by nobody"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Workers of nginx and readers of the certificate have other users.
        path.chmod(0o755)
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"{path}: {error.strerror}: run this as root") from error


def _make_placeholder(pair: Pair, domains: Sequence[str]) -> None:
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(PLACEHOLDER_DAYS))
    names = ("-addext", "subjectAltName=" + ",".join(f"DNS:{domain}" for domain in domains))
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    done = run(("openssl", "req", "-x509", *kind, "-subj", f"/CN={PLACEHOLDER}", *names, *files))
    if done.returncode != 0:
        raise StackError(EXIT_ENVIRONMENT, f"openssl: {done.stderr.strip()}")


def is_old_placeholder(pair: Pair) -> bool:
    """Whether this program has made it, and it has ended or does so within a day."""
    question = ("openssl", "x509", "-in", str(pair.certificate), "-noout")
    made = run((*question, "-issuer"))
    is_own = made.returncode == 0 and PLACEHOLDER in made.stdout
    return is_own and run((*question, "-checkend", str(_DAY))).returncode != 0


def _key_mode(plan: JsonObject) -> int:
    """Containers do not run as root, but in its group."""
    return 0o640 if any(each in plan["targets"] for each in CONTAINERS) else 0o600


def install(source: Pair, target: Pair, key_mode: int) -> None:
    """Puts a pair in the place of another, each file at once; nothing changes where the two do not belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*source, password=lambda: b"")
        replace(target.key, source.key.read_bytes(), key_mode)
        replace(target.certificate, source.certificate.read_bytes(), 0o644)
    except (OSError, ValueError) as error:
        raise StackError(EXIT_CERTIFICATE, f"{source.certificate} with {source.key}: {error}") from error


def issue(plan: JsonObject, more: Sequence[str]) -> list[str]:
    """Asks for the first certificate; certbot keeps the answers for the renewals."""
    lines = [prepare(plan)]
    if found_runtime(plan) is None:
        raise StackError(EXIT_UNREACHABLE, "the gateway does not run, and the authority asks it: start it first")
    certbot = shutil.which("certbot")
    if certbot is None:
        raise StackError(EXIT_ENVIRONMENT, "certbot is not here: apt-get install certbot")
    # What it says goes to whoever waits for it.
    if subprocess.run([certbot, *certbot_words(plan), *more], stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise StackError(EXIT_CERTBOT, "certbot failed, and what served before still does")
    return [*lines, *_unrenewed()]


def certbot_words(plan: JsonObject) -> list[str]:
    """The command line: no question is asked, and a certificate that is good for long is not asked for again."""
    tls = plan["gateway"]["tls"]
    words = ["certonly", "--non-interactive", "--agree-tos", "--email", tls["acme"], "--keep-until-expiring"]
    words += ["--webroot", "--webroot-path", tls["challenges"], "--cert-name", plan["stack"]]
    words += [word for domain in tls["domains"] for word in ("--domain", domain)]
    return [*words, "--deploy-hook", f"{_tree(plan)}/bin/certificate deploy"]


def _tree(plan: JsonObject) -> Path:
    """By the link that an upgrade moves, where it leads here."""
    current = Path(plan["paths"]["install"]) / "current"
    return current if current.resolve() == stack.TREE.resolve() else stack.TREE


def _unrenewed() -> list[str]:
    if shutil.which("systemctl") is None:
        return []
    if any(run(("systemctl", "--quiet", "is-enabled", timer)).returncode == 0 for timer in TIMERS):
        return []
    return [f"warning: none of {', '.join(TIMERS)} is enabled, and nothing renews the certificate"]


def deploy(plan: JsonObject, lineage: str | None) -> list[str]:
    """Certbot's hook: the gateway gets what the authority has just certified."""
    if lineage is None:
        raise StackError(stack.EXIT_USAGE, "certbot says by RENEWED_LINEAGE where the new files lie, and it is not set")
    target = planned_pair(plan["gateway"]["tls"])
    install(Pair(Path(lineage) / "fullchain.pem", Path(lineage) / "privkey.pem"), target, _key_mode(plan))
    runtime = found_runtime(plan)
    if runtime is None:
        return [f"{target.certificate} is renewed; the gateway does not run, and takes it when it starts"]
    renew_secrets(runtime)
    return [f"{target.certificate} is renewed, and the gateway has taken it"]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="make the folders, and a placeholder where there is no certificate")
    asked = commands.add_parser("issue", help="have certbot ask for the certificate; after `--`, more options for it")
    asked.add_argument("more", nargs="*", metavar="OPTION", help="of certbot, for example --dry-run")
    commands.add_parser("deploy", help="certbot's hook: give the gateway the files in RENEWED_LINEAGE")
    return parser.parse_args()


def main() -> int:
    """Read the command line and do it."""
    options = parse()
    plan = load_plan()
    if options.command == "prepare":
        lines = [prepare(plan)]
    elif options.command == "issue":
        lines = issue(plan, options.more)
    else:
        lines = deploy(plan, os.environ.get("RENEWED_LINEAGE"))
    # The hook's output is certbot's, which shows what comes on stdout alone at a higher level.
    print("\n".join(lines), file=sys.stderr if options.command == "deploy" else sys.stdout)
    return 0
