#!/usr/bin/env python3
"""Write the names of units that distributions ship to compiler/catalog/systemd/units.txt.

Run it on Debian as `tools/extract_units.py MIRROR`, with the address of a mirror: apt brings the index of what packages
contain, into a folder of its own. Only names that a stack's units could have are kept. What Debian's packages do not
ship stands below: systemd's special units, and units of other distributions and vendors.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "compiler/catalog/systemd/units.txt"
SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# STACK.target and STACK-SERVICE.service, with names of [a-z][a-z0-9-]*.
_UNIT = re.compile(r"(?:usr/)?lib/systemd/system/([a-z][a-z0-9-]*\.target|[a-z][a-z0-9]*-[a-z0-9-]+\.service)\s")
# systemd.special(7) of systemd 252 to 258, and units that generators and other parts of it make.
SPECIAL = """
    basic.target bluetooth.target boot-complete.target cryptsetup-pre.target cryptsetup.target ctrl-alt-del.target
    default.target emergency.target exit.target factory-reset.target final.target first-boot-complete.target
    getty-pre.target getty.target graphical.target halt.target hibernate.target hybrid-sleep.target initrd-fs.target
    initrd-root-device.target initrd-root-fs.target initrd-switch-root.target initrd-usr-fs.target initrd.target
    integritysetup-pre.target integritysetup.target kbrequest.target kexec.target local-fs-pre.target local-fs.target
    machines.target multi-user.target network-online.target network-pre.target network.target nss-lookup.target
    nss-user-lookup.target paths.target poweroff.target printer.target reboot.target remote-cryptsetup.target
    remote-fs-pre.target remote-fs.target remote-integritysetup.target remote-veritysetup.target rescue.target
    rpcbind.target runlevel0.target runlevel1.target runlevel2.target runlevel3.target runlevel4.target
    runlevel5.target runlevel6.target session.target shutdown.target sigpwr.target sleep.target slices.target
    smartcard.target sockets.target soft-reboot.target sound.target ssh-access.target storage-target-mode.target
    suspend-then-hibernate.target suspend.target swap.target sysinit.target syslog.target system-update-pre.target
    system-update.target time-set.target time-sync.target timers.target tpm2.target umount.target usb-gadget.target
    veritysetup-pre.target veritysetup.target xdg-desktop-autostart.target app.target background.target
    graphical-session-pre.target graphical-session.target
    autovt-static.service console-getty.service debug-shell.service display-manager.service rc-local.service
    quotaon-root.service system-update-cleanup.service
"""
# Fedora, RHEL, SUSE, Ubuntu, and vendors of what runs beside language models. Written by hand.
ELSEWHERE = """
    anaconda.target chrony-wait.service cloud-config.service cloud-final.service cloud-init-hotplugd.service
    cloud-init-local.service cloud-init.service cloud-init.target cloud-config.target amazon-ssm-agent.service
    container-runtime.service cri-docker.service dcgm-exporter.service dnf-automatic.service dnf-makecache.service
    dracut-shutdown.service elastic-agent.service fluent-bit.service gitlab-runner.service google-guest-agent.service
    google-osconfig-agent.service google-startup-scripts.service gpu-manager.service grafana-server.service
    import-state.service initial-setup.service k3s-agent.service kubepods.target libvirt-guests.service
    livesys-late.service microk8s-daemon.service network-manager.service nfs-client.target nfs-idmapd.service
    nfs-mountd.service nfs-server.service nis-domainname.service node-exporter.service nvidia-cdi-refresh.service
    nvidia-dcgm.service nvidia-fabricmanager.service nvidia-hibernate.service nvidia-imex.service
    nvidia-mig-manager.service nvidia-persistenced.service nvidia-powerd.service nvidia-resume.service
    nvidia-suspend.service oddjobd-mkhomedir.service open-vm-tools.service qemu-guest-agent.service
    rhsm-facts.service rhel-autorelabel.service rpm-ostree-bootstatus.service selinux-autorelabel-mark.service
    selinux-autorelabel.service selinux-autorelabel.target snapd-failure.service snapd-seeded.service
    splunk-forwarder.service ssh-agent.service sshd-keygen.target sssd-kcm.service
    telegraf-agent.service ua-timer.service ubuntu-advantage.service unattended-upgrades.service
    update-notifier-download.service vdo-start-by-dev.service virt-guest-shutdown.target vmtoolsd-init.service
    wazuh-agent.service zabbix-agent.service zfs-import.target zfs-volumes.target zfs.target
"""


def main(arguments: list[str]) -> int:
    """Write the list."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        configuration = _configuration(Path(folder), arguments[0])
        environment = {**os.environ, "APT_CONFIG": str(configuration)}
        subprocess.run(["apt-get", "update"], env=environment, check=True, stdout=sys.stderr)
        lists = Path(folder) / "lists"
        date = _release_date(next(lists.glob("*InRelease")))
        found = set(_shipped(sorted(lists.glob("*Contents*"))))
    by_hand = set((SPECIAL + ELSEWHERE).split())
    head = (
        f"# Units of packages of Debian {SUITE}, main, as of {date}, and those that tools/{Path(__file__).name} adds.\n"
    )
    OUTPUT.write_text(head + "".join(f"{name}\n" for name in sorted(found | by_hand)))
    print(f"{len(found)} of packages, {len(by_hand - found)} more")
    return 0


def _configuration(folder: Path, mirror: str) -> Path:
    """Settings of apt for lists of its own: nothing of the machine's is read or changed."""
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache").mkdir()
    folder.chmod(0o755)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
    target = "Acquire::IndexTargets::deb::Contents"
    text = f"""
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::Lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
{target}-one {{ MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)"; ShortDescription "one"; Description "one"; }};
{target}-all {{ MetaKey "$(COMPONENT)/Contents-all"; ShortDescription "all"; Description "all"; }};
"""
    path = folder / "apt.conf"
    path.write_text(text)
    return path


def _release_date(path: Path) -> str:
    (line,) = re.findall(r"^Date: \w+, (\d+ \w+ \d+)", path.read_text(), re.MULTILINE)
    return str(line)


def _shipped(indices: list[Path]) -> Iterator[str]:
    for index in indices:
        done = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(index)], stdout=subprocess.PIPE, check=True)
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            match = _UNIT.match(line)
            if match is not None:
                yield match[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
