"""Certificates of a test's own authority-less kind: each signs itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


def make_pair(folder: Path, name: str = "llm.example.org", *, days: int = 90) -> Pair:
    """A new pair for a name, in a folder of its own; of a few milliseconds, for its key is on an elliptic curve."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / "certificate.pem", folder / "key.pem")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    subprocess.run(
        ["openssl", "req", "-x509", *curve, "-days", str(days), *names, *files], check=True, capture_output=True
    )
    return pair
