"""What a release can run on a device: the schemes of its module, and each method's own terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.vllm.judge.schemes import schemes_of
from compiler.engines.vllm.kernels.attention import attention_refusal, cpu_attention_refusal
from compiler.engines.vllm.kernels.kept import cache_flag
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.engines.vllm.releases.quantization import PLUGINS, Capability, Scheme
from compiler.engines.vllm.releases.release import Release


def why_not_served(
    method: str | None,
    block: Mapping[str, Any] | None,
    *,
    release: Release,
    capability: Capability | None,
    dtype: str | None,
) -> str | None:
    """Why the release cannot run a checkpoint quantized like this on this device; None if it can.

    Args:
        method: as the checkpoint spells it; None for an unquantized one.
        block: the checkpoint's own quantization block.
        capability: of the GPU; None on a CPU.
        dtype: that activations would have; None where it is not known.
    """
    if method is None or block is None:
        return None
    reasons = (_scheme_refusal(name, release, capability, dtype) for name in schemes_of(method, block))
    return next((reason for reason in (*reasons, *_own_refusals(method, block)) if reason is not None), None)


def is_weight_only(
    method: str | None, block: Mapping[str, Any] | None, *, release: Release, capability: Capability | None
) -> bool:
    """Whether a format that some GPUs compute in is only unpacked on this one."""
    if method is None or block is None or capability is None:
        return False
    rows = [release.schemes.get(name) for name in schemes_of(method, block)]
    return any(row is not None and bool(row.native) and not row.is_native(capability) for row in rows)


def _scheme_refusal(name: str, release: Release, capability: Capability | None, dtype: str | None) -> str | None:
    scheme = release.schemes.get(name)
    if scheme is None:
        return _unknown(name, release)
    if scheme.flag is not None:
        return f"{scheme.title} is deprecated in vLLM {release.version}, which refuses it without `{scheme.flag}`"
    if capability is not None and (refusal := _capability_refusal(scheme, capability)) is not None:
        return refusal
    if dtype is not None and dtype not in scheme.dtypes:
        return f"{scheme.title} is served with {' or '.join(scheme.dtypes)} activations only, here they are {dtype}"
    return None


def _unknown(name: str, release: Release) -> str:
    if name in PLUGINS:
        return (
            f"vLLM {release.version} reads {name} only with the plugin {PLUGINS[name]}, which stackc does not install"
        )
    if release.build == "cpu" and any(name in each.schemes for each in RELEASES.values()):
        return f"vLLM {release.version} has no {name} kernels for the CPU"
    return f"vLLM {release.version} does not know the quantization method `{name}`"


def _capability_refusal(scheme: Scheme, capability: Capability) -> str | None:
    if capability < scheme.capability:
        return (
            f"{scheme.title} needs compute capability {_dotted(scheme.capability)}, this GPU has {_dotted(capability)}"
        )
    if scheme.below is not None and capability >= scheme.below:
        return f"{scheme.title} has no kernels from compute capability {_dotted(scheme.below)} on, {_this(capability)}"
    return None


def _this(capability: Capability) -> str:
    return f"this GPU has {_dotted(capability)}"


def _own_refusals(method: str, block: Mapping[str, Any]) -> Iterator[str]:
    """What the method's own configuration class refuses whatever the GPU."""
    terms = {
        "awq": _awq_refusals,
        "gptq": _gptq_refusals,
        "compressed-tensors": _compressed_refusals,
        "modelopt": _modelopt_refusals,
    }
    known: Callable[[Mapping[str, Any]], Iterator[str]] | None = terms.get(method)
    if known is not None:
        yield from known(block)


def _modelopt_refusals(block: Mapping[str, Any]) -> Iterator[str]:
    """A sidecar is taken for ModelOpt's by its producer alone.

    See vllm/transformers_utils/model_arch_config_convertor.py:_normalize_quantization_config.
    """
    inner, producer = block.get("quantization"), block.get("producer")
    named = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    if isinstance(block.get("quant_method"), str) or not isinstance(inner, Mapping):
        return
    if not named and "modelopt_quant_config" not in inner:
        yield "hf_quant_config.json does not name modelopt as its producer, so vLLM takes the weights for unquantized"


def _awq_refusals(block: Mapping[str, Any]) -> Iterator[str]:
    """auto_awq.py:AutoAWQConfig."""
    bits = block.get("w_bit", block.get("bits"))
    if isinstance(bits, int) and bits != 4:  # noqa: PLR2004
        yield f"AWQ is served with 4 bits only, this checkpoint has {bits}"
    version = str(block.get("version", "gemm")).lower()
    if version in ("gemv", "gemv_fast", "marlin"):
        yield f"AWQ is served as version gemm only, this checkpoint is packed as {version}"
    if block.get("zero_point") is None:
        yield "AWQ is not served where the checkpoint does not state `zero_point`"


def _gptq_refusals(block: Mapping[str, Any]) -> Iterator[str]:
    """auto_gptq.py:AutoGPTQConfig and utils/gptq_utils.py:normalize_and_validate_gptq_desc_act."""
    bits, size, ordered = block.get("bits"), block.get("group_size"), block.get("desc_act")
    if isinstance(bits, int) and bits not in (4, 8):
        yield f"GPTQ is served with 4 or 8 bits only, this checkpoint has {bits}"
    if block.get("sym") is False:
        yield "asymmetric GPTQ (`sym: false`) is not served"
    if ordered is True and size != -1:
        yield "GPTQ with activation ordering over groups (`desc_act: true` with a group size) is not served"
    if block.get("checkpoint_format") == "marlin" or block.get("is_marlin_format") is True:
        yield "GPTQ weights that were repacked for Marlin are not served, vLLM repacks by itself"
    missing = [f"`{key}`" for key in ("sym", "desc_act") if block.get(key) is None]
    if missing:
        yield f"GPTQ is not served where the checkpoint does not state {' and '.join(missing)}"
    dynamic = block.get("dynamic")
    for pattern, rule in dynamic.items() if isinstance(dynamic, Mapping) else ():
        applies = isinstance(rule, Mapping) and not str(pattern).startswith("-:")
        if applies and rule.get("desc_act", ordered) and rule.get("group_size", size) != -1:
            yield "GPTQ with activation ordering over groups (a rule of `dynamic`) is not served"


def _compressed_refusals(block: Mapping[str, Any]) -> Iterator[str]:
    """compressed_tensors.py:_get_scheme_from_parts serves weight-only integers in one format."""
    form = block.get("format")
    if "wna16" in schemes_of("compressed-tensors", block) and form not in ("pack-quantized", "mixed-precision", None):
        yield f"compressed-tensors WNA16 is served in the format pack-quantized only, not in {str(form)[:40]}"


def why_not_wrapped(name: str, method: str | None, release: Release) -> str | None:
    """Why transformers' model code cannot run a checkpoint of this method; None if it can or is not asked.

    See vllm/model_executor/models/transformers/base.py:Base.__init__ of 0.33.0.
    """
    if method != "mxfp4" or not load_registry(release.version).wraps(name):
        return None
    return f"vLLM {release.version} runs {name} through transformers' model code, and no MXFP4 weights there"


def why_not_attended(
    architecture: Architecture, quantization: Quantization | None, capability: Capability | None
) -> str | None:
    """Why no attention backend runs a checkpoint on this GPU with the KV cache that vLLM gives it; None if one does."""
    if capability is None:
        return cpu_attention_refusal(architecture)
    return attention_refusal(
        architecture,
        capability=capability,
        served_dtype=served_dtype(architecture.checkpoint_dtype, bfloat16_runs=capability >= (8, 0)),
        kv_cache_dtype=cache_flag(quantization),
    )


def fp8_cache_refusal(capability: Capability | None, architecture: Architecture) -> str | None:
    """Why an fp8 KV cache cannot be served here; None if it can (compiler/engines/vllm/kernels/attention.py)."""
    if capability is None:
        return "the CPU build is not compiled for here with an fp8 KV cache"
    dtype = served_dtype(architecture.checkpoint_dtype, bfloat16_runs=capability >= (8, 0))
    return attention_refusal(architecture, capability=capability, served_dtype=dtype, kv_cache_dtype="fp8")


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))
