"""Questions of the smoke test about the LoRA adapters of a server. Each returns what it saw, or raises.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

from stack import JsonObject, Warned
from stack.ask.probes import Target, ask, expect, json_of, model_card

PROMPT = "The"
TOKENS = 8


def check_adapters(target: Target) -> str:
    """Each adapter is the planned one at its commit, and answers otherwise than the model alone."""
    own, names, alike = _likelihoods(target), [], []
    for adapter in target.service["adapters"]:
        named = target._replace(name=adapter["name"])
        _check_place(str(model_card(named).get("root")), adapter)
        names.append(adapter["name"])
        if _likelihoods(named) == own:
            alike.append(adapter["name"])
    if alike:
        raise Warned(f"{', '.join(alike)}: the same answer as the model's own, to the last digit of its likelihood")
    return f"{', '.join(names)}: each answers otherwise than the model alone"


def _check_place(root: str, adapter: JsonObject) -> None:
    """The server names the folder that it loaded; another machine or a container has it elsewhere."""
    model, parts = adapter["model"], root.rstrip("/").split("/")
    if model["repository"] is None:
        expect(root.rstrip("/") == model["folder"], f"{adapter['name']} is {root}, the plan says {model['folder']}")
        return
    folder = "models--" + model["repository"].replace("/", "--")
    expect(folder in parts, f"{adapter['name']} is {root}, the plan says {model['repository']}")
    planned = model["commit"] or ""
    same = parts[-1] == planned if model["pinned"] else parts[-1].startswith(planned)
    expect(same, f"{adapter['name']} is commit {parts[-1]}, the plan says {planned}")


def _likelihoods(target: Target) -> object:
    """Tokens of a short answer with their likelihoods: even a weak adapter changes those."""
    body = {"model": target.name, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "logprobs": 1}
    choices = json_of(ask(target, "POST", "/v1/completions", body)).get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    likely = choice.get("logprobs") if isinstance(choice, dict) else None
    expect(isinstance(likely, dict), f"the answer of {target.name} has no logprobs")
    return (likely.get("tokens"), likely.get("token_logprobs")) if isinstance(likely, dict) else None
