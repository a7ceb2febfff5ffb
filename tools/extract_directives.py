#!/usr/bin/env python3
"""Write the directives of the oldest supported systemd to compiler/catalog/systemd/directives.json.

Run it where that systemd is installed: it lists its own directives. Those of later versions, with the version from
which the manual has them ("Added in version"), stand below: no single systemd knows when each one came.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "compiler/catalog/systemd/directives.json"
FLOOR = 252
SECTIONS = ("Unit", "Service")
SOURCE = (
    "systemd 252: systemd --dump-configuration-items. Newer ones only make a message clearer: names and versions as "
    "later manuals have them, not read by this tool"
)
NEWER = {
    "Unit": {"SurviveFinalKillSignal": 255, "WantsMountsFor": 256},
    "Service": {
        **dict.fromkeys(("LogFilterPatterns", "MemoryZSwapMax", "OpenFile", "ReloadSignal"), 253),
        **dict.fromkeys(("DelegateSubgroup", "ExtensionImagePolicy", "FileDescriptorStorePreserve"), 254),
        **dict.fromkeys(("ImportCredential", "MemoryKSM", "MemoryPressureThresholdSec", "MemoryPressureWatch"), 254),
        **dict.fromkeys(("MountImagePolicy", "RestartMaxDelaySec", "RestartMode", "RestartSteps"), 254),
        **dict.fromkeys(("RootEphemeral", "RootImagePolicy"), 254),
        **dict.fromkeys(("CoredumpReceive", "NFTSet", "SetLoginEnvironment"), 255),
        "MemoryZSwapWriteback": 256,
        **dict.fromkeys(("BindLogSockets", "ExtraFileDescriptors", "PrivatePIDs"), 257),
        "ManagedOOMMemoryPressureDurationSec": 257,
        **dict.fromkeys(("DelegateNamespaces", "PrivateBPF"), 258),
    },
}


def main() -> int:
    """Write the table."""
    version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if int(version) != FLOOR:
        print(f"this is systemd {version}; the table is of {FLOOR}", file=sys.stderr)
        return 1
    table = {"source": SOURCE, "floor": FLOOR, "directives": directives(), "newer": NEWER}
    OUTPUT.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return 0


def directives() -> dict[str, list[str]]:
    """What this machine's systemd accepts, by section."""
    command = ["/lib/systemd/systemd", "--dump-configuration-items"]
    found: dict[str, set[str]] = {}
    section = ""
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            found.setdefault(section, set()).add(line.partition("=")[0])
    return {name: sorted(found[name]) for name in SECTIONS}


if __name__ == "__main__":
    sys.exit(main())
