"""The lock file's schema, version 1. Facts only: whatever a later stackc would judge again is not in here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from compiler.lock.gguf import GgufFacts
from compiler.lock.names import BranchName, FileName, FilePath, Hash, ModelKey, RepositoryName, Text, publisher_of
from compiler.lock.record import LockModel

SCHEMA_VERSION: Final = 1

HUB = "https://huggingface.co"
# The source of a model that is a folder on this machine.
FOLDER: Final = "folder"

# A full commit pins; a shorter prefix is a hint that prefetch checks, because the Hub resolves full hashes only.
CommitHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
FULL_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)

# Names of repositories that a service's entry lists as not read.
MAX_UNREAD: Final = 20

Kind = Literal["model", "adapter", "gguf"]

Format = Literal["safetensors", "gguf"]

Unconfirmed = Literal["chat_template", "commit", "config", "files", "license", "tensors"]


def lock_key(repository: str, branch: str | None, file: str | None = None) -> str:
    """The name under which the lock keeps a repository's branch, or of it the model that begins with a GGUF file."""
    name = repository if branch is None else f"{repository}@{branch}"
    return name if file is None else f"{name}#{file}"


def repository_of(key: str) -> str:
    """The repository, or the folder, that a key of the lock names."""
    name = key.partition("#")[0]
    return name if name.startswith("/") else name.partition("@")[0]


def branch_of(key: str) -> str | None:
    """The branch beside `main` that a key of the lock names."""
    name = key.partition("#")[0]
    return None if name.startswith("/") else name.partition("@")[2] or None


def file_of(key: str) -> str | None:
    """The first file of the model, where a key of the lock names one of several in its repository or folder."""
    return key.partition("#")[2] or None


class TensorKind(LockModel):
    """Tensors that differ only in the numbers of their names, such as one projection of every layer.

    Attributes:
        name: the tensor's name with every all-digits component replaced by `*`.
        dtype: as the safetensors header spells it (`BF16`, `I32`, `F8_E4M3`, …).
        shape: of one tensor, in elements.
        count: how many tensors have this name pattern, dtype and shape.
    """

    name: Text
    dtype: Text
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    count: int = Field(ge=1)


class TensorFacts(LockModel):
    """What the safetensors headers say, aggregated.

    Attributes:
        digest: `sha256:` over the sorted lines `name dtype [shape]` of every tensor.
        total_bytes: sum of all tensors' data, without headers.
        kinds: tensors that differ only in the numbers of their names.
    """

    digest: Text
    total_bytes: int = Field(ge=0)
    kinds: tuple[TensorKind, ...]


class WeightFile(LockModel):
    """One file that vLLM will load.

    Attributes:
        path: in its repository.
        size: bytes; None where the Hub did not say.
        sha256: None where the Hub did not say.
    """

    path: FileName
    size: int | None = Field(default=None, ge=0)
    sha256: Hash | None = None


class AdapterFacts(LockModel):
    """What adapter_config.json says of a LoRA adapter.

    Attributes:
        rank: `r`; None where it is not a positive integer.
        largest_rank: of all modules, some of which `rank_pattern` may give another one; None where one is no number.
        alpha: `lora_alpha`; None where it is no number.
        features: what it has beyond plain LoRA, as `key` or `key: value`, sorted.
        target_modules: names or one regular expression, sorted.
        base_model: the model that it was trained on, as the adapter names it.
    """

    rank: int | None = Field(default=None, ge=1)
    largest_rank: int | None = Field(default=None, ge=1)
    alpha: float | None = None
    features: tuple[Text, ...] = ()
    target_modules: tuple[Text, ...] = ()
    base_model: Text | None = None


class DenseFacts(LockModel):
    """A projection that Sentence Transformers put after the model, which vLLM keeps in float32.

    Attributes:
        inputs: numbers that it takes.
        outputs: numbers that it gives.
        bias: whether it adds any.
    """

    inputs: int = Field(ge=1, le=2**20)
    outputs: int = Field(ge=1, le=2**20)
    bias: bool = True


class CodeFacts(LockModel):
    """A file of a repository that names Python code beside it, in its `auto_map`.

    Attributes:
        file: its name.
        auto_map: what is to be made (`AutoConfig`, `AutoTokenizer`, …), and the classes that do it.
        class_name: the class by which the file names the same thing otherwise (`tokenizer_class`, `processor_class`).
    """

    file: FileName
    auto_map: dict[Text, tuple[Text, ...]]
    class_name: Text | None = None


class EmbeddingFacts(LockModel):
    """What files of Sentence Transformers beside a model say of its embeddings.

    Attributes:
        normalized: whether they have length 1.
        dense: projections, in order; the last one's outputs are the dimension.
        max_length: tokens of a text beyond which the engine refuses it; None where these files name no limit.
    """

    normalized: bool
    dense: tuple[DenseFacts, ...] = ()
    max_length: int | None = Field(default=None, ge=1)


class ModelFacts(LockModel):
    """One repository at one commit of one branch, or one local folder.

    Attributes:
        source: where the facts were read: `https://huggingface.co`, another endpoint, `loopback` or `folder`.
        branch: a branch of the repository; None is `main`. The lock's key is then `publisher/model@branch`.
        kind: what the repository holds; vLLM loads a `model` and each `adapter` of it, llama.cpp one of its `gguf`.
        adapter: set for the kind `adapter`.
        gguf: of one model in GGUF files, by the key `publisher/model#file`; only for the kind `gguf`.
        commit: full hash; a shorter one, or None, where the source did not give it (then `commit` is unconfirmed).
        license: Hub licence identifier, or `license_name` where the identifier is `other`; None where not stated.
        gated: False, `auto` or `manual`, as the Hub has it.
        base_models: repositories that the card names as its base.
        base_relation: `quantized`, `finetune`, `adapter` or `merge`, where the Hub derived one.
        pipeline_tag: the Hub's task, such as `text-generation`.
        chat_template: the file that holds the default one (`tokenizer_config.json`, `chat_template.jinja`, a GGUF
            file); None if there is none.
        named_templates: chat templates that a request may name, beside the default one.
        sampling: default sampling parameters of its generation_config.json, which the engine gives to requests that
            name none; None where there is no such file, or nobody has read it yet.
        embedding: of files of Sentence Transformers; None where there are none, or nobody has read them yet.
        remote_code: config.json names Python files in its `auto_map`.
        code: every file with an `auto_map`; nothing also where nobody has looked yet, as in a lock with `remote_code`
            and without an entry for config.json.
        tokenizers: files at the root of which a tokenizer is made, sorted; nothing also where nobody has looked yet.
        consolidated: files of the weights in Mistral's own format, the first few, which vLLM would prefer.
        weights: files that vLLM will load, sorted by path; never a second copy of the same weights.
        config: config.json as read, without what no engine reads (label maps, the author's folders) and without the
            quantization block; in Mistral's own format what vLLM makes of params.json.
        quantization: the quantization block as read, wherever it stood; None for an unquantized checkpoint.
        quantization_file: the file that block was read from.
        tensors: None where no safetensors header could be read (then `tensors` is unconfirmed); in Mistral's own
            format by the names of the engine's classes.
        unconfirmed: facts that the source did not give exactly, sorted.
    """

    source: Text
    branch: BranchName | None = None
    commit: CommitHash | None = None
    kind: Kind = "model"
    adapter: AdapterFacts | None = None
    gguf: GgufFacts | None = None
    license: Text | None = None
    gated: Literal[False, "auto", "manual"] = False
    base_models: tuple[Text, ...] = ()
    base_relation: Text | None = None
    pipeline_tag: Text | None = None
    chat_template: FilePath | None = None
    named_templates: tuple[Text, ...] = ()
    sampling: dict[str, bool | int | float] | None = None
    embedding: EmbeddingFacts | None = None
    remote_code: bool = False
    code: tuple[CodeFacts, ...] = ()
    tokenizers: tuple[FileName, ...] = ()
    consolidated: tuple[FilePath, ...] = ()
    weights: tuple[WeightFile, ...] = ()
    config: dict[str, Any]
    quantization: dict[str, Any] | None = None
    quantization_file: FileName | None = None
    tensors: TensorFacts | None = None
    unconfirmed: tuple[Unconfirmed, ...] = ()

    @model_validator(mode="after")
    def _headers_are_of_their_kind(self) -> ModelFacts:
        if self.gguf is not None and self.kind != "gguf":
            raise ValueError(f"has headers of GGUF files, and is of the kind {self.kind}")
        return self

    @property
    def in_own_format(self) -> bool:
        """Whether it is served in Mistral's own format, by params.json: weights of the other have no such names."""
        return any(file.path.startswith("consolidated") for file in self.weights)

    def tensors_of(self) -> tuple[TensorKind, ...]:
        """Its tensors; none where no header was read."""
        return () if self.tensors is None else self.tensors.kinds

    @property
    def is_pinned(self) -> bool:
        """Whether `commit` is a full hash that the Hub resolves."""
        return self.commit is not None and FULL_COMMIT.fullmatch(self.commit) is not None


def format_of(facts: ModelFacts) -> Format:
    """In which a model's weights are."""
    return "gguf" if facts.kind == "gguf" else "safetensors"


class LockedService(LockModel):
    """What the spec asked for a service, and the repositories that answer it.

    Attributes:
        model: as the spec names it.
        quantization: methods in order of preference, as the spec has them.
        publishers: the policy's trusted publishers when candidates were searched, sorted.
        candidates: keys of `Lock.models`, sorted; which one is served is decided when compiling.
        unread: repositories that the Hub lists as quantized from the model and that were not read, because nobody
            trusts their publisher; sorted, and no more than MAX_UNREAD.
        unreadable: repositories by trusted publishers that were asked for and could not be judged, with the reason; no
            more than MAX_UNREAD.
        renamed: the name by which the Hub answers for `model`, where it is another one.
        adapters: keys of `Lock.models` of its adapters, by the models that the spec names for them.
        draft: the model that drafts beside it, as the spec names it; None where none does.
        draft_key: its key of `Lock.models`.
    """

    model: ModelKey
    quantization: tuple[Text, ...]
    publishers: tuple[Text, ...] = ()
    candidates: tuple[ModelKey, ...] = Field(min_length=1)
    unread: tuple[RepositoryName, ...] = ()
    unreadable: dict[ModelKey, Text] = Field(default_factory=dict)
    renamed: RepositoryName | None = None
    adapters: dict[ModelKey, ModelKey] = Field(default_factory=dict)
    draft: ModelKey | None = None
    draft_key: ModelKey | None = None

    @model_validator(mode="after")
    def _draft_has_a_key(self) -> LockedService:
        if (self.draft is None) != (self.draft_key is None):
            raise ValueError("has a draft without its key, or a key without a draft")
        return self

    @model_validator(mode="after")
    def _candidates_are_trusted(self) -> LockedService:
        """A candidate is the model, or by its publisher or a trusted one: nobody else's is ever searched."""
        own = {publisher_of(self.model), publisher_of(self.renamed or "")}
        trusted = own.union(publisher.lower() for publisher in self.publishers)
        for candidate in self.candidates:
            if repository_of(candidate) == self.model:
                continue
            if candidate.startswith("/") or self.model.startswith("/"):
                raise ValueError(f"{candidate} is a candidate for {self.model}, and one of them is a folder")
            if publisher_of(self.model) and publisher_of(repository_of(candidate)) not in trusted:
                raise ValueError(f"{candidate} is a candidate for {self.model}, and nobody trusts its publisher")
        return self


class LockedImage(LockModel):
    """What a registry answered for an image's tag.

    Attributes:
        digest: of what is pulled.
        read: the UTC day on which it answered.
        by: the program that asked.
    """

    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    read: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    by: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]


# As it is pulled, by name and tag; one with a digest needs no lock.
ImageTag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:-]{0,255}$")]


class Lock(LockModel):
    """A whole lock file.

    Attributes:
        schema_version: of the file, `schema` in it.
        services: what the spec asked for each, and what answers it.
        models: facts of each, by repository, branch or folder.
        images: those whose digest was asked for, by the reference that the plan names.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    services: dict[Text, LockedService]
    models: dict[ModelKey, ModelFacts]
    images: dict[ImageTag, LockedImage] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _candidates_have_facts(self) -> Lock:
        for name, service in self.services.items():
            drafts = () if service.draft_key is None else (service.draft_key,)
            for candidate in (*service.candidates, *drafts):
                if candidate not in self.models:
                    raise ValueError(f"service {name} has the candidate {candidate}, which is not among the models")
            for adapter in service.adapters.values():
                if adapter not in self.models or self.models[adapter].adapter is None:
                    raise ValueError(f"service {name} has the adapter {adapter}, which is none of the models")
        return self

    @model_validator(mode="after")
    def _folders_are_folders(self) -> Lock:
        for key, facts in self.models.items():
            if key.startswith("/") and facts.source != FOLDER:
                raise ValueError(f"{key} comes from {facts.source}")
        return self
