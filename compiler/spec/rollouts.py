"""A rollout's candidate is a service of its own: everything downstream sees two services with one served name.

The spec's file has it below `services.NAME.rollout.candidate`, so paths of places and of edits are translated here;
those of replicas and of counted nodes too, which the file has as one service and one node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from compiler.diagnostics import Edit
from compiler.spec.nodes.written import written_node_path
from compiler.spec.replicas import numbered

Path = tuple[str | int, ...]

SUFFIX = "-candidate"


def candidate_name(service: str) -> str:
    """What the candidate of a service is called."""
    return service + SUFFIX


def with_candidates(data: Any) -> Any:
    """A spec's plain data in which every candidate stands as a service right after the one it may replace."""
    services = data.get("services") if isinstance(data, Mapping) else None
    if not isinstance(services, Mapping):
        return data
    return {**data, "services": dict(_expanded(services))}


def _expanded(services: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for name, service in services.items():
        yield name, service
        changes = _changes(service)
        if changes is not None and candidate_name(str(name)) not in services:
            inherited = {key: value for key, value in service.items() if key != "rollout"}
            yield candidate_name(str(name)), {"served_name": name} | inherited | dict(changes)


def _changes(service: Any) -> Mapping[str, Any] | None:
    rollout = service.get("rollout") if isinstance(service, Mapping) else None
    changes = rollout.get("candidate") if isinstance(rollout, Mapping) else None
    return changes if isinstance(changes, Mapping) else None


def written_path(data: Any, path: Path) -> Path:
    """Where the file says what is at `path`: in a candidate's own keys or those that it inherits; in a node's entry."""
    path = _of_service(data, path)
    base = _base(data, path)
    if base is None:
        return written_node_path(data, path)
    own = ("services", base, "rollout", "candidate")
    key = path[2:3]
    changes = _changes(data["services"][base]) or {}
    inherits = bool(key) and key[0] not in changes and key[0] in data["services"][base]
    return ("services", base, *path[2:]) if inherits else (*own, *path[2:])


def written_edits(data: Any, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Edits as the file takes them: a candidate is changed in its own keys, never in those of the other revision."""
    return tuple(dict.fromkeys(Edit(_edited_path(data, edit.path), edit.value) for edit in edits))


def _edited_path(data: Any, path: Path) -> Path:
    path = _of_service(data, path)
    base = _base(data, path)
    return written_node_path(data, path) if base is None else ("services", base, "rollout", "candidate", *path[2:])


def _of_service(data: Any, path: Path) -> Path:
    """The same path in the service whose replica it is about."""
    services = data.get("services") if isinstance(data, Mapping) else None
    if len(path) < 2 or path[0] != "services" or not isinstance(services, Mapping) or path[1] in services:  # noqa: PLR2004
        return path
    service = numbered(str(path[1]))
    if service is None:
        return path
    of_service = ("services", service, *path[2:])
    return of_service if service in services or _base(data, of_service) is not None else path


def _base(data: Any, path: Path) -> str | None:
    """The service whose candidate a path is about; None where the file has the service itself."""
    if len(path) < 2 or path[0] != "services" or not isinstance(data, Mapping):  # noqa: PLR2004  (services.NAME)
        return None
    services, name = data.get("services"), str(path[1])
    if not isinstance(services, Mapping) or name in services or not name.endswith(SUFFIX):
        return None
    base = name.removesuffix(SUFFIX)
    return base if _changes(services.get(base)) is not None else None
