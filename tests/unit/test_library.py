"""What all trees share depends on no stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from compiler.emit.manifest import with_library_manifest
from compiler.emit.output import Output
from compiler.emit.tree import tree_of
from compiler.pipeline import render_plan
from compiler.render.artifact import LIBRARY, Artifact
from tests.unit.container_samples import behind_gateway
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu


def test_no_stack_changes_the_library() -> None:
    plans = (
        two_on_one_gpu(),
        one_on_cpu(),
        *(replace(behind_gateway(kind), monitoring=None) for kind in ("nginx", "litellm")),
    )
    plans += (replace(two_on_one_gpu(), targets=("scripts",)), replace(one_on_cpu(), targets=("scripts", "compose")))
    libraries = [{each for each in render_plan(plan) if LIBRARY in each.path.parents} for plan in plans]
    assert libraries[0]
    assert all(each == libraries[0] for each in libraries)
    folders = [tree_of(Path("generated", str(number)), render_plan(plan)) for number, plan in enumerate(plans)]
    assert len(Output(Path("generated"), folders, all_specs=False).libraries) == 1


def test_a_target_that_writes_a_stack_s_own_words_into_the_library_is_a_bug() -> None:
    odd = [
        tree_of(Path("generated", name), with_library_manifest((
            Artifact(PurePosixPath("plan.json"), "{}\n"), Artifact(LIBRARY / "name", f"{name}\n"),
        )))
        for name in ("a", "b")
    ]  # fmt: skip
    with pytest.raises(ValueError, match="different libraries"):
        Output(Path("generated"), odd, all_specs=False)
