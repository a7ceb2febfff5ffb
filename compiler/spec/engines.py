"""Which engines a spec pins, which of them runs a service, and the words that each engine has for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from compiler.spec.base import ImageReference, SpecModel
from compiler.spec.nodes.devices import DeviceWord

EngineName = Literal["vllm", "llama.cpp"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
VLLM, LLAMA_CPP = ENGINE_NAMES

# What an engine takes for a key is its own matter; a word for it has this form, whatever the engine.
_WORD = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"


def _word_schema(*known: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"enum": list(known)}, {"type": "string", "pattern": _WORD}]})


def _known_to_engine(key: str) -> BeforeValidator:
    """Asks the service's engine for its words, where engines are the context of the validation."""

    def read(value: object, info: ValidationInfo) -> object:
        engines, name = info.context or {}, info.data.get("engine")
        if name in engines and value not in engines[name].words[key].known:
            raise PydanticCustomError("engine_word", "is no word of its engine", {})
        return value

    return BeforeValidator(read)


QuantizationWord = Annotated[
    str,
    StringConstraints(pattern=_WORD),
    _known_to_engine("quantization"),
    _word_schema("auto", "none", "awq", "gptq", "fp8", "int8", "compressed-tensors"),
]
"""A method of vLLM's, or a file type of llama.cpp's such as `Q4_K_M`."""

CacheWord = Annotated[
    str,
    StringConstraints(pattern=_WORD),
    _known_to_engine("kv_cache_dtype"),
    _word_schema("auto", "fp8", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"),
]
"""How wide the numbers of a KV cache are: of vLLM's the first two, the others of llama.cpp's."""


CalibrationPath = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class LlamaCppSpec(SpecModel):
    """Which llama.cpp runs.

    Attributes:
        release: its build, such as b10434.
        image: of its container, instead of the default one, best as `repository@sha256:…`.
        calibration: a file of `stackc calibrate`, relative to the spec, in place of estimates of llama.cpp.
    """

    release: str
    image: ImageReference | None = None
    calibration: CalibrationPath | None = None


class VllmSpec(SpecModel):
    """Which vLLM runs.

    Attributes:
        release: such as 0.33.0; where a stack has GPUs and nodes without, that for GPUs.
        cpu: the release on nodes without GPUs, such as 0.32.0, where others have them: one build serves on one kind.
        cpu_image: of the container there; `image` is that of nodes with GPUs.
    """

    release: str
    cpu: str | None = None
    cpu_image: ImageReference | None = None


def _as_record(value: object) -> object:
    return value if isinstance(value, dict | SpecModel) else {"release": value}


_Vllm = Annotated[VllmSpec | None, BeforeValidator(_as_record, json_schema_input_type=str | VllmSpec)]
_LlamaCpp = Annotated[LlamaCppSpec | None, BeforeValidator(_as_record, json_schema_input_type=str | LlamaCppSpec)]
# What a schema says of `_names_an_engine`.
_NAMED: list[Any] = [{"required": [name]} for name in ENGINE_NAMES]


class EngineSpec(SpecModel):
    """Which engines run, each in one release. Services run on the first that is named, unless they name one.

    Attributes:
        vllm: its release: 0.33.0 for GPUs, 0.32.0 for CPUs; {release: …, cpu: …} where a stack has both.
        llama_cpp: its build, such as b10434, or {release: …, image: …, calibration: …}.
        image: of vLLM's container, instead of the default one, best as `repository@sha256:…`.
        calibration: a file of `stackc calibrate`, relative to the spec, in place of the catalogue's estimates of vLLM.
    """

    model_config = ConfigDict(json_schema_extra={"allOf": [{"anyOf": _NAMED}]})

    vllm: _Vllm = None
    llama_cpp: _LlamaCpp = Field(default=None, alias="llama.cpp")
    image: ImageReference | None = None
    calibration: CalibrationPath | None = None

    @model_validator(mode="after")
    def _names_an_engine(self) -> Self:
        if not self.releases:
            raise PydanticCustomError("no_engine", "names no engine", {})
        return self

    @property
    def releases(self) -> Mapping[EngineName, str]:
        """The release of each engine that is named; of two builds the one for GPUs."""
        return dict(self._releases())

    @property
    def cpu_releases(self) -> Mapping[EngineName, str]:
        """Releases on nodes without GPUs, of engines that have others there."""
        return {VLLM: self.vllm.cpu} if self.vllm is not None and self.vllm.cpu is not None else {}

    def release_on(self, name: EngineName, device: DeviceWord | None) -> str | None:
        """The release of an engine on a kind of device; None where the spec pins none."""
        cpu = self.cpu_releases.get(name) if device == "cpu" else None
        return cpu or self.releases.get(name)

    def image_of(self, name: str, *, on_cpu: bool = False) -> str | None:
        """The image that the spec gives an engine."""
        if on_cpu and self.vllm is not None and name in self.cpu_releases:
            return self.vllm.cpu_image
        if name == LLAMA_CPP:
            return self.llama_cpp.image if self.llama_cpp is not None else None
        return self.image

    @property
    def calibrations(self) -> Mapping[str, str]:
        """The file that is named for each engine, whether or not that engine is pinned."""
        of_llama_cpp = self.llama_cpp.calibration if self.llama_cpp is not None else None
        named = {VLLM: self.calibration, LLAMA_CPP: of_llama_cpp}
        return {engine: path for engine, path in named.items() if path is not None}

    def _releases(self) -> Iterator[tuple[EngineName, str]]:
        if self.vllm is not None:
            yield VLLM, self.vllm.release
        if self.llama_cpp is not None:
            yield LLAMA_CPP, self.llama_cpp.release


def calibration_key(engine: str) -> tuple[str, ...]:
    """Where a spec names the calibration of an engine."""
    return ("engine", "calibration") if engine == VLLM else ("engine", engine, "calibration")


def first_engine(data: Any) -> EngineName | None:
    """The engine that a spec's plain data names first; None where it names none that is known."""
    engine = data.get("engine") if isinstance(data, Mapping) else None
    named = engine if isinstance(engine, Mapping) else {}
    return next((name for name in named if name in ENGINE_NAMES), None)


def engine_by_default(data: Any, service: Any) -> EngineName | None:
    """The engine of a service that names none: llama.cpp for a model whose name says GGUF, else the first."""
    engine = data.get("engine") if isinstance(data, Mapping) else None
    model = service.get("model") if isinstance(service, Mapping) else None
    is_gguf = isinstance(model, str) and model.lower().endswith(_GGUF)
    return LLAMA_CPP if is_gguf and isinstance(engine, Mapping) and LLAMA_CPP in engine else first_engine(data)


# As converters name repositories, and the format its files.
_GGUF = ("-gguf", ".gguf")


def with_engines(data: Any) -> Any:
    """A spec's plain data in which each service says which engine runs it."""
    services = data.get("services") if isinstance(data, Mapping) else None
    if first_engine(data) is None or not isinstance(services, Mapping):
        return data
    said = {
        name: {"engine": engine_by_default(data, service)} | dict(service) if isinstance(service, Mapping) else service
        for name, service in services.items()
    }
    return {**data, "services": said}
