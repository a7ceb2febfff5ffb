"""Which tokens each layer sees, as transformers reads raw config.json and vLLM takes it from there.

transformers' configuration classes fill in `sliding_window` and `layer_types` by model type; what they do not know they
keep as it stands. vLLM then gives a window to layers of type `sliding_attention` where the model's class reads
`layer_types`, and one window to all layers where there are none or all are alike
(vllm/engine/arg_utils.py:create_engine_config, 0.33.0).
"""

from __future__ import annotations

from compiler.checkpoints.config import Config, ConfigError

FULL, SLIDING = "full_attention", "sliding_attention"
_KINDS = {FULL, SLIDING}

# Where the key is absent; null means no window.
_DEFAULT_WINDOWS = {
    "mistral": 4096,
    "gemma2": 4096,
    "gemma3_text": 4096,
    "gemma3n_text": 512,
    "gemma4_text": 512,
    "cohere2": 4096,
    "exaone4": 4096,
    "olmo3": 4096,
    "ministral": 4096,
    "cwm": 8192,
}

# One full layer after so many sliding ones, by the key that may say otherwise.
_PATTERNS = {
    "gemma2": (None, 2),
    "gemma3_text": ("sliding_window_pattern", 6),
    "cohere2": ("sliding_window_pattern", 4),
    "exaone4": ("sliding_window_pattern", 4),
    "olmo3": (None, 4),
    "gemma3n_text": (None, 5),
    "gemma4_text": (None, 6),
}

# Types whose windows are switched on by `use_sliding_window`, from layer `max_window_layers` on.
_SWITCHED = {"qwen2", "qwen3"}
_MAX_WINDOW_LAYERS = 28


def window_size(config: Config) -> int | None:
    """`sliding_window`, with transformers' default for the model type; None for no window."""
    kind = config.text("model_type")
    if kind in _SWITCHED and not config.flag("use_sliding_window"):
        return None
    if "sliding_window" not in config.data:
        return 4096 if kind in _SWITCHED else _DEFAULT_WINDOWS.get(kind)
    return config.positive("sliding_window") if config.data["sliding_window"] else None


def layer_kinds(config: Config, count: int) -> tuple[str, ...] | None:
    """`layer_types`, given or derived by transformers; None where the model type has none."""
    if "layer_types" in config:
        kinds = config.per_layer("layer_types", count)
        unknown = {str(kind) for kind in kinds} - _KINDS
        if unknown:
            raise ConfigError(f"`{config.path}layer_types` has the unknown kind {sorted(unknown)[0][:40]}")
        return tuple(kinds)
    kind = config.text("model_type")
    if kind in _SWITCHED:
        first = config.count("max_window_layers", default=_MAX_WINDOW_LAYERS)
        sliding = window_size(config) is not None
        return tuple(SLIDING if sliding and index >= first else FULL for index in range(count))
    if kind in _PATTERNS:
        key, period = _PATTERNS[kind]
        period = config.positive(key, default=period) if key else period
        return tuple(SLIDING if (index + 1) % period else FULL for index in range(count))
    return None


def layer_windows(config: Config, count: int, *, extra: int = 0) -> tuple[int | None, ...]:
    """The window of each layer of a class that reads `layer_types`; `extra` tokens are added to those (Cohere 2).

    Without `sliding_window`, sliding layers see everything.
    """
    kinds, window = layer_kinds(config, count), window_size(config)
    if kinds is None or window is None:
        return (window,) * count
    return tuple(window + extra if kind == SLIDING else None for kind in kinds)


def uniform_windows(config: Config, count: int) -> tuple[int | None, ...]:
    """The same for a class that does not: one window for all where no layer is said to be full."""
    kinds, window = layer_kinds(config, count), window_size(config)
    return (window if kinds is None or set(kinds) == {SLIDING} else None,) * count
