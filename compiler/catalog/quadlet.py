"""Keys of Podman's unit files by the release that brought them.

Source: the tables of supported keys in pkg/systemd/quadlet/quadlet.go of containers/podman, at the tags v4.4.0 to
v5.8.0. A key that a release does not know makes its generator refuse the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping

Version = tuple[int, int]

FLOOR: Version = (5, 0)
"""The oldest Podman for which files are emitted: `Notify=healthy`, `Entrypoint=` and `StopTimeout=` came with it.

Debian 13, RHEL 9.5 and Ubuntu 24.10 have it or a newer one; Debian 12 has 4.3, without these files at all.
"""


def _keys(table: str) -> Mapping[str, Version]:
    """Lines of a version and the keys that came with it; a line without a version continues the one before."""
    found: dict[str, Version] = {}
    version: Version = (0, 0)
    for word in table.split():
        if word[0].isdigit():
            major, _, minor = word.partition(".")
            version = (int(major), int(minor))
        else:
            found[word] = version
    return found


KEYS: Mapping[str, Mapping[str, Version]] = {
    "Container": _keys(
        """
        4.4 AddCapability AddDevice Annotation ContainerName DropCapability Environment EnvironmentFile EnvironmentHost
            Exec ExposeHostPort Group Image Label Network NoNewPrivileges Notify PodmanArgs PublishPort ReadOnly
            RemapGid RemapUid RemapUidSize RemapUsers RunInit SeccompProfile Timezone User VolatileTmp Volume
        4.5 HealthCmd HealthInterval HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd
            HealthStartupInterval HealthStartupRetries HealthStartupSuccess HealthStartupTimeout HealthTimeout IP IP6
            LogDriver Mount Rootfs Secret SecurityLabelDisable SecurityLabelFileType SecurityLabelLevel
            SecurityLabelType Tmpfs UserNS
        4.6 AutoUpdate HostName Mask Pull SecurityLabelNested Sysctl Unmask WorkingDir
        4.7 DNS DNSOption DNSSearch PidsLimit ShmSize Ulimit
        4.8 ContainersConfModule GIDMap GlobalArgs ReadOnlyTmpfs SubGIDMap SubUIDMap UIDMap
        5.0 Entrypoint Pod StopTimeout
        5.1 GroupAdd
        5.2 LogOpt NetworkAlias StopSignal
        5.3 AddHost CgroupsMode HealthLogDestination HealthMaxLogCount HealthMaxLogSize ServiceName StartWithPod
        5.5 Memory ReloadCmd ReloadSignal Retry RetryDelay
        """
    ),
    "Volume": _keys(
        """
        4.4 Copy Device Group Label Options Type User
        4.6 PodmanArgs
        4.7 VolumeName
        4.8 ContainersConfModule Driver GlobalArgs Image
        5.3 ServiceName
        """
    ),
    "Network": _keys(
        """
        4.4 DisableDNS Driver Gateway IPAMDriver IPRange IPv6 Internal Label Options Subnet
        4.6 PodmanArgs
        4.7 DNS NetworkName
        4.8 ContainersConfModule GlobalArgs
        5.3 ServiceName
        5.5 NetworkDeleteOnStop
        """
    ),
}

REFUSED_SERVICE_KEYS = frozenset(("DynamicUser", "Group", "User"))
"""Of the section [Service]: the generator refuses a file that has them (UnsupportedServiceKeys, v5.8.0)."""
