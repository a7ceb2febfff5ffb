"""Questions of the smoke test that only llama-server can be asked. Each returns what it saw, or raises.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stack import JsonObject, Skipped, StackError, Warned
from stack.ask.probes import EXIT_FAILED, Target, ask, expect, json_of, reply_of
from stack.ask.startup_log import check_buffers

# Who compiles a copy without git's history has no number; the commit is upstream's all the same.
UNNUMBERED = ("b0", "b1")
# A grey square of 32 pixels.
GREY = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAFklEQVR42mNoIAAYRhWMKhhVMFIVAABCAAAfN5c2AA"
    "AAAABJRU5ErkJggg=="
)


def _props(target: Target) -> JsonObject:
    return json_of(ask(target, "GET", target.dialect.version[0]))


def check_version(target: Target) -> str:
    """The engine is the planned build."""
    path, key = target.dialect.version
    if reply_of(target.server, "GET", path).status in (401, 403):
        raise Skipped("the server tells its build only to who has its key")
    found = str(_props(target).get(key))
    build, _, commit = found.partition("-")
    planned = target.engine["commit"] or ""
    if build == target.version or is_same_commit(commit, planned):
        return f"llama.cpp {found}"
    if build in UNNUMBERED and not (commit and planned):
        raise Warned(f"llama.cpp {found}, which has no number; the plan is for {target.version}")
    raise StackError(EXIT_FAILED, f"llama.cpp {found}, the plan is for {target.version}")


def is_same_commit(commit: str, planned: str) -> bool:
    """Either may be cut short."""
    return bool(commit and planned) and (commit.startswith(planned) or planned.startswith(commit))


def check_file(target: Target) -> str:
    """The file is the planned one, of the planned commit: the server names the path that it was given."""
    path, model = str(_props(target).get("model_path")), target.service["model"]
    if model["repository"] is None:
        planned = f"{model['folder'].rstrip('/')}/{model['file']}"
        expect(path == planned, f"serves {path}, the plan says {planned}")
        return path
    folder = "models--" + model["repository"].replace("/", "--")
    found = re.search(rf"/{re.escape(folder)}/snapshots/([^/]+)/{re.escape(model['file'])}$", path)
    expect(found is not None, f"serves {path}, the plan says {model['file']} of {model['repository']}")
    commit = found.group(1) if found else ""
    if model["commit"] is None:
        raise Skipped(f"serves commit {commit} of {model['repository']}; the plan knows no commit")
    same = commit == model["commit"] if model["pinned"] else commit.startswith(model["commit"])
    expect(same, f"serves commit {commit}, the plan says {model['commit']}")
    return f"{model['file']} of {model['repository']} at {commit}"


def check_context(target: Target) -> str:
    """Each slot has the planned context."""
    settings = _props(target).get("default_generation_settings")
    found = settings.get("n_ctx") if isinstance(settings, dict) else None
    planned = target.service["max_model_len"]
    expect(found == planned, f"a slot has {found} tokens, the plan says {planned}")
    return f"{found} tokens in a slot"


def check_slots(target: Target) -> str:
    """As many requests run at once as planned."""
    found, planned = _props(target).get("total_slots"), target.service["max_num_seqs"]
    expect(found == planned, f"{found} slots, the plan says {planned}")
    return f"{found} slots"


def check_images(target: Target) -> str:
    """It reads images where that is planned, and one is answered."""
    if "projector" not in target.service["model"]:
        raise Skipped("the service is for text alone")
    modalities = _props(target).get("modalities")
    expect(isinstance(modalities, dict) and modalities.get("vision") is True, "the server says that it reads no images")
    content = [{"type": "image_url", "image_url": {"url": GREY}}, {"type": "text", "text": "Which colour is this?"}]
    body = {"model": target.name, "messages": [{"role": "user", "content": content}], "max_tokens": 1}
    ask(target, "POST", "/v1/chat/completions", body)
    return "an image is answered"


CHECKS = (
    ("revision", check_file),
    ("context", check_context),
    ("slots", check_slots),
    ("images", check_images),
    ("buffers", check_buffers),
)
"""By title, in their order."""

DRAFTS: tuple[tuple[str, Callable[[Target], str]], ...] = ()
"""No tokens are guessed for its servers."""
