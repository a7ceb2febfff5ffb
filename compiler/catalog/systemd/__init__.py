"""Directives of unit files: which systemd has which, which of them stackc sets itself, and which may be added to.

The data is `directives.json`, read by `tools/extract_directives.py` from the oldest systemd that is supported.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SECTIONS: Mapping[str, tuple[str, ...]] = {"service": ("Unit", "Service"), "target": ("Unit",)}
"""Sections that an emitted unit may be given keys in, by the unit's kind. [Install] is none: bin/install enables."""

OWNED: Mapping[str, frozenset[str]] = {
    "Unit": frozenset({"Description", "PartOf", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst"}),
    "Service": frozenset(
        {
            "AmbientCapabilities", "CapabilityBoundingSet", "Environment", "ExecReload", "ExecStart", "ExecStartPost",
            "ExecStartPre", "IPAddressAllow", "IPAddressDeny", "InaccessiblePaths", "KillMode", "KillSignal",
            "LimitCORE", "LimitMEMLOCK", "LimitNOFILE", "LoadCredential", "LockPersonality", "NoNewPrivileges",
            "OOMPolicy", "PrivateDevices", "PrivateTmp", "ProtectClock", "ProtectControlGroups", "ProtectHome",
            "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc",
            "ProtectSystem", "ReadWritePaths", "Restart",
            "RestartPreventExitStatus", "RestartSec", "RestrictAddressFamilies", "RestrictNamespaces",
            "RestrictRealtime", "RestrictSUIDSGID", "RuntimeDirectory", "RuntimeDirectoryMode",
            "RuntimeDirectoryPreserve", "StateDirectory", "StateDirectoryMode", "SuccessExitStatus",
            "SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter", "TasksMax", "TimeoutStartSec",
            "TimeoutStopSec", "Type", "UMask", "User", "WorkingDirectory",
        }
    ),
}  # fmt: skip
"""What the templates of systemd/ set, by section."""

ADDITIVE = frozenset(
    {
        "After", "AmbientCapabilities", "CapabilityBoundingSet", "Environment", "ExecStartPost", "ExecStartPre",
        "IPAddressAllow", "IPAddressDeny", "InaccessiblePaths", "LoadCredential", "ReadWritePaths",
        "RestartPreventExitStatus", "RestrictAddressFamilies", "SuccessExitStatus", "SystemCallFilter", "Wants",
    }
)  # fmt: skip
"""Of these, the lists: another line adds to what stackc says, and only an empty value would take it away."""

OWNED_VARIABLES = frozenset(
    {
        "HF_HOME", "HOME", "LLAMA_CACHE", "PATH", "STACKC_GATEWAY_DIR", "STACKC_LITELLM", "STACKC_LLAMA_SERVER",
        "STACKC_LOCK_DIR", "STACKC_NGINX", "STACKC_STATE_DIR", "STACKC_VLLM", "TORCHINDUCTOR_CACHE_DIR",
        "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT", "VLLM_ENGINE_READY_TIMEOUT_S", "XDG_CACHE_HOME",
    }
)  # fmt: skip
"""Variables that the units and the launch scripts set: the later of two assignments would win."""

SECRET_VARIABLES = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LLAMA_API_KEY", "VLLM_API_KEY"})
"""Variables that hold a secret: everyone on the machine reads the environment that a unit states."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What unit files may hold.

    Attributes:
        floor: the oldest systemd that the units are written for.
        known: directives of that version, by section.
        newer: of later versions, with the version that brought each.
    """

    floor: int
    known: Mapping[str, frozenset[str]]
    newer: Mapping[str, Mapping[str, int]]

    def nearest(self, section: str, name: str) -> tuple[str, ...]:
        """Directives that may be meant by a name that does not exist, best first."""
        exact = [known for known in sorted(self.known[section]) if known.lower() == name.lower()]
        return tuple(exact or difflib.get_close_matches(name, sorted(self.known[section]), n=2, cutoff=0.75))


@cache
def load_directives() -> Directives:
    """The table of this folder."""
    data = json.loads(files(__name__).joinpath("directives.json").read_text(encoding="utf-8"))
    known = {section: frozenset(names) for section, names in data["directives"].items()}
    return Directives(data["floor"], known, data["newer"])


FAMILIES = ("dbus", "initrd", "systemd")
"""Stacks of these names would have units such as `systemd-x.service`, of which each version of systemd has new ones."""


@cache
def system_units() -> frozenset[str]:
    """Units that distributions and vendors ship, as `tools/extract_units.py` found them."""
    text = files(__name__).joinpath("units.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def system_unit(name: str) -> str | None:
    """What of the system a unit of that name would take the place of, in words; None for nothing."""
    family = next((each for each in FAMILIES if re.fullmatch(rf"{each}(\.target|-[a-z0-9]+\.service)", name)), None)
    if name in system_units():
        return "the system's own of that name"
    return f"those that systemd itself calls `{family}-…`" if family is not None else None
