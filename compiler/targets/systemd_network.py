"""With which addresses the processes of a unit may exchange packets.

systemd filters by address, in both directions, for all sockets of a unit; what is allowed wins over what is denied. A
server whose clients are other machines cannot deny their networks, which no spec knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.hosts import address_of, host_of, is_loopback
from compiler.plan.ir import Gateway, GpuNode, Group, Plan, Service


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses, networks and systemd's names for some of them. `why` is for whoever reads the unit."""

    deny: tuple[str, ...]
    allow: tuple[str, ...]
    why: str


# Clouds tell a machine's credentials to whatever asks at these. Most of them are link-local; not these two (AWS's by
# IPv6, Alibaba's).
_METADATA = ("fd00:ec2::254", "100.100.100.200")
_NEVER = ("link-local", "multicast", *_METADATA)
# RFC 1918, shared address space (RFC 6598) and unique local addresses (RFC 4193).
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
# FlashInfer has kernels of these GPUs as files that it downloads when they are first needed, unless `flashinfer-cubin`
# is installed (vllm/utils/flashinfer.py:has_nvidia_artifactory, 0.33.0).
_DOWNLOADS_KERNELS = 10

# Where all of a server's clients have link-local addresses, only the one that clouds use is denied.
_NEVER_BUT_CLIENTS = ("169.254.169.254", *_NEVER[1:])

_ALONE = Network(("any",), ("localhost",), "Its clients are on this machine, and it needs nobody else.")
_OF_GATEWAY = "Its client is the gateway of these nodes, and it needs nobody else."


def server_network(plan: Plan, service: Service) -> Network:
    """What one server needs: its clients, and what it fetches."""
    outside = _outside(plan, service)
    is_near = is_loopback(service.host)
    if service.answers and not is_near and not plan.entrances:
        return _for_clients(service.host)
    if service.group is not None:
        return _in_group(plan, service.group, outside)
    clients = _ALONE if is_near else Network(("any",), ("localhost", *_entrances(plan)), _OF_GATEWAY)
    if outside is None:
        return clients
    why, private = outside
    return replace(clients, deny=_NEVER if private else (*_NEVER, *_PRIVATE), why=why)


def _in_group(plan: Plan, group: Group, outside: tuple[str, bool] | None) -> Network:
    """Loopback and the other machines, which it finds at random ports; what may be outside stays what it was."""
    members = (member.address for member in group.members)
    allow = ("localhost", *dict.fromkeys((*members, *_entrances(plan))))
    if outside is None:
        return Network(("any",), allow, "Its clients are on this machine, its other parts on those of its group.")
    why, private = outside
    return Network(_NEVER if private else (*_NEVER, *_PRIVATE), allow, f"{why} Its other parts are on other machines.")


def _entrances(plan: Plan) -> tuple[str, ...]:
    """From where a server is asked: the machine itself comes from its own address there."""
    addresses = (plan.node.address, *(each.address for each in plan.entrances))
    return tuple(dict.fromkeys(address for address in addresses if address is not None))


def gateway_network(plan: Plan, gateway: Gateway) -> Network:
    """The gateway's: its clients, and the servers, of which some may be on other nodes."""
    if not is_loopback(gateway.host):
        return _for_clients(gateway.host)
    if not plan.neighbours:
        return _ALONE
    nodes = (each.node.address for each in (plan, *plan.neighbours))
    servers = tuple(dict.fromkeys(address for address in nodes if address is not None))
    return Network(("any",), ("localhost", *servers), "Its clients are on this machine, its servers on these nodes.")


def prefetch_network() -> Network:
    """The download's: the Hub may be a mirror in a private network."""
    return Network(_NEVER, (), "It downloads; metadata of a cloud is not for it.")


def _for_clients(host: str) -> Network:
    address = address_of(host)
    denied = _NEVER_BUT_CLIENTS if address is not None and address.is_link_local else _NEVER
    return Network(denied, (), "Its clients are on other machines; metadata of a cloud is not for it.")


def _outside(plan: Plan, service: Service) -> tuple[str, bool] | None:
    """Why a server needs other machines, and whether they may be in a private network; None if it does not."""
    if _traces_leave(service):
        return "It sends traces to the endpoint of its options.", True
    if service.media_domains:
        return "It fetches media from the hosts of its options, which are public.", False
    if _DOWNLOADS_KERNELS in _capabilities(plan, service):
        return "FlashInfer downloads kernels for this GPU.", False
    return None


def _capabilities(plan: Plan, service: Service) -> set[int]:
    """Major compute capabilities of the GPUs of a service."""
    node = plan.node
    return (
        {node.card(device).compute_capability[0] for device in service.devices} if isinstance(node, GpuNode) else set()
    )


def _traces_leave(service: Service) -> bool:
    endpoints = [word for each in service.arguments if each.flag == "--otlp-traces-endpoint" for word in each.words]
    return any(not is_loopback(host_of(endpoint) or "") for endpoint in endpoints)
