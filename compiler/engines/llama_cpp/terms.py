"""What a service asks of a `llama-server` in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.interface.terms import Terms
from compiler.engines.llama_cpp.settings import CELLS
from compiler.spec.services import ServiceSpec

IMAGE_TOKENS = "--image-max-tokens"
DEFAULT_CACHE = "f16"
"""`--cache-type-k` and `-v` where the spec says `auto`."""


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """Keys of a service that decide the memory of its server. See ServiceSpec.

    Attributes:
        cache_type: of keys and of values.
        batch: tokens of one step that the spec names; None for the default.
        image_tokens: of the largest image, likewise.
    """

    cache_type: str
    task: str
    batch: int | None
    image_tokens: int | None = None

    @property
    def pools(self) -> bool:
        """Whether a whole text is read in one step."""
        return self.task in ("embed", "score")


def least_terms(service: ServiceSpec) -> Terms:
    """The least that the service must get. A slot is one promised request, so that there are no further seats."""
    cache_type = DEFAULT_CACHE if service.kv_cache_dtype == "auto" else service.kv_cache_dtype
    return Terms(
        context=service.context.least,
        concurrency=service.concurrency.least,
        seats=1,
        gpus=service.gpus,
        share=service.share,
        options=ServingOptions(cache_type, service.task, service.max_num_batched_tokens, _image_tokens(service)),
    )


def asked_media(service: ServiceSpec) -> tuple[str, ...]:
    """Kinds of media that it asks for. Without a word of them a service is for text alone: a projector takes memory."""
    media = service.media if isinstance(service.media, dict) else {}
    return tuple(str(kind) for kind, most in media.items() if most)


def _image_tokens(service: ServiceSpec) -> int | None:
    """As the spec spells the option; options.check says what is wrong with it."""
    spelled = (value for key, value in service.engine_args.items() if option_name(key) == IMAGE_TOKENS)
    return next((value for value in spelled if isinstance(value, int)), None)


def option_name(key: str) -> str:
    """Of a key of `engine_args`, however it is spelled."""
    return "--" + key.lstrip("-").replace("_", "-")


def options_of(terms: Terms) -> ServingOptions:
    """Those that `least_terms` put there."""
    assert isinstance(terms.options, ServingOptions)  # noqa: S101  the solver gives an engine its own terms back
    return terms.options


def slot_tokens(terms: Terms) -> int:
    """Tokens of one slot: the promised ones, in whole cells."""
    return -(-terms.context // CELLS) * CELLS
