"""Questions of the smoke test that only vLLM's servers can be asked. Each returns what it saw, or raises.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import time

from stack import Skipped
from stack.ask.probes import Target, ask, expect, json_of, metrics_of, model_card, probe_request, samples, total

CACHE = "vllm:cache_config_info"
GUESSED = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
DRAFTED_TOKENS = 64


def check_version(target: Target) -> str:
    """The engine is the planned release."""
    path, key = target.dialect.version
    found = str(json_of(ask(target, "GET", path)).get(key))
    expect(found.partition("+")[0] == target.version, f"vLLM {found}, the plan is for {target.version}")
    return f"vLLM {found}"


def check_revision(target: Target) -> str:
    """The files are those of the planned model at the planned commit: vLLM names the folder that it loaded."""
    root, model = str(model_card(target).get("root")), target.service["model"]
    parts = root.rstrip("/").split("/")
    if model["repository"] is None:
        expect(root.rstrip("/") == model["folder"].rstrip("/"), f"serves {root}, the plan says {model['folder']}")
        return root
    folder = "models--" + model["repository"].replace("/", "--")
    expect(folder in parts, f"serves {root}, the plan says {model['repository']}")
    if model["commit"] is None:
        raise Skipped(f"serves commit {parts[-1]} of {model['repository']}; the plan knows no commit")
    found, planned = parts[-1], model["commit"]
    same = found == planned if model["pinned"] else found.startswith(planned)
    expect(same, f"serves commit {found}, the plan says {planned}")
    return f"{model['repository']} at {found}"


def check_context(target: Target) -> str:
    """The context is the planned one."""
    found, planned = model_card(target).get("max_model_len"), target.service["max_model_len"]
    expect(found == planned, f"max_model_len is {found}, the plan says {planned}")
    return f"{found} tokens"


def check_kv_cache(target: Target) -> str:
    """The KV cache is the planned one, to the block."""
    planned = target.service["kv_cache"]
    if planned["bytes"] == 0:
        raise Skipped("the model keeps nothing of a request")
    found = samples(metrics_of(target), CACHE)
    expect(bool(found), f"/metrics lacks {CACHE}")
    for labels, _ in found:
        for label in ("num_blocks", "block_size"):
            name = "num_gpu_blocks" if label == "num_blocks" else label
            expect(labels.get(name) == str(planned[label]), f"{name} is {labels.get(name)}, planned {planned[label]}")
    return f"{planned['num_blocks']} blocks of {planned['block_size']} tokens"


def check_drafts(target: Target) -> str:
    """Tokens are guessed as planned, and some guesses are right: what a request makes the server's counters rise by."""
    draft = target.service["draft"]
    before = metrics_of(target)
    path, body = probe_request(target)
    # Among what was said already, a lookup finds what comes next.
    ask(target, "POST", path, {**body, "max_tokens": DRAFTED_TOKENS, "min_tokens": DRAFTED_TOKENS})
    grown = dict.fromkeys((GUESSED, ACCEPTED), 0.0)
    for _ in range(10):
        after = metrics_of(target)
        grown = {name: total(after, name) - total(before, name) for name in grown}
        if grown[GUESSED] > 0:
            break
        time.sleep(0.1)  # the counter follows the answer by a moment
    if grown[GUESSED] <= 0 and draft["model"] is None:
        raise Skipped(f"nothing of {DRAFTED_TOKENS} tokens was said before, so there was nothing to look up")
    expect(grown[GUESSED] > 0, f"{GUESSED} did not rise: nothing is drafted")
    seen = f"{grown[ACCEPTED]:.0f} of {grown[GUESSED]:.0f} guessed tokens were right"
    return f"{seen}, by {draft['method']}"


CHECKS = (
    ("revision", check_revision),
    ("context", check_context),
    ("kv-cache", check_kv_cache),
)
"""By title, in their order."""

DRAFTS = (("drafts", check_drafts),)
"""Of a server for which tokens are guessed."""
