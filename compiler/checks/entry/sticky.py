"""What keeps a session with one of several servers of a model: who has several, and knows whose request it is."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checks.entry.entrance import adding_gateway
from compiler.checks.entry.gateway import free_port
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile
from compiler.spec.replicas import most_replicas
from compiler.spec.services import ServiceSpec

_CLIENT_KEYS = "/etc/stackc/client-keys"


def check_sticky(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of this module. A candidate has what its service says."""
    for name, service in file.spec.services.items():
        if file.spec.candidate_of(name) is None:
            yield from _check_header(file, name, service)
            if service.sticky != "none":
                yield from _check_sessions(file, name, service)


def _check_header(file: SpecFile, name: str, service: ServiceSpec) -> Iterator[Diagnostic]:
    if service.sticky != "header" and "sticky_header" in service.model_fields_set:
        where = ("services", name, "sticky_header")
        message = f"`sticky_header` is read with `sticky: header`, and here it is `{service.sticky}`"
        helps = (Help("remove `sticky_header`", (Edit(where, None),)),)
        yield Diagnostic("E0231", message, file.at(*where), helps=helps)


def _check_sessions(file: SpecFile, name: str, service: ServiceSpec) -> Iterator[Diagnostic]:
    where, gateway = file.at("services", name, "sticky"), file.spec.gateway
    if most_replicas(file.spec, name) == 1:
        message = f"service `{name}` has one server, with which every session is"
        notes = ("of two revisions `rollout.sticky` keeps a session with one",)
        yield Diagnostic("E0231", message, where, notes, (_removal(name, service),))
    elif gateway is None:
        message = f"the gateway keeps sessions of `{name}` with a server, and the stack has none"
        yield Diagnostic(
            "E0231", message, where, helps=(adding_gateway(file, free_port(file, 8080)), _removal(name, service))
        )
    elif gateway.kind == "litellm":
        message = f"LiteLLM does not do `sticky: {service.sticky}`"
        nginx = Help("write `kind: nginx`", (Edit(("gateway", "kind"), "nginx"),))
        notes = ("it divides requests among servers by chance",)
        yield Diagnostic("E0214", message, where, notes, (nginx, _removal(name, service)))
    elif service.sticky == "client" and file.spec.secrets.client_keys is None:
        message = "`sticky: client` needs clients that the gateway can tell apart"
        keys = Help("give them keys", (Edit(("secrets", "client_keys"), _CLIENT_KEYS),))
        yield Diagnostic("E0231", message, where, helps=(keys, _removal(name, service)))


def _removal(name: str, service: ServiceSpec) -> Help:
    keys = (key for key in ("sticky", "sticky_header") if key in service.model_fields_set)
    return Help("remove `sticky`", tuple(Edit(("services", name, key), None) for key in keys))
