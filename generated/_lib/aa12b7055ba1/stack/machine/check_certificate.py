"""preflight's questions about the gateway's certificate and its key.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from datetime import datetime, timezone
from pathlib import Path

from stack import JsonObject, Sides, Skipped, StackError, Warned
from stack.ask.tls import WARN_DAYS

EXIT_CERTIFICATE = 19
_DAY = 86_400.0
# Of DER (X.690): a sequence, and the context's own tag 0, which a certificate's version has.
_SEQUENCE, _VERSION = 0x30, 0xA0
_UTC_TIME = 0x17


def check_certificate(tls: JsonObject, *, is_supervised: bool) -> Sides:
    """Both files are there, closed where they must be, of one pair, and of these days."""
    certificate, key = Path(tls["certificate"]), Path(tls["key"])
    wanted = f"{certificate} with its key {key}"
    try:
        if key.stat().st_mode & stat.S_IROTH:
            mode = f"{key}: mode {stat.S_IMODE(key.stat().st_mode):04o}: everybody may read it"
            raise StackError(EXIT_CERTIFICATE, Sides(wanted, mode, "chmod o= it, then have a new pair made"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A passphrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
        begin, end = validity(certificate.read_text("ascii"))
    except PermissionError as error:
        if is_supervised:
            raise Skipped("only root may look: systemd, or the container engine, reads it as root") from error
        raise StackError(EXIT_CERTIFICATE, Sides(wanted, str(error), _owner())) from error
    except (OSError, ValueError) as error:
        raise StackError(EXIT_CERTIFICATE, Sides(wanted, _reason(error), "both in PEM, the key as it is")) from error
    return _in_time(wanted, begin, end)


def _owner() -> str:
    return f"user {os.geteuid()} must be able to read it: correct its owner"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is another certificate's"
    return str(error)


def _in_time(wanted: str, begin: float, end: float) -> Sides:
    now = time.time()
    if now < begin:
        raise StackError(EXIT_CERTIFICATE, Sides(wanted, f"good only from {_date(begin)} on", "is the clock right?"))
    left = (end - now) / _DAY
    if left < 0:
        raise StackError(EXIT_CERTIFICATE, Sides(wanted, f"it ended on {_date(end)}", "renew it"))
    if left < WARN_DAYS:
        raise Warned(f"{wanted}: it ends on {_date(end)}, in {left:.0f} days: renew it, or look why nothing did")
    return Sides(wanted, f"good until {_date(end)}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).date().isoformat()


def validity(pem: str) -> tuple[float, float]:
    """From when and until when the first certificate of a file is good, in seconds since 1970 (RFC 5280, 4.1).

    Raises:
        ValueError: it is none.
    """
    start = pem.find(ssl.PEM_HEADER)
    stop = pem.find(ssl.PEM_FOOTER, start)
    if start < 0 or stop < 0:
        raise ValueError("it holds no certificate in PEM")
    der = ssl.PEM_cert_to_DER_cert(pem[start : stop + len(ssl.PEM_FOOTER)] + "\n")
    _, whole, _ = _element(der)
    _, body, _ = _element(whole)
    tag, _, rest = _element(body)
    # Serial number, algorithm and issuer stand before it, and the version where it is not the first.
    for _ in range(3 if tag == _VERSION else 2):
        _, _, rest = _element(rest)
    tag, times, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("it is no certificate as X.509 has them")
    first, begin, rest = _element(times)
    second, end, _ = _element(rest)
    return _time(first, begin), _time(second, end)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and what follows it."""
    if len(data) < 2:
        raise ValueError("the certificate is cut off")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise ValueError("the certificate is cut off")
    return data[0], data[start : start + size], data[start + size :]


def _time(tag: int, text: bytes) -> float:
    """UTCTime has two digits of the year, which are those of 1950 to 2049; GeneralizedTime has four."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("20" if digits < "50" else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
