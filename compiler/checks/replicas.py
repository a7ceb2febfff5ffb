"""Rules of replicas: each has a name, a port and GPUs of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile
from compiler.spec.replicas import most_replicas, replica_name, with_replicas

# As names of services are in a file.
_LONGEST = 41
_LAST_PORT = 65535


def all_servers(file: SpecFile) -> SpecFile:
    """A spec with as many servers as its services may come to have, so that none is in another's way."""
    return replace(file, spec=with_replicas(file.spec, _most(file)))


def free_ports(taken: set[int], start: int, count: int) -> int | None:
    """The first of so many ports in a row that nobody has, from one on; None where there are none."""
    candidates = (*range(start, _LAST_PORT + 2 - count), *range(1024, start))
    return next((port for port in candidates if taken.isdisjoint(range(port, port + count))), None)


def check_replicas(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of replicas."""
    for name, count in _most(file).items():
        if count > 1:
            yield from _check_names(file, name, count)
            yield from _check_gpus(file, name)
            yield from _check_last_port(file, name, count)


def _most(file: SpecFile) -> dict[str, int]:
    return {name: most_replicas(file.spec, name) for name in file.spec.services}


def _check_names(file: SpecFile, name: str, count: int) -> Iterator[Diagnostic]:
    for number in range(2, count + 1):
        server = replica_name(name, number)
        if server in file.spec.services:
            message = f"one of the replicas of `{name}` would be called `{server}`, and so is another service"
            notes = (f"`{server}` stands at {file.at_key('services', server).span}",)
            helps = (_fewer(name, number - 1), Help(f"give `{server}` another name"))
            yield Diagnostic("E0255", message, file.at("services", name, "replicas"), notes, helps)
            return
        if len(server) > _LONGEST:
            message = f"`{server}` would be a name of {len(server)} letters, and a service's has {_LONGEST} at most"
            helps = (_fewer(name, number - 1), Help(f"give `{name}` a shorter name"))
            yield Diagnostic("E0255", message, file.at("services", name, "replicas"), helps=helps)
            return


def _fewer(name: str, count: int) -> Help:
    return Help(f"write `replicas: {count}`", (Edit(("services", name, "replicas"), count),))


def _check_gpus(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """One server on some GPUs answers as fast as several there, which would share what they have."""
    if file.spec.services[name].gpus:
        message = f"service `{name}` names its GPUs, and all of its replicas would share them"
        helps = (
            Help("remove `gpus` and let them be chosen", (Edit(("services", name, "gpus"), None),)),
            Help("remove `replicas`", (Edit(("services", name, "replicas"), None),)),
        )
        yield Diagnostic("E0255", message, file.at("services", name, "gpus"), helps=helps)


def _check_last_port(file: SpecFile, name: str, count: int) -> Iterator[Diagnostic]:
    first = file.spec.services[name].port
    if first + count - 1 <= _LAST_PORT:
        return
    message = (
        f"{count} replicas of `{name}` need the ports from {first} to {first + count - 1}, the last is {_LAST_PORT}"
    )
    others = {service.port for other, service in file.spec.services.items() if other != name}
    free = free_ports(others, _LAST_PORT + 1 - count, count) or free_ports(others, 8000, count)
    helps = () if free is None else (Help(f"write `port: {free}`", (Edit(("services", name, "port"), free),)),)
    yield Diagnostic("E0255", message, file.at("services", name, "port"), helps=helps)
