"""systemd, Compose and a person who starts the script by hand all run the same server: the one of the plan.

Nothing is started. Each way is taken as far as the launch script, in the environment that it would have there, and the
script prints the command line that it would become.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compiler.engines.interface.launch import AdapterWord, Placeholder, Word
from compiler.pipeline import compile_stack
from compiler.plan.ir import Argument, Plan, ServedModel, Service
from compiler.render.syntax import read_systemd_words, read_unit
from tests.conftest import ROOT
from tests.faithfulness.readers import Texts, emitted, printed_words
from tests.plain_yaml import read_yaml
from tests.unit.plan_samples import kept, one_on_cpu, one_on_two_gpus, two_on_one_gpu

TreeOf = Callable[[Plan], tuple[Path, Texts]]
IN_CONTAINER = "/opt/stackc"


class Case(NamedTuple):
    """A server of a plan."""

    plan: Plan
    service: Service


def shipped() -> list[Plan]:
    """The plans of every spec in the repository."""
    specs = [path for path in sorted((ROOT / "stacks").glob("*.yaml")) if not path.name.endswith(".lock.yaml")]
    compiled = [compile_stack(path, path.name)[0] for path in specs]
    assert all(stack is not None for stack in compiled)
    return [plan for stack in compiled if stack is not None for plan in stack.plans]


PLANS = [*shipped(), two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


def cases(target: str | None = None) -> list[Any]:
    """Every server of the plans, or of those with a target."""
    chosen = (plan for plan in PLANS if target is None or target in plan.targets)
    return [pytest.param(Case(plan, each), id=f"{plan.tree}-{each.name}") for plan in chosen for each in plan.services]


CASES = cases()


def options(service: Service, host: str) -> list[str]:
    """The words of the plan's arguments, with another host."""
    return [word for argument in service.arguments for word in words_of(argument, host)]


def words_of(argument: Argument, host: str) -> list[str]:
    words = [host] if argument.flag == "--host" else list(argument.words)
    if len(words) == 1 and words[0].startswith("-"):
        return [f"{argument.flag}={words[0]}"]
    return [argument.flag, *words]


def model_below(model: ServedModel, hf_home: str) -> str:
    """The path that is loaded: of a model of the Hub, in the cache below HF_HOME."""
    if model.repository is None:
        return str(model.folder)
    commit = model.commit if model.is_pinned else "main"
    snapshot = f"{hf_home}/hub/models--{model.repository.replace('/', '--')}/snapshots/{commit}"
    return snapshot if model.file is None else f"{snapshot}/{model.file}"


def word_of(service: Service, hf_home: str, word: Word) -> str:
    """A word between the program and its options, as the machine completes it."""
    if isinstance(word, AdapterWord):
        return f"{word.before}{model_below(service.adapters[word.index].model, hf_home)}{word.after}"
    return model_below(service.model, hf_home) if word is Placeholder.MODEL else str(word)


def command_of(service: Service, program: str, hf_home: str, host: str) -> list[str]:
    """The words by which an engine's program serves."""
    model = [*map(partial(word_of, service, hf_home), service.words)]
    draft = None if service.draft is None else service.draft.model
    words = options(service, host)
    if draft is not None:
        words = [model_below(draft, hf_home) if word is Placeholder.DRAFT else word for word in words]
    return [program, *model, *words]


@pytest.fixture(scope="module")
def tree_of(tmp_path_factory: pytest.TempPathFactory) -> TreeOf:
    """The folder in which a plan's files are, and their texts; written once for all its servers."""

    @kept
    def written(plan: Plan) -> tuple[Path, Texts]:
        folder = tmp_path_factory.mktemp(plan.stack)
        return folder, emitted(plan, folder)

    return written


@pytest.mark.parametrize("case", CASES)
def test_by_hand_it_is_the_plans_command(case: Case, tree_of: TreeOf) -> None:
    plan, service = case
    tree, _ = tree_of(plan)
    words = printed_words([str(tree / "bin" / f"launch-{service.name}")], {"HF_HOME": "/hf"})
    name = plan.engine_of(service).host.program.name
    assert words == command_of(service, name, "/hf", service.host)


@pytest.mark.parametrize("case", CASES)
def test_systemd_runs_the_plans_command(case: Case, tree_of: TreeOf) -> None:
    plan, service = case
    tree, texts = tree_of(plan)
    unit = read_unit(texts[f"systemd/{plan.stack}-{service.name}.service"])
    lines = unit.values("Service", "Environment")
    assignments = [word for line in lines for word in read_systemd_words(line, is_command=False)]
    environment = dict(word.split("=", 1) for word in assignments)
    (start,) = unit.values("Service", "ExecStart")
    command = [
        word.replace(f"{plan.paths.current}/", f"{tree}/") for word in read_systemd_words(start, is_command=True)
    ]
    if service.group is not None:
        # It would wait for the other machines before it runs what stands behind it.
        at = command.index(f"{tree}/bin/join-group")
        assert command[at + 1 : at + 3] == [service.name, "--"]
        del command[at : at + 3]
    for program in (command[0], command[-1]):
        assert Path(program).is_relative_to(tree), start
        assert Path(program).is_file(), f"{program} is not in the tree"
    # The machine's own PATH must hold bash and coreutils, whatever the unit puts before it.
    words = printed_words(command, {name: value for name, value in environment.items() if name != "PATH"})
    assert words == command_of(service, plan.engine_of(service).program, f"{plan.paths.state}/hf", service.host)


@pytest.mark.parametrize("case", cases("compose"))
def test_compose_runs_the_plans_command(case: Case, tree_of: TreeOf) -> None:
    plan, service = case
    tree, texts = tree_of(plan)
    container = uncomposed(read_yaml(texts["compose/compose.yaml"])["services"][service.name])
    mounts = {mount["target"]: mount["source"] for mount in container["volumes"] if mount["type"] == "bind"}
    for word in (word for word in container["entrypoint"] if word.startswith(f"{IN_CONTAINER}/")):
        assert mounts[word.rpartition("/")[0]] == f"..{word.removeprefix(IN_CONTAINER).rpartition('/')[0]}"
    command = [word.replace(f"{IN_CONTAINER}/", f"{tree}/") for word in container["entrypoint"]]
    words = printed_words([*command, *container["command"]], container["environment"])
    facts = plan.engine_of(service).host
    program = facts.container.program or facts.program.name
    # The host is of the container's own network; what the machine publishes is another matter.
    assert words == command_of(service, program, container["environment"]["HF_HOME"], "0.0.0.0")


def uncomposed(data: Any) -> Any:
    """Data as Compose takes it: `$$` is a dollar."""
    if isinstance(data, str):
        return data.replace("$$", "$")
    if isinstance(data, list):
        return [uncomposed(item) for item in data]
    return {key: uncomposed(value) for key, value in data.items()} if isinstance(data, dict) else data
