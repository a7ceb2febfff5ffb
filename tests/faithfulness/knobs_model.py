"""Rows of the model that a service loads, and of parts of a service that only some have."""

from __future__ import annotations

from tests.faithfulness.samples import with_adapters, with_parts
from tests.faithfulness.table import CHECKED, OPTION, PEOPLE, SCRIPT, Knob, in_plan_only
from tests.unit.plan_samples import COMMIT, one_on_cpu

SERVICE, MODEL = ("services", 0), ("services", 0, "model")
UNIT = "duo-coder.service"
HUB = "/nonexistent/.cache/huggingface/hub"

OF_MODEL = (
    in_plan_only("ServedModel.requested", (*MODEL, "requested"), "org/x", "services.0.model.requested", PEOPLE),
    Knob(
        "ServedModel.repository",
        (*MODEL, "repository"),
        "org/x",
        {
            "plan.json": {"services.0.model.repository": "org/x"},
            "launch": {"coder argv": f"{HUB}/models--org--x/snapshots/{COMMIT}"},
        },
        SCRIPT,
    ),
    Knob(
        "ServedModel.folder",
        (*MODEL, "folder"),
        "/srv/x",
        {"plan.json": {"services.0.model.folder": "/srv/x"}, "launch": {"tiny argv": "/srv/x"}, "compose": {}},
        "the unit sees the whole machine, as far as its sandbox goes",
        one_on_cpu,
    ),
    Knob(
        "ServedModel.commit",
        (*MODEL, "commit"),
        "f" * 40,
        {
            "plan.json": {"services.0.model.commit": "f" * 40},
            "launch": {"coder argv": f"{HUB}/models--org--coder-awq/snapshots/{'f' * 40}"},
        },
        SCRIPT,
    ),
    Knob(
        "ServedModel.is_pinned",
        (*MODEL, "is_pinned"),
        False,
        {"plan.json": {"services.0.model.pinned": False}, "launch": {"coder $expected": COMMIT}},
        SCRIPT,
    ),
    in_plan_only("ServedModel.license", (*MODEL, "license"), "mit", "services.0.model.license", PEOPLE),
    in_plan_only(
        "ServedModel.quantization",
        (*MODEL, "quantization"),
        "gptq",
        "services.0.model.quantization",
        "vLLM reads it from the checkpoint; where it does not, an option says it",
    ),
    in_plan_only("ServedModel.weights_bytes", (*MODEL, "weights_bytes"), 9, "services.0.model.weights_bytes", CHECKED),
    in_plan_only("ServedModel.unconfirmed", (*MODEL, "unconfirmed"), ("x",), "services.0.model.unconfirmed", PEOPLE),
    Knob(
        "ServedModel.file",
        (*MODEL, "file"),
        "q4/x.gguf",
        {
            "plan.json": {"services.0.model.file": "q4/x.gguf"},
            "launch": {"coder argv": f"{HUB}/models--org--coder-awq/snapshots/{COMMIT}/q4/x.gguf"},
        },
        SCRIPT,
    ),
    Knob(
        "ServedModel.projector",
        (*MODEL, "projector"),
        "q4/mmproj.gguf",
        {
            "plan.json": {"services.0.model.projector": "q4/mmproj.gguf"},
            "launch": {"coder $projector": "$cache/snapshots/$commit/q4/mmproj.gguf"},
        },
        SCRIPT,
    ),
    in_plan_only("ServedModel.base_models", (*MODEL, "base_models"), ("x",), "services.0.model.base_models", PEOPLE),
)

DRAFT = (*SERVICE, "draft")
WORD, ADAPTER = (*SERVICE, "words", 3), (*SERVICE, "adapters", 0)
PLACE = f"{HUB}/models--org--sql/snapshots/{COMMIT}"
OF_ADAPTERS = (
    Knob(
        "AdapterWord.index",
        (*WORD, "index"),
        1,
        {"launch": {"coder argv": '{"name": "sql", "path": "' + PLACE.replace("sql", "german") + '"}'}},
        SCRIPT,
        with_adapters,
    ),
    Knob(
        "AdapterWord.before",
        (*WORD, "before"),
        "x=",
        {"launch": {"coder argv": f'x={PLACE}"}}'}},
        SCRIPT,
        with_adapters,
    ),
    Knob(
        "AdapterWord.after",
        (*WORD, "after"),
        '"} ',
        {"launch": {"coder argv": f'{{"name": "sql", "path": "{PLACE}"}} '}},
        SCRIPT,
        with_adapters,
    ),
    in_plan_only(
        "ServedAdapter.name", (*ADAPTER, "name"), "x", "services.0.adapters.0.name", CHECKED, sample=with_adapters
    ),
    in_plan_only(
        "ServedAdapter.rank", (*ADAPTER, "rank"), 9, "services.0.adapters.0.rank", PEOPLE, sample=with_adapters
    ),
    in_plan_only(
        "ServedAdapter.base", (*ADAPTER, "base"), "x", "services.0.adapters.0.base", PEOPLE, sample=with_adapters
    ),
)

FILE, EMBEDDING, NEED = (*MODEL, "files", 0), (*SERVICE, "embedding"), (*SERVICE, "host_needs", 0)
OF_PARTS = (
    in_plan_only("HostNeed.tool", (*NEED, "tool"), "c++", "services.0.host_needs.0.tool", CHECKED, sample=with_parts),
    in_plan_only("HostNeed.why", (*NEED, "why"), "y", "services.0.host_needs.0.why", CHECKED, sample=with_parts),
    in_plan_only(
        "HostNeed.unless", (*NEED, "unless"), "B", "services.0.host_needs.0.unless", CHECKED, sample=with_parts
    ),
    in_plan_only("ModelFile.path", (*FILE, "path"), "x", "services.0.model.files.0.path", CHECKED, sample=with_parts),
    in_plan_only("ModelFile.size", (*FILE, "size"), 9, "services.0.model.files.0.size", CHECKED, sample=with_parts),
    in_plan_only(
        "ModelFile.sha256", (*FILE, "sha256"), "x", "services.0.model.files.0.sha256", CHECKED, sample=with_parts
    ),
    in_plan_only("Draft.method", (*DRAFT, "method"), "draft", "services.0.draft.method", OPTION, sample=with_parts),
    in_plan_only("Draft.tokens", (*DRAFT, "tokens"), 5, "services.0.draft.tokens", OPTION, sample=with_parts),
    in_plan_only(
        "Embedding.dimension",
        (*EMBEDDING, "dimension"),
        9,
        "services.0.embedding.dimension",
        CHECKED,
        sample=with_parts,
    ),
    in_plan_only(
        "Embedding.is_normalized",
        (*EMBEDDING, "is_normalized"),
        False,
        "services.0.embedding.normalized",
        CHECKED,
        sample=with_parts,
    ),
)
