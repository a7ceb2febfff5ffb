"""A row of the table of knobs, and the reasons for which an artifact does not need one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.plan.ir import Plan
from tests.faithfulness.samples import everything
from tests.unit.plan_samples import two_on_one_gpu

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Knob:
    """One field, such as `Service.port`.

    Attributes:
        path: of the changed object in the sample: attributes and indices.
        value: the new one.
        shows: of each kind of artifact that must change, locators with what is found there; for a list, one item.
        silent: why the other kinds do not need it.
    """

    name: str
    path: tuple[str | int, ...]
    value: Any
    shows: Mapping[str, Found]
    silent: str
    sample: Callable[[], Plan] = field(default=two_on_one_gpu)


OPTION = (
    "the server gets it as an option in `arguments`, and vLLM's parser compares the two (tests/engine/test_parser.py)"
)
FIGURE = "a figure of the ledger, for people and for checks of the running server; the servers get what follows from it"
CHECKED = "preflight, prefetch and the smoke test read it from plan.json and compare the machine or the server with it"
PEOPLE = "for people: it stands in plan.json and README.md"
SCRIPT = "units and containers run the launch script; prefetch reads plan.json"
TARGET = "the gateway, the rollout and the monitoring have artifacts of their own"


def in_plan_only(
    name: str,
    path: tuple[str | int, ...],
    value: object,
    key: str,
    silent: str,
    *,
    shown: object = None,
    sample: Callable[[], Plan] = two_on_one_gpu,
) -> Knob:
    """A field that plan.json shows under `key`, as it is or as the first item of a list, and nothing else needs.

    Args:
        shown: what is found there where it is neither.
    """
    found = shown or (value[0] if isinstance(value, tuple) else value)
    return Knob(name, path, value, {"plan.json": {key: found}}, silent, sample)


def around(
    name: str,
    path: tuple[str | int, ...],
    value: object,
    shows: Mapping[str, Found],
    sample: Callable[[], Plan] = everything,
) -> Knob:
    """A field of what stands around the servers, tried on the stack that has all of it."""
    return Knob(name, path, value, shows, TARGET, sample)
