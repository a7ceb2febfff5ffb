"""Rules of the gateway and of rollouts: what contradicts itself, and what a gateway cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checks.entry.entrance import adding_gateway
from compiler.checks.replicas import all_servers
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.hosts import address_of, is_loopback
from compiler.spec.operations import GatewaySpec, RolloutSpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.rollouts import candidate_name
from compiler.spec.services import ServiceSpec

# Keys of a service that say where a server runs, and nothing about what it answers.
_PLACES = {
    "port",
    "host",
    "node",
    "gpus",
    "share",
    "rollout",
    "served_name",
    "task",
    "sticky",
    "sticky_header",
    "replicas",
}
# Keys that both revisions share: clients must not notice which of them answers.
_SHARED = ("served_name", "task", "rollout")


def check_gateway(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of the gateway itself."""
    gateway = file.spec.gateway
    if gateway is None:
        yield from _check_unused_keys(file)
        return
    yield from _check_litellm(file, gateway)
    yield from _check_host(file, gateway)
    yield from _check_keys(file, gateway)
    yield from _check_burst(file, gateway)
    yield from _check_port(file, gateway)
    yield from _check_names(file)
    yield from _check_service_hosts(file)


def _check_unused_keys(file: SpecFile) -> Iterator[Diagnostic]:
    """Keys of clients are read by the gateway; without one they would protect nothing, in silence."""
    if file.spec.secrets.client_keys is not None:
        message = "`client_keys` are read by a gateway, and the stack has none"
        helps = (
            adding_gateway(file, free_port(file, 8080)),
            Help("remove `client_keys`", (Edit(("secrets", "client_keys"), None),)),
        )
        yield Diagnostic("E0216", message, file.at("secrets", "client_keys"), helps=helps)


def _rollouts(file: SpecFile) -> Iterator[tuple[str, RolloutSpec]]:
    for name, service in file.spec.services.items():
        if service.rollout is not None:
            yield name, service.rollout


# Keys of the gateway that LiteLLM has nothing for, with what it has instead.
_NOT_IN_LITELLM = {
    "requests_per_second": "its limits belong to keys that it keeps in a database",
    "burst": "its limits belong to keys that it keeps in a database",
    "max_body": "its limit of a body is part of its enterprise edition",
    "tls": "it reads a certificate only as it starts, so that each renewal would end the requests that run",
    "teams": "it keeps teams in a database",
}


def _check_litellm(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    """LiteLLM without a database and a licence, as it is emitted."""
    if gateway.kind != "litellm":
        return
    nginx = Help("write `kind: nginx`", (Edit(("gateway", "kind"), "nginx"),))
    message = "LiteLLM takes some 20 ms of a processor for each request: from 40 a second on they wait in it"
    yield Diagnostic("W0221", message, file.at("gateway", "kind"), helps=(nginx,))
    for key, reason in _NOT_IN_LITELLM.items():
        if key in gateway.model_fields_set:
            helps = (nginx, Help(f"remove `{key}`", (Edit(("gateway", key), None),)))
            message = f"LiteLLM does not do `{key}`"
            yield Diagnostic("E0214", message, file.at("gateway", key), (reason,), helps)
    for name, service in file.spec.services.items():
        if service.task == "classify":
            message = f"LiteLLM does not route to service `{name}`: it has no path for labels of texts"
            yield Diagnostic("E0214", message, file.at("services", name, "task"), helps=(nginx,))
    for name, rollout in _rollouts(file):
        where = ("services", name, "rollout")
        if rollout.strategy == "blue-green":
            message = "LiteLLM does not do a blue-green rollout"
            notes = ("it takes new weights only when it starts anew, which ends the requests that run",)
            yield Diagnostic("E0214", message, file.at(*where, "strategy"), notes, (nginx,))
        elif rollout.sticky != "none":
            message = f"LiteLLM does not do `sticky: {rollout.sticky}`"
            notes = ("it divides requests by chance",)
            helps = (nginx, Help("write `sticky: none`", _by_chance(file, name)))
            yield Diagnostic("E0214", message, file.at(*where, "sticky"), notes, helps)


def _by_chance(file: SpecFile, service: str) -> tuple[Edit, ...]:
    where = ("services", service, "rollout")
    rollout = file.spec.services[service].rollout
    header = rollout is not None and "header" in rollout.model_fields_set
    return (Edit((*where, "sticky"), "none"), *((Edit((*where, "header"), None),) if header else ()))


def _check_host(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    if gateway.host != "localhost" and address_of(gateway.host) is None:
        message = f"`host: {gateway.host}` is no IP address"
        notes = ("a name may have several addresses, and none yet while the machine starts",)
        helps = (Help("write 127.0.0.1", (Edit(("gateway", "host"), "127.0.0.1"),)),)
        yield Diagnostic("E0216", message, file.at("gateway", "host"), notes, helps)


def _check_keys(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    """Whoever reaches the gateway uses the servers' own key."""
    if file.spec.secrets.client_keys is None and address_of(gateway.host) and not is_loopback(gateway.host):
        message = f"the gateway on {gateway.host} would serve everybody who reaches it"
        helps = (
            Help("give it keys for its clients", (Edit(("secrets", "client_keys"), "/etc/stackc/client-keys"),)),
            Help("write `host: 127.0.0.1`", (Edit(("gateway", "host"), "127.0.0.1"),)),
        )
        yield Diagnostic("E0216", message, file.at("gateway", "host"), helps=helps)


def _check_burst(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    if "burst" in gateway.model_fields_set and gateway.requests_per_second is None and gateway.kind == "nginx":
        message = "`burst` goes beyond a rate, and there is no `requests_per_second`"
        helps = (Help("remove `burst`", (Edit(("gateway", "burst"), None),)),)
        yield Diagnostic("E0216", message, file.at("gateway", "burst"), helps=helps)


def _check_port(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    owner = taken_ports(file).get(gateway.port)
    if owner is not None:
        free = free_port(file, gateway.port)
        message = f"the gateway and {owner} both listen on port {gateway.port}"
        helps = (Help(f"write `port: {free}`", (Edit(("gateway", "port"), free),)),)
        yield Diagnostic("E0216", message, file.at("gateway", "port"), helps=helps)


def taken_ports(file: SpecFile) -> dict[int, str]:
    """Ports on which something of the gateway's node listens, with who does; the gateway's own are not among them."""
    taken: dict[int, str] = {}
    monitoring = file.spec.monitoring
    if monitoring is not None:
        taken[monitoring.port] = "Prometheus"
        taken |= {monitoring.grafana_port: "Grafana"} if monitoring.grafana else {}
        taken |= {monitoring.dcgm_port: "the DCGM exporter"} if monitoring.dcgm and file.spec.has_gpus else {}
    own = file.spec.gateway.node if file.spec.gateway is not None else ()
    servers = all_servers(file).spec.services
    beside = {name: each for name, each in servers.items() if not own or each.node in (None, *own)}
    return taken | {service.port: f"service `{name}`" for name, service in beside.items()}


def free_port(file: SpecFile, start: int) -> int:
    """The first port from `start` on that nothing else takes."""
    taken = taken_ports(file)
    free: int = next(port for port in (*range(start, 65536), *range(1024, 65536)) if port not in taken)
    return free


def _check_names(file: SpecFile) -> Iterator[Diagnostic]:
    """The model's name in a request must say which server is meant."""
    if "gateway" in file.spec.services:
        message = "a service cannot be called `gateway`: the stack has a unit and a container of that name"
        helps = (Help("call it `gateway-server`"),)
        yield Diagnostic("E0203", message, file.at_key("services", "gateway"), helps=helps)
    owners: dict[str, str] = {}
    for name, service in file.spec.services.items():
        if file.spec.candidate_of(name) is not None:
            continue
        served = service.served_name or name
        other = owners.setdefault(served, name)
        if other != name:
            free = name if name not in owners else f"{name}-2"
            message = f"services `{other}` and `{name}` are both served as `{served}`"
            notes = ("the gateway routes by that name; two revisions of one service are a `rollout`",)
            helps = (Help(f"write `served_name: {free}`", (Edit(("services", name, "served_name"), free),)),)
            yield Diagnostic("E0216", message, file.at("services", name, "served_name"), notes, helps)


def _check_service_hosts(file: SpecFile) -> Iterator[Diagnostic]:
    """A server that the network reaches is a way around the gateway's keys and paths."""
    for name, service in file.spec.services.items():
        if not is_loopback(service.host):
            message = f"service `{name}` listens on {service.host}, past the gateway"
            notes = (
                "`/metrics`, `/tokenize` and others ask for no key, and the rest for the one that all servers share",
            )
            helps = (Help("write `host: 127.0.0.1`", (Edit(("services", name, "host"), "127.0.0.1"),)),)
            yield Diagnostic("E0216", message, file.at("services", name, "host"), notes, helps)


def check_rollouts(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of rollouts."""
    for name, rollout in _rollouts(file):
        if name.endswith(candidate_name("")) and file.spec.candidate_of(name) is not None:
            continue  # its own `rollout` key is refused below
        if file.spec.gateway is None:
            yield _without_gateway(file, name)
        yield from _check_expanded(file, name)
        yield from _check_shared(file, name, rollout)
        yield from _check_difference(file, name)
        yield from _check_weight(file, name, rollout)
        yield from _check_sticky(file, name, rollout)


def _without_gateway(file: SpecFile, name: str) -> Diagnostic:
    message = f"the rollout of `{name}` divides requests, and the stack has no gateway to do it"
    helps = (
        adding_gateway(file, free_port(file, 8080)),
        _give_up(name),
    )
    return Diagnostic("E0215", message, file.at_key("services", name, "rollout"), helps=helps)


def _give_up(name: str) -> Help:
    return Help("remove the rollout", (Edit(("services", name, "rollout"), None),))


def _check_expanded(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """The candidate becomes a service of its own, unless the spec already has one of that name."""
    candidate = candidate_name(name)
    if candidate in file.document.data["services"]:
        message = f"the candidate of `{name}` would be called `{candidate}`, and so is another service"
        helps = (_give_up(name),)
        yield Diagnostic("E0215", message, file.at_key("services", candidate), helps=helps)


def _check_shared(file: SpecFile, name: str, rollout: RolloutSpec) -> Iterator[Diagnostic]:
    for key in _SHARED:
        if key in rollout.candidate:
            where = ("services", name, "rollout", "candidate", key)
            message = f"`{key}` cannot differ between two revisions of `{name}`"
            notes = ("clients must not notice which of the two answers",) if key != "rollout" else ()
            helps = (Help(f"remove `{key}`", (Edit(where, None),)),)
            yield Diagnostic("E0215", message, file.at_key(*where), notes, helps)


def _check_difference(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    candidate = file.spec.services.get(candidate_name(name))
    if candidate is not None and _answers(candidate) == _answers(file.spec.services[name]):
        message = f"both revisions of `{name}` are the same: the candidate differs only in where it runs"
        notes = ("a rollout compares models, quantizations, lengths or engine arguments",)
        where = ("services", name, "rollout", "candidate")
        yield Diagnostic("E0215", message, file.at_key(*where), notes, (_give_up(name),))


def _answers(service: ServiceSpec) -> dict[str, object]:
    return service.model_dump(exclude=_PLACES)


def _check_weight(file: SpecFile, name: str, rollout: RolloutSpec) -> Iterator[Diagnostic]:
    if rollout.strategy == "blue-green" and rollout.weight:
        where = ("services", name, "rollout")
        message = f"a blue-green rollout begins with no request to the candidate, and `weight` is {rollout.weight}"
        helps = (
            Help("remove `weight`", (Edit((*where, "weight"), None),)),
            Help("write `strategy: canary`", (Edit((*where, "strategy"), "canary"),)),
        )
        yield Diagnostic("E0215", message, file.at(*where, "weight"), helps=helps)


def _check_sticky(file: SpecFile, name: str, rollout: RolloutSpec) -> Iterator[Diagnostic]:
    where = ("services", name, "rollout")
    if rollout.sticky == "client" and file.spec.secrets.client_keys is None:
        message = "`sticky: client` needs clients that the gateway can tell apart"
        helps = (_keys_for_clients(file), Help("write `sticky: none`", (Edit((*where, "sticky"), "none"),)))
        yield Diagnostic("E0215", message, file.at(*where, "sticky"), helps=helps)
    if rollout.sticky != "header" and "header" in rollout.model_fields_set:
        message = f"`header` is read with `sticky: header`, and here it is `{rollout.sticky}`"
        helps = (
            Help("write `sticky: header`", (Edit((*where, "sticky"), "header"),)),
            Help("remove `header`", (Edit((*where, "header"), None),)),
        )
        yield Diagnostic("E0215", message, file.at(*where, "header"), helps=helps)


def _keys_for_clients(file: SpecFile) -> Help:
    """Keys without a gateway would be the next error."""
    text, keys = "give them keys", Edit(("secrets", "client_keys"), "/etc/stackc/client-keys")
    if file.spec.gateway is not None:
        return Help(text, (keys,))
    gateway = adding_gateway(file, free_port(file, 8080))
    return Help(text, (keys, *gateway.edits) if gateway.edits else ())
