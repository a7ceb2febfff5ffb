"""What a plan says of machines and of engines, for its schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from compiler.engines.interface.host import KernelWheel


class Card(BaseModel):
    """A model of GPU.

    Attributes:
        gpu: its name for people.
        product: the word of that name that the driver must know the card by; null for a card of the spec's own.
        memory_bytes: as CUDA reports them.
        compute_capability: such as `12.0`.
    """

    gpu: str
    product: str | None
    memory_bytes: int
    compute_capability: str


class GpuNode(BaseModel):
    """A machine with GPUs.

    Attributes:
        name: as the spec has it.
        kind: what serves there.
        gpu: the card's name for people; of the first card where `cards` has several models, as all that is of a card.
        product: the word of that name that the driver must know the card by; null for a card of the spec's own.
        count: GPUs.
        memory_bytes: of each, as CUDA reports them.
        compute_capability: such as `12.0`.
        cards: of each GPU, by index, where they are of several models; missing where all are of one.
        uuids: by index; none if the spec gives none.
        mig: the profile, where each is a slice of a GPU.
        address: at which the stack's other nodes reach it; missing where the spec gives none.
    """

    name: str
    kind: Literal["gpu"]
    gpu: str
    product: str | None
    count: int
    memory_bytes: int
    compute_capability: str
    uuids: list[str]
    mig: str | None
    cards: list[Card] = Field(default_factory=list)
    address: str | None = None


class CpuNode(BaseModel):
    """A machine that serves from its main memory.

    Attributes:
        name: as the spec has it.
        kind: what serves there.
        memory_bytes: that the stack may use.
        address: at which the stack's other nodes reach it; missing where the spec gives none.
    """

    name: str
    kind: Literal["cpu"]
    memory_bytes: int
    address: str | None = None


class Engine(BaseModel):
    """The first of `engines`, as plans had it that knew one.

    Attributes:
        vllm: its version, where it is vLLM.
        llama_cpp: its build, where it is llama.cpp.
        image: of its container.
        cuda: the release that its build holds; null on CPUs.
        minimum_driver: the oldest driver that runs it.
        kernels: packages of prebuilt kernels, for machines that cannot compile them.
    """

    vllm: str | None = None
    llama_cpp: str | None = Field(default=None, alias="llama.cpp")
    image: str
    cuda: str | None
    minimum_driver: str | None
    kernels: list[KernelWheel]


class Program(BaseModel):
    """The executable that serves.

    Attributes:
        name: as it is found on PATH.
        variable: of the environment, which names another one.
        path: where it lies, for servers without containers.
    """

    name: str
    variable: str
    path: str


class ServingEngine(BaseModel):
    """A release of an engine that serves.

    Attributes:
        title: for people.
        version: its release.
        commit: of its source, as its program says it; null where its version says enough.
        program: the executable.
        key_variable: of the environment, through which a server gets its API key.
        configuration: folders of the machine from which its servers take options that nobody planned.
        answers_while_loading: it listens before it can serve, and answers 503 until then; of another engine, 503 says
            that it is dead.
        image: of its container.
        cuda: the release that its build holds; null on CPUs.
        minimum_driver: the oldest driver that runs it; null on CPUs.
        kernels: packages of prebuilt kernels, for machines that cannot compile them.
        signals: series of its servers that the programs read, by what they say.
    """

    title: str
    version: str
    commit: str | None
    program: Program
    key_variable: str
    configuration: list[str]
    answers_while_loading: bool
    image: str
    cuda: str | None
    minimum_driver: str | None
    kernels: list[KernelWheel]
    signals: dict[str, str]
