"""The shape of stacks/NAME.yaml. Models validate and nothing more; rules across fields are in `checks.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from compiler.spec.base import (
    AbsolutePath,
    Bytes,
    GpuUuid,
    ImageReference,
    ModelName,
    Name,
    Publisher,
    ServedName,
    SpecModel,
    as_list,
)
from compiler.spec.operations import GatewaySpec, MonitoringSpec, PatchesSpec, RolloutSpec
from compiler.spec.ranges import Concurrency, ConcurrencyRange, Context, Tokens
from compiler.spec.rollouts import SUFFIX, with_candidates

QuantizationMethod = Literal["auto", "none", "awq", "gptq", "fp8", "int8", "compressed-tensors"]
Target = Literal["scripts", "systemd", "compose", "quadlet"]
Task = Literal["chat", "completion", "embed", "score", "classify"]
Media = Literal["image", "video", "audio"]
Feature = Literal["tools", "structured-output", "reasoning"]

_Words = Annotated[str, StringConstraints(min_length=1, max_length=64)]

POOLING: frozenset[Task] = frozenset(("embed", "score", "classify"))
"""Tasks of vLLM's pooling runner: what is answered is made of a whole text, and nothing is generated."""


MOST_MEDIA = 999
"""Of one kind in a prompt: vLLM's own limit (vllm/config/multimodal.py:get_limit_per_prompt, 0.33.0)."""


class EngineSpec(SpecModel):
    """Which vLLM runs.

    Attributes:
        vllm: its release: 0.33.0 for GPUs, 0.32.0 for CPUs.
        image: of its container, instead of the default one, best as `repository@sha256:…`.
        calibration: a file of `stackc calibrate`, relative to the spec, in place of the catalogue's estimates.
    """

    vllm: str
    image: ImageReference | None = None
    calibration: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None


class GpusSpec(SpecModel):
    """GPUs of one node: a catalog name, or a card's own figures.

    Attributes:
        model: a name of the catalogue (`stackc gpus`), or any with the two figures of the card.
        mig: each of them is a slice of that profile, such as `3g.40gb`; outside containers vLLM finds only some of
            them (W0204).
        memory: as CUDA reports it, not the number on the box; wins over the catalogue's.
        compute_capability: of a card that is not in the catalogue, such as "8.9".
        count: how many of them.
        uuids: full `GPU-…` or `MIG-…` identifiers by index, to pin cards; with `mig` they are the slices'.
    """

    model: str | None = None
    mig: Annotated[str, StringConstraints(pattern=r"^[1-7]g\.[0-9]{1,3}gb$")] | None = None
    memory: Bytes | None = None
    compute_capability: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}\.[0-9]$")] | None = None
    count: Annotated[int, Field(ge=1, le=1024)] = 1
    uuids: tuple[GpuUuid, ...] = Field(default=(), strict=False)


class CpuSpec(SpecModel):
    """A node without GPUs.

    Attributes:
        memory: how much of its main memory the stack may use.
    """

    memory: Bytes


class NodeSpec(SpecModel):
    """One machine: either `gpus` or `cpu`.

    Attributes:
        gpus: of one model.
        cpu: for vLLM's CPU build.
        reserve: kept free on each GPU (or of the CPU memory) for whatever else lives there. Where CPU and GPU share
            one memory, 17 % stay free at least (W0203).
    """

    gpus: GpusSpec | None = None
    cpu: CpuSpec | None = None
    reserve: Bytes = 0


class ServiceSpec(SpecModel):
    """One vLLM server.

    Attributes:
        model: a repository of the Hub, `publisher/name`, or the path of a folder on the server.
        task: what it answers: chats and completions (which needs a chat template), completions only, embeddings, how
            well texts fit a query (rerankers: `/v1/rerank`, `/v1/score`), or labels of a text (`/classify`).
        score_tokens: words whose probability a generating model scores by: one, or the one against and the one for,
            such as `[no, yes]`; known for the rerankers that vLLM names (Qwen3-Reranker, mxbai-rerank-v2,
            bge-reranker-v2-gemma).
        features: what clients need of it beyond that; flags and the smoke test follow.
        quantization: methods that may be served, in order of preference; `auto` for the best quality that fits.
        context: tokens of one request, prompt and answer together (`--max-model-len`): 16384, 16K (which is the same;
            16k is refused, because vLLM reads it as 16000), or, for the longest that fits, `max` or {min: …, max: …}.
        concurrency: requests of full context that must fit in the KV cache at once: a number (1 by default), or, for
            the most that fit, `max` or {min: …, max: …}.
        port: where it listens.
        host: where it listens; an address that others reach needs `secrets.api_key`, or a gateway, behind which only
            the gateway has one.
        served_name: by which clients ask for it; the service's own name by default.
        kv_cache_dtype: `fp8` halves the KV cache.
        node: where it runs; None lets the solver choose among the stack's nodes.
        gpus: their indices on that node, to pin them; several nodes need `node` too.
        tensor_parallel_size: GPUs over which each layer is split; chosen by default.
        pipeline_parallel_size: stages into which the layers are divided; chosen by default.
        share: weight with which this service gets memory that is left over on its GPU, as KV cache; with 0 it gets what
            `context` and `concurrency` ask for.
        media: most images, videos and sounds of one prompt, by kind; `none` for text alone, and the tower takes no
            memory. As many as fit by default.
        allowed_media_domains: hosts from which clients may have it fetch images, sound and videos, such as
            `[images.example.org]`; none by default: media then come inside the request (`data:` URLs). Redirects are
            never followed.
        expert_parallel: whole experts on each GPU, instead of a slice of every expert.
        max_num_seqs: requests that run at once; by default the most up to 256 that fit.
        max_num_batched_tokens: tokens of one step of the engine; vLLM's default for the device by default.
        engine_args: further options of `vllm serve`, as `enable_prefix_caching: true`, checked against the release.
            Those that the ledger decides, that open a door or that nobody has looked at are refused. `moe-backend` and
            `attention-backend` are taken where the ledger knows what they make of the model on the card.
        rollout: a second revision beside this one.
    """

    model: ModelName
    task: Task = "chat"
    score_tokens: Annotated[
        tuple[_Words, ...],
        BeforeValidator(as_list, json_schema_input_type=_Words | Annotated[tuple[_Words, ...], Field(max_length=2)]),
        Field(max_length=2, strict=False),
    ] = ()
    features: Annotated[tuple[Feature, ...], Field(strict=False)] = ()
    quantization: Annotated[
        tuple[QuantizationMethod, ...],
        BeforeValidator(
            as_list,
            json_schema_input_type=QuantizationMethod | Annotated[tuple[QuantizationMethod, ...], Field(min_length=1)],
        ),
        Field(min_length=1, strict=False),
    ] = ("auto",)
    context: Context
    concurrency: Concurrency = ConcurrencyRange(min=1, max=1)
    port: Annotated[int, Field(ge=1, le=65535)]
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")] = "127.0.0.1"
    served_name: ServedName | None = None
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    node: Name | None = None
    gpus: Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(strict=False)] = ()
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    pipeline_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    expert_parallel: bool = False
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = None
    max_num_batched_tokens: Tokens | None = None
    share: Annotated[int, Field(ge=0, le=1000)] = 1
    media: Literal["none"] | dict[Media, Annotated[int, Field(ge=0, le=MOST_MEDIA)]] | None = None
    allowed_media_domains: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...], Field(strict=False)
    ] = ()
    engine_args: dict[str, Any] = Field(default_factory=dict)
    rollout: RolloutSpec | None = None

    @property
    def pools(self) -> bool:
        """Whether vLLM's pooling runner serves it, which generates nothing."""
        return self.task in POOLING

    def media_limit(self, kind: str) -> int:
        """How many items of a kind of media one prompt may hold."""
        if self.media == "none":
            return 0
        limits: Mapping[str, int] = {str(key): most for key, most in (self.media or {}).items()}
        return limits.get(kind, MOST_MEDIA)

    @property
    def ranks(self) -> int:
        """GPUs that it asks for at least."""
        return max(1, len(self.gpus), (self.tensor_parallel_size or 1) * (self.pipeline_parallel_size or 1))

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


class PolicySpec(SpecModel):
    """What may be served.

    Attributes:
        licenses: that a model may have; an empty list allows every licence.
        publishers: trusted for quantized variants, beside the model's own.
        gated: models whose terms must be accepted on the Hub.
        trust_remote_code: models that run Python code of their repository; only their servers run it.
        margin: plans that fit only at the expected values, and not at the high end of every estimate.
        unconfirmed: what is not known exactly, such as a commit, a hash, or the digest of an image; denied, it is an
            error and no warning.
    """

    licenses: tuple[str, ...] = Field(default=(), strict=False)
    publishers: tuple[Publisher, ...] = Field(default=(), strict=False)
    gated: Literal["deny", "allow"] = "deny"
    trust_remote_code: Literal["deny", "allow"] = "deny"
    margin: Literal["deny", "allow"] = "deny"
    unconfirmed: Literal["deny", "allow"] = "allow"


class SecretsSpec(SpecModel):
    """Paths on the server of files that hold secrets.

    Attributes:
        hf_token: for downloads from the Hub.
        api_key: opens the servers; behind a gateway only the gateway has it.
        client_keys: one key on each line, with which clients come to the gateway.
    """

    hf_token: AbsolutePath | None = None
    api_key: AbsolutePath | None = None
    client_keys: AbsolutePath | None = None


class PathsSpec(SpecModel):
    """Where things lie on the server.

    Attributes:
        install: the stack's own folder; /opt/stackc/NAME by default.
        state: its state and caches, a folder of its own too; /var/lib/stackc/NAME by default.
        vllm: the executable, for servers without containers; /opt/stackc/vllm-VERSION/bin/vllm by default.
        nginx: the executable; /usr/sbin/nginx by default.
        litellm: the executable; /opt/stackc/litellm-VERSION/bin/litellm by default.
    """

    install: AbsolutePath | None = None
    state: AbsolutePath | None = None
    vllm: AbsolutePath | None = None
    nginx: AbsolutePath | None = None
    litellm: AbsolutePath | None = None


class Spec(SpecModel):
    """A whole stack as written.

    Attributes:
        stack: its name, which is also that of the file.
        engine: which vLLM runs.
        nodes: machines, by name.
        services: servers, by name.
        policy: what may be served.
        secrets: files on the server that hold secrets.
        paths: where things lie on the server.
        targets: what is emitted: programs to run by hand (always), systemd units, a compose file, Podman's quadlets.
        gateway: one port in front of all servers; None for none.
        monitoring: what Prometheus scrapes; None for none.
        patches: keys to add to what is emitted.
    """

    stack: Name
    engine: EngineSpec
    nodes: Annotated[dict[Name, NodeSpec], Field(min_length=1)]
    services: Annotated[dict[Name, ServiceSpec], Field(min_length=1)]
    policy: PolicySpec = PolicySpec()
    secrets: SecretsSpec = SecretsSpec()
    paths: PathsSpec = PathsSpec()
    targets: Annotated[tuple[Target, ...], Field(min_length=1, strict=False)] = ("scripts", "systemd", "compose")
    gateway: GatewaySpec | None = None
    monitoring: MonitoringSpec | None = None
    patches: PatchesSpec = PatchesSpec()

    @model_validator(mode="before")
    @classmethod
    def _expand_rollouts(cls, data: Any) -> Any:
        return with_candidates(data)

    @property
    def has_gpus(self) -> bool:
        """Whether its nodes have GPUs; all of them have, or none."""
        return any(node.gpus is not None for node in self.nodes.values())

    def candidate_of(self, service: str) -> str | None:
        """The service that this one may replace; None outside a rollout."""
        base = self.services.get(service.removesuffix(SUFFIX)) if service.endswith(SUFFIX) else None
        return service.removesuffix(SUFFIX) if base is not None and base.rollout is not None else None

    def on(self, node: str, services: Iterable[str]) -> Spec:
        """The stack that one node is, with those of the services that run there."""
        chosen = {name: self.services[name] for name in services}
        return self.model_copy(update={"nodes": {node: self.nodes[node]}, "services": chosen})
