"""Adapters that vLLM does not load, whatever model they are for (vllm/lora/peft_helper.py of 0.33.0).

It loads them when the engine is up already, minutes after its start, and one that it refuses ends the server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.common.refusals import terms_reason
from compiler.engines.interface.candidate import Adapter, adapters_of
from compiler.engines.vllm.releases.adapters import RANKS
from compiler.lock.models import AdapterFacts, Lock
from compiler.spec.reading.load import SpecFile

_PLAIN = "save it again as plain LoRA, or merge it into its model and serve that"
# What of an adapter_config.json is refused, and in which words.
_WHY = {
    "alora_invocation_tokens": "it is an activated LoRA (aLoRA), whose weights count from a token on",
    "bias": "it changes biases too",
    "init_lora_weights": "its training began from changed weights of the model, which PEFT changes again as it loads",
    "layer_replication": "it repeats layers of the model",
    "lora_bias": "its matrices have biases",
    "modules_to_save": "it holds whole modules beside its matrices",
    "peft_type": "it is another kind of adapter than LoRA",
    "use_bdlora": "its matrices are block-diagonal (BD-LoRA)",
    "use_dora": "it is a DoRA, which scales the model's own weights",
    "use_qalora": "its matrices are of a quantized kind (QALoRA)",
}


def check_adapters(file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
    """E0330 for adapters of which vLLM serves none, and E0305 for those that the policy does not allow."""
    for name in services:
        if file.spec.candidate_of(name) is None:
            adapters = adapters_of(file.spec.services[name], lock.services[name], lock.models)
            for index, adapter in enumerate(adapters):
                yield from _check(file, name, index, adapter)


def _check(file: SpecFile, service: str, index: int, adapter: Adapter) -> Iterator[Diagnostic]:
    path = ("services", service, "adapters", index, "model")
    reason = terms_reason(adapter.facts, file.spec.policy)
    if reason is not None:
        allowed = file.spec.policy.licenses
        license_ = adapter.facts.license
        is_license = license_ is not None and allowed and license_ not in allowed
        edits = (Edit(("policy", "licenses"), (*allowed, str(license_))),) if is_license else ()
        helps = (Help(f"allow `{license_}` in `policy.licenses`", edits),) if is_license else ()
        yield Diagnostic("E0305", f"the policy does not allow `{adapter.key}`: {reason}", file.at(*path), helps=helps)
    found = next(_reasons(adapter.facts.adapter or AdapterFacts()), None)
    if found is not None:
        why, note, help_ = found
        message = f"vLLM does not load the adapter `{adapter.key}`: {why}"
        yield Diagnostic("E0330", message, file.at(*path), (note, _WHEN), (Help(help_),))


_WHEN = "vLLM would say so when everything else is loaded, and end"


def _reasons(facts: AdapterFacts) -> Iterator[tuple[str, str, str]]:
    """Each with what adapter_config.json says, and what can be done."""
    for feature in facts.features:
        key = feature.partition(":")[0]
        yield _WHY.get(key, "it is no plain LoRA"), f"its adapter_config.json says `{feature}`", _PLAIN
    if facts.rank is None or facts.largest_rank is None:
        yield "it names no rank", "`r` and each of `rank_pattern` are positive whole numbers", _PLAIN
    elif facts.largest_rank > RANKS[-1]:
        more = facts.largest_rank - RANKS[-1]
        note = f"{facts.largest_rank} − {RANKS[-1]} = {more} more than `--max-lora-rank` takes"
        yield f"its rank is {facts.largest_rank}", note, "merge it into its model, and serve that"
    if facts.alpha is None:
        yield "it names no `lora_alpha`", "its matrices are scaled by `lora_alpha` / `r`", _PLAIN
