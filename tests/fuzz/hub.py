"""A Hub whose answers are not as they should be."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.fuzz.case import Case
from tests.fuzz.inputs import odd_config
from tests.fuzz.mutation import mutated, mutated_text
from tests.fuzz.values import odd
from tests.fuzz.writing import as_header, as_json
from tests.hub.builders import AWQ, COMMIT, quantized, repository
from tests.hub.recordings import Recording
from tests.hub.server import Fault, serve

_SPEC = """\
stack: x
engine: {vllm: 0.33.0}
nodes: {n: {gpus: {model: h100-80gb}}}
services:
  plain: {model: acme/base, quantization: none, context: 2K, port: 8001, task: completion}
  packed: {model: acme/base, quantization: awq, context: 2K, port: 8002, task: completion}
policy: {publishers: [acme]}
"""
_PLACES = (
    r"^/api/models/acme/base(?:[/?]|$)", r"^/api/models/acme/base-AWQ(?:[/?]|$)", r"^/api/models\?", r"/refs",
    r"/tree/",
)  # fmt: skip
_KINDS = (
    "bad_date", "cut", "damaged", "disabled", "gated", "half", "html", "ignore_range", "json", "reset",
    "server_error", "unauthorised", "wrong_range",
)  # fmt: skip


def make_hub(case: Case) -> None:
    """`stackc lock` against it, and what was locked is compiled."""
    rng = case.rng
    case.write("stacks/x.yaml", _SPEC)
    recordings = [_changed(case, repository("acme/base")), _changed(case, quantized("acme/base-AWQ", "acme/base", AWQ))]
    faults = [_fault(case, recordings) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    case.what = ", ".join(f"{fault.kind} at {fault.path}" for fault in faults)
    case.around = partial(_serving, recordings, faults)
    case.commands = [("lock",), ("compile",), ("lock", "--upgrade")]


@contextmanager
def _serving(recordings: list[Recording], faults: list[Fault]) -> Iterator[Mapping[str, str]]:
    with serve(recordings, faults) as hub:
        yield {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}


def _changed(case: Case, recording: Recording) -> Recording:
    """A repository in which something is off: a file's content, its size, its name, or what the Hub says of it."""
    rng = case.rng
    contents = dict(recording.contents)
    sizes: dict[str, int | None] = dict(recording.files or {})
    more: dict[str, Any] = {}
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(sorted(contents))
        how = rng.randrange(6)
        if how == 0:
            contents[name] = mutated_text(rng, contents[name], as_json(odd(rng)))
        elif how == 1:
            contents["config.json"] = as_json(odd_config(rng, case.bases))
        elif how == 2:
            contents[
                rng.choice(("generation_config.json", "modules.json", "chat_template.jinja", "quant_config.json"))
            ] = as_json(odd(rng))
        elif how == 3:
            sizes[_file_name(case)] = rng.choice((None, 0, 5, 2**40))
        elif how == 4:
            contents["model.safetensors"] = as_header(odd(rng))
        else:
            more[rng.choice(("license", "license_name", "base_model", "pipeline_tag", "tags"))] = _said(case)
    listed = {
        **dict.fromkeys(contents),
        **sizes,
        **{name: len(text) for name, text in contents.items() if name not in sizes},
    }
    return Recording(**{**_fields(recording), "files": listed, "contents": contents, **more})


def _fields(recording: Recording) -> dict[str, Any]:
    return {name: getattr(recording, name) for name in recording.__dataclass_fields__}


def _file_name(case: Case) -> str:
    shard = f"model-0000{case.rng.randrange(4)}-of-00003.safetensors"
    names = (
        shard,
        "pytorch_model.bin",
        "modeling_x.py",
        "model.safetensors.index.json",
        "adapter_config.json",
        "x.gguf",
    )
    return case.rng.choice((*names, f"a/{shard}", str(odd(case.rng))[:200] or "x"))


def _said(case: Case) -> Any:
    return case.rng.choice((str(odd(case.rng))[:200], "mit", "other"))


def _fault(case: Case, recordings: list[Recording]) -> Fault:
    """An answer that is replaced as a whole, or fails as a connection does."""
    rng = case.rng
    path = rng.choice((*_PLACES, r"/resolve/", r"config\.json", r"\.safetensors"))
    kind = rng.choice(_KINDS)
    if kind != "json":
        return Fault(path, kind, times=rng.choice((None, 1, 2)))  # type: ignore[arg-type] # one of the kinds
    info = rng.choice(recordings).info(blobs=True)
    said = rng.choice(
        (odd(rng), mutated(rng, copy.deepcopy(info), [info], {"sha": [COMMIT, "x"]}, rng.choice((1, 2, 3))))
    )
    return Fault(path, "json", detail=json.dumps(said, default=str))
