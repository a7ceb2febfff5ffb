"""What a spec says of one service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from compiler.spec.base import (
    Host,
    ModelName,
    Name,
    ServedName,
    SpecModel,
    as_list,
)
from compiler.spec.engines import VLLM, CacheWord, EngineName, QuantizationWord
from compiler.spec.nodes.devices import DeviceWord
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.nodes.parts import index_in_part
from compiler.spec.objectives import ObjectivesSpec
from compiler.spec.operations import (
    SESSION_HEADER,
    HeaderName,
    RolloutSpec,
)
from compiler.spec.ranges import Concurrency, ConcurrencyRange, Context, Replicas, ReplicasRange, Tokens
from compiler.spec.speculation import SpeculateSpec

Task = Literal["chat", "completion", "embed", "score", "classify"]
Media = Literal["image", "video", "audio"]
Feature = Literal["tools", "structured-output", "reasoning"]

_MOST_LAYERS = 4096


def _as_layers(*words: str) -> BeforeValidator:
    """Takes one of the words or a number of layers."""

    def read(value: object) -> object:
        is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_LAYERS
        if is_count or (isinstance(value, str) and value in words):
            return value
        message = "must be {words}, or a number of layers up to {most}"
        raise PydanticCustomError("layers", message, {"words": " or ".join(words), "most": _MOST_LAYERS})

    return BeforeValidator(read)


_Layers = Annotated[int, Field(ge=0, le=_MOST_LAYERS)]
_Words = Annotated[str, StringConstraints(min_length=1, max_length=64)]

POOLING: frozenset[Task] = frozenset(("embed", "score", "classify"))
"""Tasks of vLLM's pooling runner: what is answered is made of a whole text, and nothing is generated."""


MOST_MEDIA = 999
"""Of one kind in a prompt: vLLM's own limit (vllm/config/multimodal.py:get_limit_per_prompt, 0.33.0)."""


def _without_default(schema: dict[str, Any]) -> None:
    """The default follows from what the spec pins, which a schema cannot say."""
    del schema["default"]


class AdapterSpec(SpecModel):
    """A LoRA adapter beside a service's model: clients ask for it by its name.

    Attributes:
        model: a repository of the Hub, `publisher/name`, or the path of a folder on the server.
        name: by which clients ask for it; no two of a stack are alike, and none is a model's.
        base: the model that its adapter_config.json names, where that is another name of the service's model; you
            answer for it. The sizes are compared in any case.
    """

    model: ModelName
    name: ServedName
    base: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None


MOST_ADAPTERS = 256
"""Of one service: each is loaded before the server is ready, and kept in main memory by each of its processes."""

ADAPTERS_AT_ONCE = 4
"""Slots where the spec does not say how many adapters may run in one batch: each takes memory of every GPU."""


class ServiceSpec(SpecModel):
    """One server.

    Attributes:
        model: a repository of the Hub, `publisher/name`, or the path of a folder on the server; for llama.cpp a
            repository or folder of GGUF files, or the path of one file.
        engine: which of the engines that the spec pins runs it; by default llama.cpp for a model whose name ends in
            GGUF, if it is pinned, else the first.
        task: what it answers: chats and completions (which needs a chat template), completions only, embeddings, how
            well texts fit a query (rerankers: `/v1/rerank`, `/v1/score`), or labels of a text (`/classify`).
        score_tokens: words whose probability a generating model scores by: one, or the one against and the one for,
            such as `[no, yes]`; known for the rerankers that vLLM names (Qwen3-Reranker, mxbai-rerank-v2,
            bge-reranker-v2-gemma).
        features: what clients need of it beyond that; flags and the smoke test follow.
        quantization: methods that may be served, in order of preference; `auto` for the best quality that fits. With
            llama.cpp they are file types, such as `Q4_K_M`.
        context: tokens of one request, prompt and answer together (`--max-model-len`): 16384, 16K (which is the same;
            16k is refused, because vLLM reads it as 16000), or, for the longest that fits, `max` or {min: …, max: …}.
        concurrency: requests of full context that must fit in the KV cache at once: a number (1 by default), or, for
            the most that fit, `max` or {min: …, max: …}.
        replicas: servers that answer for it, each with a GPU memory of its own, at `port` and those after it: a number,
            or, for as many as fit, `max` (up to one for each GPU) or {min: …, max: …}. `concurrency` is of all of them
            together, every other key of each.
        port: where it listens.
        host: where it listens; an address that others reach needs `secrets.api_key`, or a gateway, behind which only
            the gateway has one. Behind a gateway on another node it listens at its node's `address`.
        served_name: by which clients ask for it; the service's own name by default.
        kv_cache_dtype: `fp8` halves the KV cache; with llama.cpp a type such as `q8_0`.
        gpu_layers: with llama.cpp, layers that lie on GPUs: `all`, a number, or as many as fit.
        cpu_moe: with llama.cpp, the first layers whose experts stay in main memory: a number, or as many as must.
        node: where it runs: a node, or any of those that one entry with a `count` stands for; by default any of the
            stack's.
        device: `cpu` runs it on a node without GPUs of a stack that has both, where it is otherwise on GPUs unless
            `node` names such a node.
        gpus: their indices on that node, to pin them; several nodes need `node` too. With `machines`, on each of them.
        machines: over how many nodes that are alike the one server runs, which has them to itself; the first has the
            port. Layers are split inside a machine, and divided into stages over the machines.
        tensor_parallel_size: GPUs over which each layer is split; chosen by default.
        pipeline_parallel_size: stages into which the layers are divided; chosen by default.
        split_over_network: allows a `tensor_parallel_size` that spans machines: each layer then waits for the network.
        share: weight with which this service gets memory that is left over on its GPU, as KV cache; with 0 it gets what
            `context` and `concurrency` ask for.
        media: most images, videos and sounds of one prompt, by kind; `none` for text alone, and the tower takes no
            memory. As many as fit by default; with llama.cpp text alone by default, and `{image: 1}` serves images.
        allowed_media_domains: hosts from which clients may have it fetch images, sound and videos, such as
            `[images.example.org]`; none by default: media then come inside the request (`data:` URLs). Redirects are
            never followed.
        expert_parallel: whole experts on each GPU, instead of a slice of every expert.
        max_num_seqs: requests that run at once; by default the most up to 256 that fit.
        max_num_batched_tokens: tokens of one step of the engine; vLLM's default for the device by default.
        engine_args: further options of `vllm serve`, as `enable_prefix_caching: true`, checked against the release.
            Those that the ledger decides, that open a door or that nobody has looked at are refused. `moe-backend` and
            `attention-backend` are taken where the ledger knows what they make of the model on the card.
        sticky: what keeps requests of one session with one of its replicas, whose prefix cache they then find: the
            value of `sticky_header`, the client's key, or nothing. A replica that is lost moves its own sessions alone.
        sticky_header: whose value names a session, for `sticky: header`.
        adapters: LoRA adapters of its model, such as `[{model: publisher/name, name: sql}]`, each locked to its commit.
        adapters_at_once: adapters that may run in one batch, others wait; all of them by default, up to 4. Each has
            room on every GPU, as large as the largest rank of all.
        speculate: tokens are guessed ahead of the model, which checks several in one step: faster where guesses are
            right, for memory that the ledger counts.
        objectives: how fast it is to be; checked against an estimate.
        rollout: a second revision beside this one.
    """

    model: ModelName
    engine: EngineName = Field(default=VLLM, json_schema_extra=_without_default)
    task: Task = "chat"
    score_tokens: Annotated[
        tuple[_Words, ...],
        BeforeValidator(as_list, json_schema_input_type=_Words | Annotated[tuple[_Words, ...], Field(max_length=2)]),
        Field(max_length=2, strict=False),
    ] = ()
    features: Annotated[tuple[Feature, ...], Field(strict=False)] = ()
    quantization: Annotated[
        tuple[QuantizationWord, ...],
        BeforeValidator(
            as_list,
            json_schema_input_type=QuantizationWord | Annotated[tuple[QuantizationWord, ...], Field(min_length=1)],
        ),
        Field(min_length=1, strict=False),
    ] = ("auto",)
    context: Context
    concurrency: Concurrency = ConcurrencyRange(min=1, max=1)
    replicas: Replicas = ReplicasRange(min=1, max=1)
    port: Annotated[int, Field(ge=1, le=65535)]
    host: Host = "127.0.0.1"
    served_name: ServedName | None = None
    kv_cache_dtype: CacheWord = "auto"
    gpu_layers: Annotated[_Layers | Literal["auto", "all"], _as_layers("auto", "all")] = "auto"
    cpu_moe: Annotated[_Layers | Literal["auto"], _as_layers("auto")] = "auto"
    node: Name | None = None
    device: DeviceWord | None = None
    gpus: Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(strict=False)] = ()
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    pipeline_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    machines: Annotated[int, Field(ge=1, le=64)] = 1
    split_over_network: bool = False
    expert_parallel: bool = False
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = None
    max_num_batched_tokens: Tokens | None = None
    share: Annotated[int, Field(ge=0, le=1000)] = 1
    media: Literal["none"] | dict[Media, Annotated[int, Field(ge=0, le=MOST_MEDIA)]] | None = None
    allowed_media_domains: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...], Field(strict=False)
    ] = ()
    engine_args: dict[str, Any] = Field(default_factory=dict)
    sticky: Literal["header", "client", "none"] = "none"
    sticky_header: HeaderName = SESSION_HEADER
    adapters: Annotated[tuple[AdapterSpec, ...], Field(max_length=MOST_ADAPTERS, strict=False)] = ()
    adapters_at_once: Annotated[int, Field(ge=1, le=MOST_ADAPTERS)] | None = None
    speculate: SpeculateSpec | None = None
    objectives: ObjectivesSpec | None = None
    rollout: RolloutSpec | None = None

    @property
    def pools(self) -> bool:
        """Whether vLLM's pooling runner serves it, which generates nothing."""
        return self.task in POOLING

    @property
    def adapter_slots(self) -> int:
        """Adapters that may run in one batch; 0 without adapters."""
        return min(len(self.adapters), self.adapters_at_once or ADAPTERS_AT_ONCE)

    def media_limit(self, kind: str) -> int:
        """How many items of a kind of media one prompt may hold."""
        if self.media == "none":
            return 0
        limits: Mapping[str, int] = {str(key): most for key, most in (self.media or {}).items()}
        return limits.get(kind, MOST_MEDIA)

    @property
    def ranks(self) -> int:
        """GPUs of one machine that it asks for at least."""
        asked = max(1, len(self.gpus), (self.tensor_parallel_size or 1) * (self.pipeline_parallel_size or 1))
        return asked if self.machines == 1 else max(len(self.gpus), -(-asked // self.machines))

    @property
    def brings_chat_template(self) -> bool:
        """Whether the user gives vLLM a chat template, which then need not be in the checkpoint."""
        return any(key in self.engine_args for key in ("chat_template", "chat-template", "--chat-template"))

    @property
    def tokenizer_mode_key(self) -> str | None:
        """Under which key the user gives a tokenizer mode; None where the engine chooses."""
        keys = ("tokenizer_mode", "tokenizer-mode", "--tokenizer-mode")
        return next((key for key in keys if key in self.engine_args), None)

    @property
    def tokenizer_mode(self) -> str:
        """The user's tokenizer mode, as the engine reads it; `auto` where it chooses."""
        given = self.engine_args.get(self.tokenizer_mode_key or "", "auto")
        given = given[0] if isinstance(given, list) and given else given
        return str(given).lower()

    @property
    def enforce_eager(self) -> bool:
        """Whether the user turns CUDA graphs off, which the ledger then leaves out."""
        return any(self.engine_args.get(key) is True for key in ("enforce_eager", "enforce-eager", "--enforce-eager"))

    @property
    def moe_backend(self) -> str:
        """Kernels for experts that the user names, as the engine reads the name; `auto` where it chooses."""
        return (self._given("moe-backend") or "auto").lower().replace("-", "_")

    @property
    def attention_backend(self) -> str | None:
        """The attention backend that the user names, as the engine reads it; None where it chooses."""
        given = self._given("attention-backend")
        return None if given is None or given.lower() == "auto" else given.upper()

    def _given(self, option: str) -> str | None:
        """The text that an option of `engine_args` has, in whichever spelling."""
        keys = (option, option.replace("-", "_"), f"--{option}")
        found = next((self.engine_args[key] for key in keys if key in self.engine_args), None)
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        return None if found is None else str(found)

    @property
    def prefix_caching(self) -> bool | None:
        """Whether the user turns prefix caching on or off, by which recurrent states are kept; None for neither."""
        keys = ("enable_prefix_caching", "enable-prefix-caching", "--enable-prefix-caching")
        return next((bool(self.engine_args[key]) for key in keys if key in self.engine_args), None)


def on_part(service: ServiceSpec, node: NodeSpec) -> ServiceSpec:
    """A service as a part of a machine sees it, where the cards that the spec names have other numbers."""
    indices = tuple(index_in_part(node, index) for index in service.gpus)
    if indices == service.gpus:
        return service
    return service.model_copy(update={"gpus": tuple(index for index in indices if index is not None)})
