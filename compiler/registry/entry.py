"""What the registry says of one model. Facts only: whether it fits, how fast it is and what it costs is worked out."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from compiler.lock.names import RepositoryName, Text

Kind = Literal["instruct", "reasoning", "base", "embedding", "reranker"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Task = Literal[
    "agent",
    "audio",
    "chat",
    "code",
    "completion",
    "creative",
    "edge",
    "embedding",
    "finetune",
    "legal",
    "long-context",
    "math",
    "medical",
    "multilingual",
    "ocr",
    "rag",
    "reasoning",
    "rerank",
    "tools",
    "uncensored",
    "vision",
]
TASKS: tuple[Task, ...] = get_args(Task)

Commercial = Literal["yes", "conditional", "no", "unknown"]
COMMERCIAL: tuple[Commercial, ...] = get_args(Commercial)

Answer = Literal["yes", "claimed", "no", "unknown"]
"""`claimed` is what only a catalogue says, whose maker or recipe does not."""

Modality = Literal["text", "image", "video", "audio"]

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
"""ISO 639-1, and 639-3 where that has none."""

Day = Annotated[str, StringConstraints(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
"""ISO 8601: a day, a month or a year, as exactly as it is known."""

Link = Annotated[str, StringConstraints(pattern=r"^https://[^\s<>\"`\\]{1,400}$")]

_LARGEST = 10**14
_LONGEST_CONTEXT = 10**9
_LONGEST_LIST = 200
_LONGEST_TEXT = 1000

Line = Annotated[Text, Field(min_length=1, max_length=_LONGEST_TEXT)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}$")]


class RegistryRecord(BaseModel):
    """Base of all records of the registry: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class License(RegistryRecord):
    """Under what a model may be used. A summary for choosing, no legal advice: who shows it, shows name and link.

    Attributes:
        tag: the Hub's identifier, such as `apache-2.0`.
        name: as its authors call it.
        link: where its text is; None where no place of its own is known, and the model's page has to do.
        commercial: whether it allows commercial use.
        condition: what it demands for that, in a line; None where it demands nothing beyond notices.
    """

    tag: Word
    name: Line
    link: Link | None = None
    commercial: Commercial
    condition: Line | None = None


class Quantized(RegistryRecord):
    """A repository with quantized weights of a model, by its maker or by a quantizer whom many trust.

    Attributes:
        repository: its name.
        format: as the repository's name or recipe has it, such as `fp8` or `w4a16`.
        claimed_gb: the least GPU memory that its recipe speaks of, in 10⁹ bytes: a claim, never a proof.
        source: a key of the registry's sources, or text.
    """

    repository: RepositoryName
    format: Word
    claimed_gb: float | None = Field(default=None, gt=0, le=10**6)
    source: Line | None = None


class Recipe(RegistryRecord):
    """How vLLM's own collection of recipes serves a model.

    Attributes:
        path: in github.com/vllm-project/recipes, below `models/`, without its ending.
        release: of vLLM that it asks for at least; None where it names none.
        hardware: on which it was tried, in its words.
    """

    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    release: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$|^nightly$")] | None = None
    hardware: tuple[Word, ...] = Field(default=(), max_length=_LONGEST_LIST)


class ModelEntry(RegistryRecord):
    """One model.

    Attributes:
        id: its name on the Hub; of a private model, the one under which it is served or its own.
        kind: what it was trained for.
        tasks: what people use it for, sorted by nothing but its maker's emphasis.
        languages: that its card names, which is no measurement; None where it names none.
        released: when; None where no source says it.
        parameters: in all.
        active_parameters: of them, those that one token meets.
        license: under what it may be used.
        context: tokens that it was trained for, without what YaRN and its like add.
        context_note: what they add, and what else is to be said of it.
        chat_template: whether it has one; the lock, which reads the tokenizer, has the last word.
        tools: whether it was trained to call tools.
        tool_call_parser: vLLM's of calls, by its recipes.
        reasoning_parser: vLLM's of thoughts, likewise.
        reasoning: whether it can think before it answers.
        modalities: what it reads.
        base_model: of which it is a fine-tune.
        config: its config.json, of a user's model whose base has another; those that ship have theirs beside the rows.
        quantized: repositories with other weights of it.
        recipe: vLLM's own, if there is one.
        good_for: as people who chose models wrote it down; no measurement.
        not_good_for: likewise.
        trap: what is often said of it and is not so, or surprises.
        downloads: of its repository in a month, as a catalogue had it: popularity, not quality; None is not known.
        sources: of a field, a key of the registry's sources or text.
    """

    id: RepositoryName
    kind: Kind
    tasks: tuple[Task, ...] = Field(default=(), max_length=_LONGEST_LIST)
    languages: tuple[Language, ...] | None = Field(default=None, max_length=_LONGEST_LIST)
    released: Day | None = None
    parameters: int = Field(ge=1, le=_LARGEST)
    active_parameters: int = Field(ge=1, le=_LARGEST)
    license: License
    context: int = Field(ge=1, le=_LONGEST_CONTEXT)
    context_note: Line | None = None
    chat_template: Answer = "unknown"
    tools: Answer = "unknown"
    tool_call_parser: Word | None = None
    reasoning_parser: Word | None = None
    reasoning: Answer = "unknown"
    modalities: tuple[Modality, ...] = Field(default=("text",), min_length=1)
    base_model: RepositoryName | None = None
    config: dict[str, Any] | None = None
    quantized: tuple[Quantized, ...] = Field(default=(), max_length=_LONGEST_LIST)
    recipe: Recipe | None = None
    good_for: tuple[Line, ...] = Field(default=(), max_length=_LONGEST_LIST)
    not_good_for: tuple[Line, ...] = Field(default=(), max_length=_LONGEST_LIST)
    trap: Line | None = None
    downloads: int | None = Field(default=None, ge=0)
    sources: dict[Word, Line] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _active_is_a_part(self) -> ModelEntry:
        if self.active_parameters > self.parameters:
            raise ValueError("has more active_parameters than parameters")
        return self

    @property
    def publisher(self) -> str:
        """The part of its name before the slash; empty where it has none."""
        return self.id.rpartition("/")[0]

    @property
    def short_name(self) -> str:
        """The part of its name after the slash."""
        return self.id.rpartition("/")[2]

    @property
    def is_mixture(self) -> bool:
        """Whether a token meets only some of its experts."""
        return self.active_parameters < self.parameters


class Source(RegistryRecord):
    """Where figures are from.

    Attributes:
        title: what it is.
        date: of what was read; None where it has none.
        link: where it is; None for what has no address.
        mark: why its figures are to be taken with care, such as `from memory`; None where they are not.
    """

    title: Line
    date: Day | None = None
    link: Link | None = None
    mark: Line | None = None


_FOLDED = re.compile(r"[^a-z0-9]+")


def folded(name: str) -> str:
    """A name as people compare it: letters and digits, in lower case."""
    return _FOLDED.sub("", name.lower())
