"""What somebody wants of a model and has of machines, before any model is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from compiler.registry.entry import Kind, Modality, Task
from compiler.spec.services import Feature
from compiler.spec.services import Task as Serving

Need = Literal["tools", "reasoning", "structured-output", "image", "video", "audio"]
"""What clients need of a server beyond text: features of a spec, and what a model has to read."""

NEEDS: tuple[Need, ...] = ("tools", "reasoning", "structured-output", "image", "video", "audio")

DEFAULT_CONTEXT = 8192
"""Tokens of a request where nobody says: a chat with some pages of context. An assumption."""

USERS_AT_ONCE = 5
"""Of so many users one waits for an answer in a busy minute. An assumption: who has measured it says `concurrency`."""

_GENERATING: frozenset[Kind] = frozenset(("instruct", "reasoning"))
_UNTUNED: frozenset[Kind] = frozenset(("base", "instruct", "reasoning"))


@dataclass(frozen=True, slots=True)
class Profile:
    """What a task asks of a model and of its server.

    Attributes:
        kinds: of models that may do it.
        serving: `task` of a spec.
        modality: that the model has to read; None for text alone.
        needs: of the server, whatever clients say.
        covered_by: tasks whose models do this one too.
    """

    kinds: frozenset[Kind] = _GENERATING
    serving: Serving = "chat"
    modality: Modality | None = None
    needs: tuple[Need, ...] = ()
    covered_by: frozenset[Task] = frozenset()


_CHATS: frozenset[Task] = frozenset(("chat",))
_PROFILES: Mapping[Task, Profile] = MappingProxyType(
    {
        "audio": Profile(modality="audio"),
        "completion": Profile(kinds=_UNTUNED, serving="completion"),
        "embedding": Profile(kinds=frozenset(("embedding",)), serving="embed"),
        "finetune": Profile(kinds=_UNTUNED, serving="completion"),
        "creative": Profile(covered_by=_CHATS),
        "ocr": Profile(modality="image", covered_by=frozenset(("vision",))),
        "rag": Profile(covered_by=_CHATS),
        "rerank": Profile(kinds=frozenset(("reranker",)), serving="score"),
        "tools": Profile(needs=("tools",), covered_by=frozenset(("agent", "chat", "code"))),
        "agent": Profile(needs=("tools",), covered_by=frozenset(("code", "tools"))),
        "vision": Profile(modality="image", covered_by=_CHATS),
    }
)
_CHAT = Profile()


def profile_of(task: Task) -> Profile:
    """What a task asks for."""
    return _PROFILES.get(task, _CHAT)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that GPUs may cost.

    Attributes:
        per_hour: of all of them together.
        currency: ISO 4217; prices in others are not compared.
    """

    per_hour: float
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Cards:
    """GPUs of one machine.

    Attributes:
        gpu: the catalog's name.
        are_owned: they are there, so that their price is no matter.
    """

    gpu: str
    count: int = 1
    are_owned: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted; None and empty ask for nothing.

    Attributes:
        context: tokens of a request, prompt and answer together.
        concurrency: such requests at once.
        users: people who share the server, in place of `concurrency`.
        commercial: whether its licence must allow commercial use, be it under a condition.
        languages: that its card must name, which is no measurement.
        needs: of clients.
        min_rate: tokens a second that each request gets at least, as expected, while `at_once` run.
        max_ttft: seconds to the first token that 95 of 100 requests may see at most, likewise.
        most_parameters: in all.
        methods: of quantization that may be served; none for any.
        publishers: of the model; none for any.
    """

    task: Task
    context: int | None = None
    concurrency: int | None = None
    users: int | None = None
    commercial: bool = False
    languages: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    min_rate: float | None = None
    max_ttft: float | None = None
    most_parameters: int | None = None
    methods: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    budget: Budget | None = None

    @property
    def profile(self) -> Profile:
        """Of its task."""
        return profile_of(self.task)

    @property
    def at_once(self) -> int:
        """Requests at once, which users are counted as."""
        if self.concurrency is not None:
            return self.concurrency
        return 1 if self.users is None else math.ceil(self.users / USERS_AT_ONCE)

    @property
    def all_needs(self) -> tuple[Need, ...]:
        """Those of clients and of the task, each once."""
        return tuple(dict.fromkeys((*self.profile.needs, *self.needs)))

    @property
    def features(self) -> tuple[Feature, ...]:
        """Of the server, as a spec has them."""
        known: tuple[Feature, ...] = ("tools", "structured-output", "reasoning")
        return tuple(feature for feature in known if feature in self.all_needs)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """That the model has to read besides text."""
        known: tuple[Modality, ...] = ("image", "video", "audio")
        task = self.profile.modality
        return tuple(each for each in known if each == task or each in self.all_needs)
