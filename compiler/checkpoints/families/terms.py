"""Values in a config.json that a class of the engine asserts, beside sizes and activations."""

from __future__ import annotations

from compiler.checkpoints.config import Config, ConfigError

# fused_moe/router/router_factory.py:create_fused_moe_router.
_SCORING = ("sigmoid", "softmax", "sqrtsoftplus")


def check_value(config: Config, key: str, taken: tuple[object, ...], default: object = None) -> None:
    """Refuse a key with another value than the class takes.

    Args:
        taken: the values.
        default: what the class's own configuration has where the key is absent; one of `taken` where not given.

    Raises:
        ConfigError: with the key, the value and those that are taken.
    """
    value = config.data.get(key, taken[0] if default is None else default)
    if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in taken):
        wanted = " or ".join(map(_shown, taken))
        raise ConfigError(
            f"`{config.path}{key}` must be {wanted}, which is what vLLM's class takes, not {_shown(value)}"
        )


def check_present(config: Config, *keys: str) -> None:
    """Refuse a config without keys that the class looks up and its configuration has no default for.

    Raises:
        ConfigError: with the first that is missing.
    """
    for key in keys:
        if key not in config.data:
            raise ConfigError(f"`{config.path}{key}` is missing, vLLM asks for it")


def check_scoring(config: Config, key: str = "scoring_func") -> None:
    """Refuse a router whose scores no kernel of the engine computes.

    Raises:
        ConfigError: with the key and its value.
    """
    check_value(config, key, _SCORING)


def check_groups(config: Config, count: int, groups: str = "n_group", picked: str = "topk_group") -> None:
    """Refuse groups of experts that no router of the engine can pick from (router_factory.py, grouped_topk_router.py).

    Args:
        count: of routed experts.

    Raises:
        ConfigError: a number is null, or groups do not divide the experts.
    """
    for key in (groups, picked):
        if key in config.data and config.data[key] is None:
            raise ConfigError(f"`{config.path}{key}` is null, and vLLM's router asks for a number")
    number = config.positive(groups, default=1)
    if count % number:
        raise ConfigError(f"`{config.path}{groups}` {number} does not divide {count} experts")


def _shown(value: object) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)[:40]
