"""E0325: whether what a service asks of drafts suits its model, and the drafter that it comes to.

vllm/config/speculative.py of 0.33.0; what the engine accepts and the ledger has no formula for is refused here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from compiler.checkpoints.architecture import Architecture, HeadCache
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense.eagle3 import EMBEDDINGS, HEAD, Eagle3, contradictions, has_own, read_eagle3
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.pooled_cache import PooledKeyCache, RingCache
from compiler.checkpoints.state_cache import StateCache
from compiler.diagnostics import Edit
from compiler.engines.interface.candidate import Candidate, DraftModel, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.drafter import Drafter, Head, with_caches
from compiler.engines.vllm.judge.reading import Reading, RefusedError
from compiler.engines.vllm.judge.splits import Splits
from compiler.engines.vllm.kernels.kept import cache_flag, kept_as, probe_layout
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.units import format_tokens

Question = Callable[[Reading], "Refusal | None"]

_MODEL = ("speculate", "model")
# Classes that hand out hidden states of several layers (SupportsEagle3), of those whose states are one vector a token.
EAGLE3_TARGETS = frozenset(
    {
        "LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM", "GptOssForCausalLM", "MiniMaxM2ForCausalLM",
    }
)  # fmt: skip
_UNCOUNTED = (StateCache, RingCache, PooledKeyCache)


@dataclass(frozen=True, slots=True)
class Draft:
    """The second model of a service as it was read.

    Attributes:
        reading: as a candidate of its own, for plain text.
        architecture: everything that is loaded of it.
        eagle3: what it reads of the first; None of a whole model.
    """

    reading: Reading
    architecture: Architecture
    eagle3: Eagle3 | None

    @property
    def checkpoint(self) -> Checkpoint:
        """The same object whoever asks."""
        if self.eagle3 is None:
            return self.reading.checkpoint
        tensors = self.reading.facts.tensors
        kinds = None if tensors is None else tensors.kinds
        built = Checkpoint(self.architecture, self.reading.quantization, kinds)
        return self.reading.read("checkpoint EAGLE-3", lambda: built)


def drafter_of(reading: Reading) -> Drafter | None:
    """How tokens are drafted beside a candidate that `draft_refusal` does not refuse."""
    asked = reading.spec.speculate
    if asked is None:
        return None
    draft = _draft(reading)
    if draft is None:
        return Drafter(asked.method, asked.tokens)
    name, head = draft.reading.candidate.name, None
    if draft.eagle3 is not None:
        tensors = draft.checkpoint.tensors
        head = Head(draft.eagle3.states, has_own(tensors, EMBEDDINGS), has_own(tensors, HEAD))
    return Drafter(asked.method, asked.tokens, name, draft.checkpoint, head)


def divisions(reading: Reading) -> tuple[Degrees, ...]:
    """Those of the model's in which its draft is divided alike, and never over stages."""
    if reading.spec.speculate is None:
        return reading.degrees
    found = tuple(each for each in reading.degrees if each.pipeline == 1)
    draft = _draft(reading)
    return found if draft is None else tuple(each for each in found if _fault(reading, draft, each) is None)


def draft_refusal(reading: Reading, of_models: Iterable[Question], of_heads: Iterable[Question]) -> Refusal | None:
    """Why nothing can be drafted for a candidate as the service asks; None also where nothing is asked.

    Args:
        of_models: questions that are asked of a second model too.
        of_heads: those that are asked of a head on hidden states.
    """
    asked, named = reading.spec.speculate, reading.candidate.draft
    if asked is None:
        return None
    if (reason := _uncounted(reading.architecture)) is not None:
        return _refused(reading.candidate, f"`{reading.candidate.name}` cannot be drafted for: {reason}", reason)
    if named is None:
        return None if divisions(reading) else _staged(reading.candidate)
    second = _second(reading, named)
    try:
        for question in of_heads if asked.method == "eagle3" else of_models:
            if (refusal := question(second)) is not None:
                return _told_of_draft(reading.candidate, refusal)
        return _unsuited(reading)
    except RefusedError as error:
        return _told_of_draft(reading.candidate, error.refusal)


def _uncounted(model: Architecture) -> str | None:
    """Models with states keep more of them for guesses that may be taken back, which no formula here counts."""
    kept = (cache for layer in model.kinds for cache in layer.caches)
    if model.assumed or any(isinstance(cache, _UNCOUNTED) for cache in kept):
        return "what its kind of model keeps of guessed tokens is not accounted for"
    return None


def _second(reading: Reading, draft: DraftModel) -> Reading:
    plain: dict[str, object] = {
        "speculate": None,
        "task": "completion",
        "features": (),
        "media": None,
        "engine_args": {},
    }
    spec = reading.spec.model_copy(update=plain)
    candidate = replace(reading.candidate, spec=spec, name=draft.name, facts=draft.facts, draft=None)
    return Reading(candidate, reading.rules)


def _draft(reading: Reading) -> Draft | None:
    """As it was read.

    Raises:
        RefusedError: its files do not say what it is.
    """
    asked, named = reading.spec.speculate, reading.candidate.draft
    if asked is None or named is None:
        return None
    second = _second(reading, named)
    if asked.method != "eagle3":
        return Draft(second, second.architecture, None)
    head = second.read("EAGLE-3", lambda: read_eagle3(Config(second.facts.config)))
    return Draft(second, head.architecture, head)


def _unsuited(reading: Reading) -> Refusal | None:
    draft = _draft(reading)
    assert draft is not None  # noqa: S101  the caller saw that one is named
    name = draft.reading.candidate.name
    for reason in (*_kind_reasons(reading, draft), *_cache_reasons(reading, draft)):
        return _refused(reading.candidate, f"`{name}` cannot draft for `{reading.candidate.name}`: {reason}", reason)
    if (uneven := _uneven(reading, draft)) is not None:
        return uneven
    length = draft.architecture.max_model_len
    if draft.eagle3 is None and (reading.spec.context.min or 1) > length:
        return _shorter(reading.candidate, name, length)
    if divisions(reading):
        return None
    notes = tuple(f"over {each}: {_fault(reading, draft, each) or _STAGES}" for each in reading.degrees)
    reason = "it is not divided as the service asks"
    return _refused(reading.candidate, f"`{name}` cannot draft for `{reading.candidate.name}`: {reason}", reason, notes)


_STAGES = "pipeline stages beside a draft are not accounted for"


def _kind_reasons(reading: Reading, draft: Draft) -> Iterator[str]:
    model, second = reading.architecture, draft.architecture
    if second.vocab_size != model.vocab_size:
        words = abs(second.vocab_size - model.vocab_size)
        more = "more" if second.vocab_size > model.vocab_size else "fewer"
        yield f"its vocabulary has {second.vocab_size} tokens, {words} {more} than the model's {model.vocab_size}"
    if second.pooling or second.encoders:
        yield "it is more than a model that writes text"
    if not _keeps_heads(second) or not _keeps_heads(model):
        yield "a draft's keys and values beside another kind of cache are not accounted for"
    if draft.eagle3 is not None:
        yield from _head_reasons(reading, draft, draft.eagle3)


def _keeps_heads(architecture: Architecture) -> bool:
    return all(isinstance(cache, HeadCache) for layer in architecture.kinds for cache in layer.caches)


def _head_reasons(reading: Reading, draft: Draft, head: Eagle3) -> Iterator[str]:
    model = reading.architecture
    if model.name not in EAGLE3_TARGETS:
        yield f"{model.name} is none of the classes whose EAGLE-3 heads are accounted for"
    if reading.rules.capability is None:
        yield "EAGLE-3 heads are not accounted for on a CPU"
    if head.state_size != model.hidden_size:
        yield f"it reads hidden states of {head.state_size} numbers, and the model's have {model.hidden_size}"
    tensors = draft.reading.facts.tensors
    yield from () if tensors is None else contradictions(head, tensors.kinds)


def _cache_reasons(reading: Reading, draft: Draft) -> Iterator[str]:
    """Both keep their caches in blocks of one size, which the model's attention decides."""
    flag, named = cache_flag(reading.quantization, reading.spec.kv_cache_dtype), reading.spec.attention_backend
    capability, dtype = reading.rules.capability, reading.dtype
    (_, own), (_, second) = (
        kept_as(each, flag, reading.release, capability, dtype, named=named)
        for each in (reading.architecture, draft.architecture)
    )
    if own != second:
        yield f"it keeps blocks of {second} tokens, and the model blocks of {own}"


def _fault(reading: Reading, draft: Draft, degrees: Degrees) -> str | None:
    """Why the draft is not divided so, or its caches do not lie beside the model's."""
    second = Splits(draft.reading.candidate, draft.architecture, draft.reading.quantization, reading.rules)
    if (fault := second.fault(degrees)) is not None:
        return fault
    both = with_caches(reading.architecture, draft.architecture)
    flag = cache_flag(reading.quantization, reading.spec.kv_cache_dtype)
    try:
        probe_layout(both, Parallelism(degrees.tensor), flag, reading.release, reading.rules.capability)
    except PagesError as error:
        return f"vLLM cannot make the pages of both KV caches equal: {error}"
    return None


def _uneven(reading: Reading, draft: Draft) -> Refusal | None:
    """A draft may say how many tokens it was trained to guess at once; more are a multiple of these."""
    asked, step = reading.spec.speculate, Config(draft.reading.facts.config).count("n_predict", default=0)
    if asked is None or not step or asked.tokens <= step or asked.tokens % step == 0:
        return None
    candidate, where = reading.candidate, ("services", reading.candidate.service, "speculate", "tokens")
    reason = f"it guesses {step} tokens at once (`n_predict`), and {asked.tokens} is no multiple of that"
    fewer = asked.tokens // step * step
    remedies = tuple(
        Remedy(f"`tokens: {tokens}`", (Edit(where, tokens),), kind=f"tokens {tokens}")
        for tokens in (fewer, fewer + step)
    )
    message = f"`{draft.reading.candidate.name}` cannot draft {asked.tokens} tokens a step: {reason}"
    problem = Problem("E0325", candidate.service, ("speculate",), message, remedies=(*remedies, _without(candidate)))
    return Refusal(candidate.name, candidate.method, reason, problem)


def _staged(candidate: Candidate) -> Refusal:
    return _refused(candidate, f"`{candidate.name}` is only divided into stages, where nothing is drafted", _STAGES)


def _refused(candidate: Candidate, message: str, reason: str, notes: tuple[str, ...] = ()) -> Refusal:
    where = _MODEL if candidate.draft is not None else ("speculate",)
    problem = Problem("E0325", candidate.service, where, message, notes=notes, remedies=(_without(candidate),))
    return Refusal(candidate.name, candidate.method, reason, problem)


def _without(candidate: Candidate) -> Remedy:
    edit = Edit(("services", candidate.service, "speculate"), None)
    return Remedy("remove `speculate`: each token is then decoded by the model itself", (edit,), kind="speculate")


def _shorter(candidate: Candidate, draft: str, length: int) -> Refusal:
    """The engine would shorten the model's context to the draft's, with a warning alone."""
    asked = candidate.spec.context.min or 1
    message = f"service `{candidate.service}` asks for {asked} tokens of context, its draft `{draft}` has {length}"
    notes = (
        f"{asked} − {length} = {asked - length} tokens more than the draft takes",
        "vLLM would start, and refuse longer requests: vllm/config/vllm.py:_limit_max_model_len_to_draft",
    )
    shorter = format_tokens(length)
    context = Remedy(
        f"`context: {shorter}`", (Edit(("services", candidate.service, "context"), shorter),), kind="context"
    )
    remedies = (context, _without(candidate))
    problem = Problem("E0325", candidate.service, _MODEL, message, f"at most {length}", notes, remedies)
    return Refusal(candidate.name, candidate.method, f"its draft has a context of {length} tokens", problem)


def _told_of_draft(candidate: Candidate, refusal: Refusal) -> Refusal:
    """What refuses the draft by itself, at the key that names it."""
    found = refusal.problem
    remedies = (*(each for each in found.remedies if each.kind in ("licence", "code")), _without(candidate))
    problem = replace(found, path=_MODEL, message=f"the draft {found.message}", remedies=remedies)
    return Refusal(candidate.name, candidate.method, f"its draft: {refusal.reason}", problem)
