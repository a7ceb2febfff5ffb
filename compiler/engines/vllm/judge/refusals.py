"""Why a candidate may not serve: a short reason for the table of candidates, and the problem that it is alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from compiler.checkpoints.families.table import FAMILIES
from compiler.diagnostics import Edit
from compiler.engines.common.refusals import engine_refusal, other_task, terms_refusal, unusable_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.answers.chats import renders_chats, why_not_read
from compiler.engines.vllm.answers.tasks import GIVES
from compiler.engines.vllm.judge.remote_code import code_needed
from compiler.engines.vllm.releases.architectures import why_not_served_architecture
from compiler.engines.vllm.releases.quantization import PLUGINS
from compiler.engines.vllm.releases.release import Release
from compiler.lock.models import repository_of
from compiler.spec.models import PolicySpec
from compiler.spec.services import Task

_SHOWN_TENSORS = 5


def policy_refusal(candidate: Candidate, policy: PolicySpec, release: Release) -> Refusal | None:
    """E0305: the licence, gating, or code from the repository."""
    refusal = terms_refusal(candidate, policy)
    code = code_needed(candidate.spec, candidate.facts, release) if policy.trust_remote_code == "deny" else None
    return _code_refusal(candidate, code) if refusal is None and code is not None else refusal


def _code_refusal(candidate: Candidate, code: str) -> Refusal:
    reason = "it needs code from its repository and `policy.trust_remote_code` is deny"
    message = f"the policy does not allow `{candidate.name}`: {reason}"
    edit = Edit(("policy", "trust_remote_code"), "allow")
    remedy = Remedy("`policy.trust_remote_code: allow`, after reading that code", (edit,), kind="code")
    problem = Problem("E0305", candidate.service, ("model",), message, notes=(code,), remedies=(remedy,))
    return Refusal(candidate.name, candidate.method, f"{reason}: {code}", problem)


def kind_refusal(candidate: Candidate, release: Release) -> Refusal | None:
    """E0308 or E0309: not a checkpoint that vLLM loads by itself, or a branch that cannot be fetched as it was."""
    facts = candidate.facts
    if facts.kind == "gguf":
        plugin = PLUGINS["gguf"]
        reason = f"vLLM {release.version} reads GGUF only with the plugin {plugin}, which stackc does not install"
        return engine_refusal(candidate, reason)
    if facts.kind == "adapter":
        return unusable_refusal(
            candidate, f"`{candidate.name}` is a LoRA adapter, not a whole checkpoint", "it is an adapter"
        )
    if facts.branch is not None and not facts.is_pinned:
        reason = f"its branch {facts.branch} is not pinned to a commit, and downloads follow main only"
        where = repository_of(candidate.name)
        return unusable_refusal(candidate, f"`{where}` cannot be fetched as it was: {reason}", reason)
    return None


_NOT_GIVEN: Mapping[Task, str] = {
    "chat": "answers no chats and completions",
    "completion": "answers no chats and completions",
    "embed": "gives no embeddings",
    "score": "gives no scores of texts against a query",
    "classify": "gives no labels of whole texts",
}


def task_refusal(candidate: Candidate, tasks: tuple[Task, ...], *, generates: bool) -> Refusal:
    """E0308: the model does something else than the service.

    Args:
        tasks: of vLLM's pooling runner, that it serves.
        generates: whether it answers chats and completions as it is.
    """
    given = ["text"] if generates else [GIVES[task] for task in tasks] or ["a vector or a label for each token"]
    refusal = engine_refusal(candidate, f"it {_NOT_GIVEN[candidate.spec.task]}, but gives {' or '.join(given)}")
    remedies = tuple(
        Remedy(f"`task: {task}`, if clients ask for {GIVES[task]}", other_task(candidate, task), kind="task")
        for task in tasks
    )
    notes = (_UNNAMED,) if generates and candidate.spec.task == "score" else ()
    return replace(refusal, problem=replace(refusal.problem, path=("model",), notes=notes, remedies=remedies))


_UNNAMED = (
    "a model that generates text scores by the probability of words: its card names them, and `score_tokens` takes "
    "the one against and the one for, such as [no, yes]"
)


def scored_refusal(candidate: Candidate) -> Refusal:
    """E0308: words to score by, for a model that has a head for it."""
    edit = Edit(("services", candidate.service, "score_tokens"), None)
    remedy = Remedy("remove `score_tokens`", (edit,), kind="score_tokens")
    refusal = engine_refusal(candidate, "it has a head for scores, and none is made of `score_tokens`")
    return replace(refusal, problem=replace(refusal.problem, path=("score_tokens",), remedies=(remedy,)))


def architecture_refusal(candidate: Candidate, release: Release, policy: PolicySpec) -> Refusal | None:
    """E0308: the engine has no class for the architecture, or cannot read its configuration."""
    config = candidate.facts.config
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        return None
    trusted = policy.trust_remote_code == "allow"
    reason = why_not_served_architecture(names[0], release, config=config, trusted=trusted)
    if reason is None:
        return None
    message = f"`{candidate.name}` cannot run here: {reason}"
    problem = Problem("E0308", candidate.service, ("model",), message)
    return Refusal(candidate.name, candidate.method, reason, problem)


def formula_refusal(candidate: Candidate, error: str) -> Refusal:
    """E0307: an architecture without formulas."""
    message = f"stackc cannot account for the memory of `{candidate.name}`: {error}"
    near = get_close_matches(error, FAMILIES, n=3)
    notes = (f"accounted for are, among others: {', '.join(near)}",) if near else ()
    problem = Problem("E0307", candidate.service, ("model",), message, notes=notes)
    return Refusal(candidate.name, candidate.method, f"stackc cannot account for its memory: {error}", problem)


def layout_refusal(candidate: Candidate, error: str) -> Refusal:
    """E0307: the engine runs it, but how its tensors lie is not known here."""
    message = f"stackc cannot account for the memory of `{candidate.name}`: {error}"
    problem = Problem("E0307", candidate.service, ("quantization",), message)
    return Refusal(candidate.name, candidate.method, error, problem)


def config_refusal(candidate: Candidate, error: str) -> Refusal:
    """E0309: config.json is malformed or contradicts itself."""
    reason = f"its config.json cannot be used: {error}"
    return unusable_refusal(candidate, f"config.json of `{candidate.name}` cannot be used: {error}", reason)


def header_refusal(candidate: Candidate, lines: tuple[str, ...]) -> Refusal:
    """E0315: the weights are not those that config.json describes."""
    message = f"the weights of `{candidate.name}` are not those of its config.json"
    more = len(lines) - _SHOWN_TENSORS
    notes = (*lines[:_SHOWN_TENSORS], *((f"and {more} more like these",) if more > 0 else ()), _READ_AGAIN)
    problem = Problem("E0315", candidate.service, ("model",), message, notes=notes)
    reason = f"its weights are not those of its config.json: {lines[0]}"
    return Refusal(candidate.name, candidate.method, reason, problem)


_READ_AGAIN = "`stackc lock --upgrade` reads both again; what stays is a fault of the repository or of its upload"


# Keys that decide how a service is divided, in the order in which they are blamed.
_DIVIDING = ("expert_parallel", "tensor_parallel_size", "pipeline_parallel_size", "gpus")


def split_refusal(candidate: Candidate, reasons: tuple[str, ...]) -> Refusal:
    """E0404: no legal number of GPUs."""
    service = candidate.spec
    given = [key for key in _DIVIDING if getattr(service, key)]
    key = given[0] if given else "model"
    edits = tuple(Edit(("services", candidate.service, other), None) for other in given)
    named = " and ".join(f"`{other}`" for other in given)
    remedy = Remedy(f"remove {named} and let the GPUs be chosen", edits, kind=key)
    message = f"service `{candidate.service}` cannot be split over the GPUs it asks for"
    remedies = (remedy,) if key != "model" else ()
    problem = Problem("E0404", candidate.service, (key,), message, notes=reasons, remedies=remedies)
    return Refusal(candidate.name, candidate.method, f"it cannot be split: {'; '.join(reasons)}", problem)


def tokenizer_refusal(candidate: Candidate, release: Release) -> Refusal | None:
    """E0228: the user's tokenizer mode reads other files than there are."""
    why = why_not_read(candidate.spec, candidate.facts, release.version)
    if why is None:
        return None
    name, key = candidate.service, candidate.spec.tokenizer_mode_key or "tokenizer-mode"
    notes = (f"it has {', '.join(candidate.facts.tokenizers)}",)
    message = f"`{candidate.name}` has no tokenizer of the mode that is asked for: {why}"
    problem = Problem("E0228", name, ("engine_args", key), message, "", notes, _mode_remedy(candidate))
    return Refusal(candidate.name, candidate.method, why, problem)


def _mode_remedy(candidate: Candidate) -> tuple[Remedy, ...]:
    """Whoever gave a tokenizer mode may do without; whether that helps is tried like every remedy."""
    key = candidate.spec.tokenizer_mode_key
    if key is None:
        return ()
    edit = Edit(("services", candidate.service, "engine_args", key), None)
    return (Remedy(f"remove `{key}`, and the engine chooses", (edit,), kind="tokenizer"),)


def chat_refusal(candidate: Candidate, release: Release) -> Refusal | None:
    """E0306: chats need a template, or an engine that renders them without."""
    facts, name = candidate.facts, candidate.service
    is_sure = "chat_template" not in facts.unconfirmed
    if candidate.spec.task != "chat" or not is_sure or renders_chats(candidate.spec, facts, release.version):
        return None
    message = f"service `{name}` is for chat, and `{candidate.name}` has no chat template"
    notes = ("without one, vLLM answers /v1/chat/completions with an error; base models have none",)
    remedy = Remedy("`task: completion`, if clients send no chats", other_task(candidate, "completion"), kind="task")
    remedies = (*_mode_remedy(candidate), remedy)
    problem = Problem("E0306", name, ("model",), message, "has no chat template", notes, remedies)
    return Refusal(candidate.name, candidate.method, "it has no chat template", problem)
