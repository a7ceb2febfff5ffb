"""Rules of `adapters`: their names, and the services that may have some."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile
from compiler.spec.reading.model_names import is_model, model_advice, model_message

_TASKS = ("chat", "completion")


def check_adapters(file: SpecFile) -> Iterator[Diagnostic]:
    """All of them. What a rollout's candidate inherits is told of the service."""
    for name, service in file.spec.services.items():
        if file.spec.candidate_of(name) is None and (service.adapters or service.adapters_at_once is not None):
            yield from _check_service(file, name)
            yield from _check_models(file, name)
    yield from _check_names(file)


def _check_service(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    service, where = file.spec.services[name], ("services", name, "adapters")
    remove = Help("remove `adapters`", (Edit(where, None), *_without_slots(file, name)))
    if not service.adapters:
        message = f"service `{name}` has no `adapters`, of which `adapters_at_once` may run"
        helps = (Help("remove `adapters_at_once`", _without_slots(file, name)),)
        yield Diagnostic("E0245", message, file.at_key("services", name, "adapters_at_once"), helps=helps)
    elif service.task not in _TASKS:
        message = f"service `{name}` has the task `{service.task}`, and adapters are served for chats and completions"
        notes = ("what vLLM makes of a model's head for such a task, and what of that adapters change, is not proved",)
        yield Diagnostic("E0245", message, file.at_key(*where), notes, (remove,))
    elif service.machines > 1:
        message = f"service `{name}` runs on {service.machines} machines, and adapters are served from one"
        notes = ("each machine would read an adapter at the path that it has on the first one, which is not proved",)
        yield Diagnostic("E0245", message, file.at_key(*where), notes, (remove,))
    elif service.rollout is not None:
        message = f"service `{name}` has a rollout, whose revisions would share the names of its adapters"
        notes = ("a share of the requests for an adapter cannot be given to another revision",)
        rollout = Help("remove `rollout`", (Edit(("services", name, "rollout"), None),))
        yield Diagnostic("E0245", message, file.at_key(*where), notes, (rollout, remove))


def _without_slots(file: SpecFile, name: str) -> tuple[Edit, ...]:
    is_given = file.spec.services[name].adapters_at_once is not None
    return (Edit(("services", name, "adapters_at_once"), None),) if is_given else ()


def _check_models(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    for index, adapter in enumerate(file.spec.services[name].adapters):
        path = ("services", name, "adapters", index, "model")
        if not is_model(adapter.model):
            notes, helps = model_advice(adapter.model, path)
            yield Diagnostic("E0203", model_message(adapter.model), file.at(*path), notes, helps)


def _check_names(file: SpecFile) -> Iterator[Diagnostic]:
    """The name in a request says which weights answer, at each server and at the gateway."""
    owners = {service.served_name or name: f"service `{name}`" for name, service in file.spec.services.items()}
    for name, service in file.spec.services.items():
        if file.spec.candidate_of(name) is not None:
            continue
        for index, adapter in enumerate(service.adapters):
            if adapter.name in owners:
                yield _taken(file, name, index, owners)
            owners.setdefault(adapter.name, f"an adapter of service `{name}`")


def _taken(file: SpecFile, name: str, index: int, owners: dict[str, str]) -> Diagnostic:
    adapter, path = file.spec.services[name].adapters[index], ("services", name, "adapters", index, "name")
    free = next(each for number in range(2, len(owners) + 3) if (each := f"{adapter.name}-{number}") not in owners)
    message = f"`{adapter.name}` is the name of {owners[adapter.name]} already"
    notes = ("clients ask for a model and for its adapters by name alone; vLLM refuses a name that it has",)
    return Diagnostic("E0245", message, file.at(*path), notes, (Help(f"write `name: {free}`", (Edit(path, free),)),))
