"""Parsers of tool calls and reasoning against the model that is served: vLLM takes any name, and some read nothing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.common.options import FlagCatalog
from compiler.engines.interface.parsers import KnownParsers
from compiler.engines.vllm.answers.parser_table import GENERIC, Family, Role, families_of, suitable
from compiler.engines.vllm.options.catalog import load_flags
from compiler.lock.models import Lock, ModelFacts
from compiler.spec.engines import VLLM
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec

_PLUGINS = {Role.TOOLS: "--tool-parser-plugin", Role.REASONING: "--reasoning-parser-plugin"}
WANTS_TOOLS = "--enable-auto-tool-choice"
_FEATURES = {"tools": Role.TOOLS, "reasoning": Role.REASONING}
_NEAR = 2


@dataclass(frozen=True, slots=True)
class _Service:
    """One service's parsers.

    Attributes:
        given: by vLLM's name of the option, the key of the spec and its value.
        families: of the models that may serve it; empty where one of them belongs to none that is known.
    """

    file: SpecFile
    name: str
    spec: ServiceSpec
    catalog: FlagCatalog
    given: dict[str, tuple[str, object]]
    families: tuple[Family, ...]

    def path(self, key: str) -> tuple[str, ...]:
        return ("services", self.name, "engine_args", key)

    def registered(self, role: Role) -> tuple[str, ...]:
        flag = self.catalog.find(role)
        return flag.registered if flag is not None else ()

    def suitable(self, role: Role) -> tuple[str, ...]:
        return suitable(self.families, role, self.registered(role))


def check_parsers(file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
    """E0503 where the server would not start with the parsers of a service, W0501 where they read another family."""
    for name in services:
        spec = file.spec.services[name]
        catalog = load_flags(file.spec.engine.release_on(VLLM, spec.device) or "")
        found = ((catalog.find(key), key, value) for key, value in spec.engine_args.items())
        given = {flag.name: (key, value) for flag, key, value in found if flag is not None}
        service = _Service(file, name, spec, catalog, given, service_families(lock, name))
        yield from _missing(service)
        yield from _features(service, [lock.models[each] for each in lock.services[name].candidates])
        for role in Role:
            yield from _named(service, role)


def service_families(lock: Lock, service: str) -> tuple[Family, ...]:
    """Of the models that may serve a service; empty where one of them belongs to none that is known."""
    each = [_families(lock.models[name]) for name in lock.services[service].candidates]
    return tuple(dict.fromkeys(family for families in each for family in families)) if all(each) else ()


def _families(facts: ModelFacts) -> tuple[Family, ...]:
    names, model_type = facts.config.get("architectures"), facts.config.get("model_type")
    first = names[0] if isinstance(names, list) and names else None
    return families_of(str(first), str(model_type))


def known_parsers(lock: Lock, service: str, version: str) -> tuple[KnownParsers, ...]:
    """Of the families that the models of a service may belong to."""
    flags = {role: load_flags(version).find(role) for role in Role}
    registered = {role: flag.registered if flag is not None else () for role, flag in flags.items()}
    return tuple(
        KnownParsers(
            title=family.title,
            described=family.described,
            shared=family.shared,
            options={role.value: suitable((family,), role, registered[role]) for role in Role},
        )
        for family in service_families(lock, service)
    )


def wanted_roles(spec: ServiceSpec) -> tuple[Role, ...]:
    """What the features of a service need a parser for."""
    return tuple(role for feature, role in _FEATURES.items() if feature in spec.features)


def parsers_of(facts: ModelFacts, role: Role, catalog: FlagCatalog) -> tuple[str, ...]:
    """Parsers of a release for one model, the best first."""
    flag = catalog.find(role)
    return suitable(_families(facts), role, flag.registered if flag is not None else ())


def _features(service: _Service, models: list[ModelFacts]) -> Iterator[Diagnostic]:
    """E0219 where a feature needs a parser that nobody names, W0502 where one was chosen by an architecture alone."""
    yield from _switched_off(service)
    for role in wanted_roles(service.spec):
        if role in service.given:
            continue
        label = service.file.at("services", service.name, "features")
        each = [parsers_of(facts, role, service.catalog) for facts in models]
        feature = next(name for name, wanted in _FEATURES.items() if wanted is role)
        if not all(each):
            message = f"`{feature}`: no parser of vLLM {service.catalog.version} is known for the model's family"
            notes = (f"vLLM has {', '.join(service.registered(role))}", *_notes(service))
            yield Diagnostic("E0219", message, label, notes, _without(service, feature, role))
        elif any(family.shared or len(family.parsers(role)) > 1 for family in service.families):
            message = f"service `{service.name}` reads answers with `{each[0][0]}`, which its architecture suggests"
            helps = tuple(
                Help(f"write `{_key(role)}: {name}` in `engine_args`", (Edit(service.path(_key(role)), name),))
                for name in dict.fromkeys(name for names in each for name in names)
            )
            yield Diagnostic("W0502", message, label, _notes(service), helps)


def _without(service: _Service, feature: str, role: Role) -> tuple[Help, ...]:
    return (
        Help(f"name the parser: `engine_args: {{{_key(role)}: …}}`"),
        Help(f"remove `{feature}` from `features`", (_less(service, feature),)),
    )


def _less(service: _Service, feature: str) -> Edit:
    left = tuple(name for name in service.spec.features if name != feature)
    return Edit(("services", service.name, "features"), left or None)


def _switched_off(service: _Service) -> Iterator[Diagnostic]:
    key, value = service.given.get(WANTS_TOOLS, ("", True))
    if value is False and Role.TOOLS in wanted_roles(service.spec):
        message = f"`{key}: false` and the feature `tools` contradict each other"
        helps = (
            Help(f"remove `{key}`", (Edit(service.path(key), None),)),
            Help("remove `tools` from `features`", (_less(service, "tools"),)),
        )
        yield Diagnostic("E0219", message, service.file.at(*service.path(key)), helps=helps)


def _missing(service: _Service) -> Iterator[Diagnostic]:
    """vllm/entrypoints/common/cli_args.py:validate_parsed_serve_args."""
    key, value = service.given.get(WANTS_TOOLS, ("", False))
    if value is not True or Role.TOOLS in service.given or Role.TOOLS in wanted_roles(service.spec):
        return
    message = f"`{key}` does not take this value: it needs `{_key(Role.TOOLS)}` too"
    remove = Help(f"remove `{key}`", (Edit(service.path(key), None),))
    helps = (*_suggestions(service, Role.TOOLS, _key(Role.TOOLS)), remove)
    yield Diagnostic("E0503", message, service.file.at(*service.path(key)), _notes(service), helps)


def _named(service: _Service, role: Role) -> Iterator[Diagnostic]:
    if role not in service.given or _PLUGINS[role] in service.given:
        return
    key, value = service.given[role]
    label, fitting = service.file.at(*service.path(key)), service.suitable(role)
    if value not in service.registered(role):
        message = f"`{key}` does not take this value: vLLM {service.catalog.version} knows no parser of that name"
        yield Diagnostic("E0503", message, label, _notes(service), _renamings(service, role, key, value))
        return
    if not fitting or value in fitting or value in GENERIC or any(family.shared for family in service.families):
        return
    message = f"service `{service.name}` reads answers with `{value}`, and vLLM has {_listed(fitting)} for its model"
    yield Diagnostic("W0501", message, label, _notes(service), _suggestions(service, role, key))


def _renamings(service: _Service, role: Role, key: str, value: object) -> tuple[Help, ...]:
    near = difflib.get_close_matches(str(value), service.registered(role), n=_NEAR)
    known = service.suitable(role)
    others = (Help(f"did you mean `{name}`?", (Edit(service.path(key), name),)) for name in near if name not in known)
    remove = Edit(service.path(key), None)
    edits = [remove]
    # Without its parser vLLM refuses the choice of tools too.
    if role is Role.TOOLS and WANTS_TOOLS in service.given:
        edits.append(Edit(service.path(service.given[WANTS_TOOLS][0]), None))
    named = " and ".join(f"`{edit.path[-1]}`" for edit in edits)
    return (*_suggestions(service, role, key), *others, Help(f"remove {named}", tuple(edits)))


def _suggestions(service: _Service, role: Role, key: str) -> tuple[Help, ...]:
    return tuple(
        Help(f"write `{key}: {name}`", (Edit(service.path(key), name),)) for name in service.suitable(role)[:_NEAR]
    )


def _notes(service: _Service) -> tuple[str, ...]:
    return tuple(f"{family.described}: vllm/{family.source}" for family in service.families)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _key(role: Role) -> str:
    return role.removeprefix("--")
