"""One gateway for several nodes: where it runs, and at which addresses it and the servers of other nodes meet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.hosts import Address, address_of, is_loopback, is_wildcard
from compiler.spec.operations import GatewaySpec
from compiler.spec.reading.load import SpecFile

_API_KEY = "/etc/stackc/api-key"
_MOST_SHOWN = 3


def check_entrance(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of this module."""
    yield from _check_addresses(file)
    yield from _check_doubles(file)
    gateway = file.spec.gateway
    if gateway is None:
        return
    yield from _check_names(file, gateway)
    if len(file.spec.machines) > 1:
        yield from _check_several(file, gateway)


def adding_gateway(file: SpecFile, port: int) -> Help:
    """A gateway in front of the stack; without an edit where nobody but the user knows the nodes' addresses."""
    port_edit = Edit(("gateway", "port"), port)
    if len(file.spec.machines) == 1:
        return Help("add a gateway", (port_edit,))
    node = _first_node(file)
    if _without_address(file):
        return Help(f"add `gateway: {{node: {node}, port: {port}}}`, and the `address` of each node")
    edits = (port_edit, Edit(("gateway", "node"), node), *_key_edits(file))
    return Help(f"add a gateway on `{node}`", edits)


def removing_gateway(file: SpecFile) -> Help:
    """What is left where no gateway can be had: one of the user's own."""
    rollouts = (name for name, service in file.spec.services.items() if service.rollout is not None)
    edits = (
        Edit(("gateway",), None),
        *(Edit(("services", name, "rollout"), None) for name in rollouts),
        *(() if file.spec.secrets.client_keys is None else (Edit(("secrets", "client_keys"), None),)),
    )
    return Help("remove the gateway, and put one of your own before the nodes", edits)


def _first_node(file: SpecFile) -> str:
    """One on which a server is sure to run, if the spec says so of any."""
    pinned = {service.node for service in file.spec.services.values()}
    return next((node for node in file.spec.machines if node in pinned), next(iter(file.spec.machines)))


def _without_address(file: SpecFile) -> tuple[str, ...]:
    return tuple(name for name, node in file.spec.machines.items() if node.address is None)


def _key_edits(file: SpecFile) -> tuple[Edit, ...]:
    return () if file.spec.secrets.api_key is not None else (Edit(("secrets", "api_key"), _API_KEY),)


def _check_addresses(file: SpecFile) -> Iterator[Diagnostic]:
    for name, node in file.spec.machines.items():
        reason = None if node.address is None else _not_a_place(node.address)
        if reason is not None:
            message = f"`address: {node.address}` is {reason}"
            notes = ("it is the address at which the stack's other nodes reach this one: `ip -brief address` shows it",)
            helps = _without(file, name, "write that of its network")
            yield Diagnostic("E0230", message, file.at("nodes", name, "address"), notes, helps)


def _not_a_place(host: str) -> str | None:
    """Why no other node finds a node there; None if it may."""
    address = address_of(host)
    if address is None:
        return "no IP address: a name may have several, and none yet while a machine starts"
    if address.is_loopback:
        return "each machine's own, where no other one reaches it"
    if address.is_unspecified or address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
        return "no address of one machine"
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
        return "good for one cable alone, which the address does not name"
    return None


def _without(file: SpecFile, node: str, text: str) -> tuple[Help, ...]:
    """Another address, which only the user knows, or none, where nobody needs it."""
    removal = Edit(("nodes", node, "address"), None)
    if file.spec.gateway is None or len(file.spec.machines) == 1:
        return (Help(text), Help("remove `address`", (removal,)))
    other = removing_gateway(file)
    return (Help(text), Help(other.text, (*other.edits, removal)))


def _check_doubles(file: SpecFile) -> Iterator[Diagnostic]:
    owners: dict[Address, str] = {}
    for name, node in file.spec.machines.items():
        address = None if node.address is None else address_of(node.address)
        if address is None:
            continue
        owner = owners.setdefault(address, name)
        if owner != name:
            message = f"nodes `{owner}` and `{name}` have one address, {node.address}"
            notes = ("requests for the servers of one would go to the other",)
            helps = _without(file, name, "write that of each")
            yield Diagnostic("E0230", message, file.at("nodes", name, "address"), notes, helps)


def _check_names(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    nodes = list(file.spec.machines)
    unknown = [name for name in gateway.node if name not in file.spec.machines]
    where = ("gateway", "node")
    if unknown:
        shown = ", ".join(f"`{node}`" for node in nodes[:_MOST_SHOWN]) + (", …" if len(nodes) > _MOST_SHOWN else "")
        message = f"the gateway is to run on node `{unknown[0]}`, which the stack has not"
        helps = (Help(f"write `node: {_first_node(file)}`", (Edit(where, _first_node(file)),)),)
        yield Diagnostic("E0230", message, file.at(*where), (f"the stack's nodes: {shown}",), helps)
    elif len(set(gateway.node)) < len(gateway.node):
        first = gateway.node[0]
        message = f"the gateway is to run on node `{first}` twice"
        helps = (Help(f"write `node: {first}`", (Edit(where, first),)),)
        yield Diagnostic("E0230", message, file.at(*where), helps=helps)


def _check_several(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    if not gateway.node:
        yield _homeless(file)
        return
    absent = _without_address(file)
    if absent:
        yield _unreachable(file, gateway, absent)
    yield from _check_key(file, gateway)
    yield from _check_own_host(file, gateway)
    yield from _check_service_hosts(file)


def _homeless(file: SpecFile) -> Diagnostic:
    node = _first_node(file)
    message = f"the stack has {len(file.spec.machines)} nodes, and nothing says on which of them the gateway runs"
    notes = ("it runs on one of them, and serves the others at their `address`",)
    if _without_address(file):
        here = Help(f"write `node: {node}` below `gateway`, and the `address` of each node")
    else:
        here = Help(f"write `node: {node}`", (Edit(("gateway", "node"), node), *_key_edits(file)))
    return Diagnostic("E0230", message, file.at_key("gateway"), notes, (here, removing_gateway(file)))


def _unreachable(file: SpecFile, gateway: GatewaySpec, absent: tuple[str, ...]) -> Diagnostic:
    first, more = absent[0], len(absent) - 1
    others = f", nor have {more} others" if more > 1 else ", nor has another" if more else ""
    message = f"node `{first}` has no `address`{others}: the gateway on `{gateway.node[0]}` and its servers do not meet"
    notes = ("servers listen at the address of their node, and let in the address of the gateway's",)
    helps = (Help(f"add `address`, an IP address at which the other nodes reach `{first}`"), removing_gateway(file))
    return Diagnostic("E0230", message, file.at_key("nodes", first), notes, helps)


def _check_key(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    if file.spec.secrets.api_key is None:
        message = f"the gateway on `{gateway.node[0]}` would come to the servers of other nodes without a key"
        notes = ("whoever is in that network could use them as it does",)
        helps = (Help(f"`api_key: {_API_KEY}` in `secrets`, the same file on each node", _key_edits(file)),)
        yield Diagnostic("E0230", message, file.at("gateway", "node"), notes, helps)


def listening_everywhere() -> Help:
    """The gateway at every address of its machine."""
    return Help("write `host: 0.0.0.0`", (Edit(("gateway", "host"), "0.0.0.0"),))  # noqa: S104 (what a spec may say)


def _check_own_host(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    """Both gateways have one configuration."""
    if len(set(gateway.node)) > 1 and not is_loopback(gateway.host) and not is_wildcard(gateway.host):
        message = f"`host: {gateway.host}` is of one machine, and the gateway runs on two"
        yield Diagnostic("E0230", message, file.at("gateway", "host"), helps=(listening_everywhere(),))


def _check_service_hosts(file: SpecFile) -> Iterator[Diagnostic]:
    """Where a server listens follows from the node that it gets; an address that is not this machine's is E0216."""
    written = [path for path in _written_hosts(file) if is_loopback(file.spec.services[path[1]].host)]
    if written:
        message = f"service `{written[0][1]}` is to listen at an address that a gateway of another node does not reach"
        notes = ("without `host` it listens at its node's address, or at 127.0.0.1 where the gateway runs",)
        helps = (Help("remove `host`", tuple(Edit(path, None) for path in written)),)
        yield Diagnostic("E0230", message, file.at(*written[0]), notes, helps)


def _written_hosts(file: SpecFile) -> Iterator[tuple[str, str, str]]:
    """Of services of the file itself: what is made of one inherits its keys."""
    for name, service in file.document.data["services"].items():
        if isinstance(service, dict) and "host" in service:
            yield ("services", str(name), "host")
