"""Which repositories may serve a model: names worth asking about, and whether what they hold is a variant of it."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.lock.models import ModelFacts
from compiler.lock.names import publisher_of
from compiler.lock.quantization import quantization_method
from compiler.resolve.answers import AccessError
from compiler.resolve.limits import BRANCHES

# How publishers name variants. A name only leads to a repository; what it is, its configuration says.
_SUFFIXES = {
    "awq": ("-AWQ",),
    "gptq": ("-GPTQ-Int4", "-GPTQ-Int8", "-GPTQ"),
    "fp8": ("-FP8", "-FP8-dynamic"),
    "int8": ("-GPTQ-Int8", "-quantized.w8a8"),
    "compressed-tensors": ("-quantized.w4a16", "-quantized.w8a8", "-FP8-dynamic"),
}
# Two checkpoints of one model agree in these.
_IDENTITY = ("model_type", "num_hidden_layers", "hidden_size")


def trusted_names(names: Iterable[str], model: str, publishers: Iterable[str]) -> tuple[str, ...]:
    """Those of the model's own publisher or of a trusted one. The Hub ignores the case of publishers, and so do we."""
    trusted = {publisher.lower() for publisher in (*publishers, publisher_of(model))}
    return tuple(name for name in names if name != model and publisher_of(name) in trusted)


def gone_to_strangers(name: str) -> AccessError:
    """A repository was handed over to another publisher: it is trusted no more, though its old name leads to it."""
    return AccessError(f"it is `{name}` now, by a publisher that nobody trusts")


def leads(model: str, publishers: Iterable[str], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Names by which trusted publishers would publish a variant, for repositories whose card names no base model."""
    own, _, short = model.rpartition("/")
    methods = _SUFFIXES if "auto" in asked else {method: _SUFFIXES.get(method, ()) for method in asked}
    suffixes = dict.fromkeys(suffix for method in methods for suffix in methods[method])
    return tuple(
        f"{publisher}/{short}{suffix}"
        for publisher in dict.fromkeys((own, *sorted(publishers)))
        if publisher
        for suffix in suffixes
    )


def likely_branches(names: Iterable[str]) -> tuple[str, ...]:
    """Branches worth reading, at most BRANCHES of them: first those whose name promises no ordering over groups."""

    def order(name: str) -> tuple[bool, str]:
        lower = name.lower()
        return not ("actorder_false" in lower or "--1g" in lower), name

    return tuple(sorted(names, key=order)[:BRANCHES])


def is_variant(facts: ModelFacts, of: ModelFacts) -> bool:
    """Whether two checkpoints can be the same model, by the shape that both state."""
    ours, theirs = _identity(facts), _identity(of)
    return all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())


def may_have_variants(facts: ModelFacts, asked: tuple[str, ...]) -> bool:
    """Whether to look for variants: a checkpoint that is quantized already is not quantized again."""
    return asked != ("none",) and quantization_method(facts) == "none"


def _identity(facts: ModelFacts) -> dict[str, object]:
    text_config = facts.config.get("text_config")
    config = {**facts.config, **text_config} if isinstance(text_config, dict) else facts.config
    return {key: config[key] for key in _IDENTITY if key in config}
