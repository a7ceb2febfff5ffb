"""Which architectures a vLLM release serves: natively, through transformers, with the repository's code, or not at all.

The data is `VERSION/architectures.json`, read from vLLM's registry by `tools/extract_architectures.py`.
The order of questions is vLLM's: vllm/transformers_utils/config.py:HFConfigParser reads the configuration first, then
vllm/model_executor/models/registry.py looks for a model class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from compiler.checkpoints.families.endings import converted_base
from compiler.engines.vllm.releases.data import read_release_file
from compiler.engines.vllm.releases.release import Release

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Registry:
    """What one release knows.

    Attributes:
        transformers: its version, by which configurations are read.
        native: architectures with a class of vLLM's own, or one of its wrappers around transformers.
        classes: the names of these classes.
        drafts: those of them that only help another model to decode.
        media: those whose class takes images, sound or videos.
        mrope: those whose class gives a token a position in each of several dimensions (M-RoPE).
        unstaged: those that cannot be divided into pipeline stages.
        removed: the last release that had them.
        plugins: where the plugin is that serves them.
        model_types: `model_type`s whose configuration can be read without code of the repository.
        without_model_type: architectures that need none.
        transformers_classes: classes of transformers that vLLM runs although it does not name them.
    """

    version: str
    transformers: str
    native: frozenset[str]
    classes: Mapping[str, str]
    drafts: frozenset[str]
    media: frozenset[str]
    mrope: frozenset[str]
    unstaged: frozenset[str]
    removed: Mapping[str, str]
    plugins: Mapping[str, str]
    model_types: frozenset[str]
    without_model_type: frozenset[str]
    transformers_classes: frozenset[str]

    def serves(self, name: str) -> bool:
        """Whether there is a class for it without code of its repository."""
        return name in self.native or converted_base(name, self.native) is not None or name in self.transformers_classes

    def stages(self, name: str) -> bool:
        """Whether it can be divided into pipeline stages."""
        return self._base(name) not in self.unstaged

    def takes_media(self, name: str) -> bool:
        """Whether its server may take images, sound or videos; True where nothing is known of the class."""
        base = self._base(name)
        return base in self.media or base not in self.native

    def turns(self, name: str) -> bool:
        """Whether its class gives a token several positions; True where nothing is known of the class."""
        base = self._base(name)
        return base in self.mrope or base not in self.native

    def wraps(self, name: str) -> bool:
        """Whether it runs through transformers' model code, in one of the engine's wrappers."""
        base = self._base(name)
        return self.classes.get(base, "").startswith("Transformers") or base in self.transformers_classes

    def class_of(self, name: str) -> str | None:
        """The name of the class that serves it; None where that is none of the engine's own."""
        return self.classes.get(self._base(name))

    def _base(self, name: str) -> str:
        base = converted_base(name, self.native) if name not in self.native else None
        return base[0] if base is not None else name


@cache
def load_registry(version: str) -> Registry:
    """The architectures of a vLLM release in the catalog.

    Raises:
        FileNotFoundError: the catalog does not have this version.
    """
    data = read_release_file(version, "architectures.json")
    return Registry(
        version=data["vllm"],
        transformers=data["transformers"],
        native=frozenset(record[0] for record in data["architectures"]),
        classes={record[0]: record[2] for record in data["architectures"]},
        drafts=_marked(data["architectures"], "draft"),
        media=_marked(data["architectures"], "media"),
        mrope=_marked(data["architectures"], "mrope"),
        unstaged=_marked(data["architectures"], "unstaged"),
        removed=data["removed"],
        plugins=data["plugins"],
        model_types=frozenset(data["model_types"]),
        without_model_type=frozenset(data["without_model_type"]),
        transformers_classes=frozenset(data["transformers_classes"]),
    )


def _marked(records: Iterable[list[str]], mark: str) -> frozenset[str]:
    return frozenset(record[0] for record in records if mark in record[3:])


def why_code_is_needed(release: Release, config: Mapping[str, Any]) -> str | None:
    """What of a model only code of its repository does, as a half-sentence; None if vLLM does without, or never can."""
    registry, names, code = load_registry(release.version), config.get("architectures"), config.get("auto_map")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    code = code if isinstance(code, Mapping) else {}
    makers = f"transformers {registry.transformers} and vLLM {registry.version}"
    model_type = config.get("model_type")
    if _unreadable(registry, name, model_type, code, trusted=False) and "AutoConfig" in code:
        reason, shown = f"neither of {makers} knows the model type", f"`{str(model_type)[:_SHOWN]}`"
    elif name and _classless(registry, name, code, trusted=False):
        reason, shown = f"neither of {makers} has a class for", name[:_SHOWN]
    else:
        return None
    if why_not_served_architecture(name, release, config=config, trusted=True) is not None and name:
        return None
    return f"{reason} {shown}"


def why_not_served_architecture(
    name: str, release: Release, *, config: Mapping[str, Any] | None = None, trusted: bool = False
) -> str | None:
    """Why the release does not serve an architecture, and what can be done; None if it does.

    Args:
        name: the first of `architectures`.
        config: config.json, for `model_type` and `auto_map`; None to judge the name alone.
        trusted: whether code of the repository may run.
    """
    registry, keys = load_registry(release.version), config or {}
    code = keys.get("auto_map")
    code = code if isinstance(code, Mapping) else {}
    if keys.get("speculators_config") is not None:
        # vllm/transformers_utils/config.py:maybe_override_with_speculators takes the other model in its place.
        return (
            f"it is a draft for speculative decoding (`speculators_config`), and vLLM {registry.version} would serve "
            "the model that it names, from the Hub"
        )
    unread = _unreadable(registry, name, keys.get("model_type"), code, trusted=trusted)
    if unread is not None and not trusted:
        # Where code would not help, that is the reason.
        return why_not_served_architecture(name, release, config=config, trusted=True) or unread
    classless = unread or _classless(registry, name, code, trusted=trusted)
    served = classless or _two_sided(registry, name, keys) or _unturned(registry, name, keys)
    return served or _unproved(release, name)


def _unproved(release: Release, name: str) -> str | None:
    reason = release.unproved.get(name)
    return None if reason is None else f"vLLM {release.version} is not proved with {name}: {reason}"


def _unreadable(
    registry: Registry, name: str, model_type: Any, code: Mapping[str, Any], *, trusted: bool
) -> str | None:
    known = model_type in registry.model_types if isinstance(model_type, str) else name in registry.without_model_type
    if known or (trusted and "AutoConfig" in code):
        return None
    shown = f"`{str(model_type)[:_SHOWN]}`"
    if "AutoConfig" in code:
        return (
            f"vLLM {registry.version} reads the configuration of model type {shown} only with code from its repository "
            "(`auto_map`), which `policy.trust_remote_code` must allow"
        )
    if not isinstance(model_type, str):
        return None
    return (
        f"transformers {registry.transformers}, by which vLLM {registry.version} reads configurations, does not know "
        f"the model type {shown}, and the repository brings no code for it"
    )


def _classless(registry: Registry, name: str, code: Mapping[str, Any], *, trusted: bool) -> str | None:
    if name in registry.drafts:
        return f"{name[:_SHOWN]} is a draft for speculative decoding, which vLLM serves beside another model only"
    if registry.serves(name) and name not in registry.plugins:
        return None
    if any(str(key).startswith("AutoModel") for key in code) and name not in registry.removed:
        if trusted:
            return None
        return (
            f"vLLM {registry.version} serves {name[:_SHOWN]} only with code from its repository (`auto_map`), "
            "which `policy.trust_remote_code` must allow"
        )
    return _unregistered(registry, name)


def _two_sided(registry: Registry, name: str, config: Mapping[str, Any]) -> str | None:
    """Transformers' encoder-decoders take no positions, which vLLM's wrapper hands to every model."""
    if name in registry.native or config.get("is_encoder_decoder") is not True:
        return None
    return f"vLLM {registry.version} has no class for {name[:_SHOWN]}, and runs no encoder-decoder through transformers"


def _unturned(registry: Registry, name: str, config: Mapping[str, Any]) -> str | None:
    """A model of text that was cut out of one for images: vllm/v1/worker/gpu/mm/rope.py:get_rope_state, 0.33.0."""
    text = config.get("text_config")
    has_sections = any(_has_sections(each) for each in (config, text) if isinstance(each, Mapping))
    if not has_sections or registry.turns(name):
        return None
    return (
        f"its config.json gives each token several positions (`mrope_section`), and the class that vLLM "
        f"{registry.version} has for {name[:_SHOWN]} gives it one"
    )


def _has_sections(config: Mapping[str, Any]) -> bool:
    """vllm/transformers_utils/config.py:_mrope_section."""
    ropes = [config.get(key) for key in ("rope_parameters", "rope_scaling")]
    nested = [rope for each in ropes if isinstance(each, Mapping) for rope in (each, *each.values())]
    places = [config, *(each for each in nested if isinstance(each, Mapping))]
    return any(isinstance(each.get(key), list) for each in places for key in ("mrope_section", "xdrope_section"))


def _unregistered(registry: Registry, name: str) -> str:
    if name in registry.removed:
        last = registry.removed[name]
        return f"vLLM serves {name} until {last} only: pin an engine that old, or take another model"
    if name in registry.plugins:
        return (
            f"vLLM {registry.version} serves {name} only with the plugin {registry.plugins[name]}, "
            "which stackc does not install"
        )
    return f"vLLM {registry.version} has no class for the architecture {name[:_SHOWN]}"
