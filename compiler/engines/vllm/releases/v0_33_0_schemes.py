"""How vLLM 0.33.0 stores the weights of quantized checkpoints.

Paths are below vllm/model_executor/layers/quantization/ unless they start with `vllm/`.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.vllm.releases.quantization import ANY_DTYPE, Scheme

_BFLOAT16 = ("bfloat16",)
_ANY_FROM = (99, 0)
_FP8_CORES = (((8, 9), _ANY_FROM),)
_FP4_CORES = (((10, 0), (11, 0)), ((12, 0), (13, 0)))
_DEPRECATED = "--allow-deprecated-quantization"

_CT = "compressed_tensors/schemes/compressed_tensors_"

SCHEMES: Mapping[str, Scheme] = {
    # Integers, weight-only: Marlin, which starts at 7.5 although some of the classes name less.
    "awq": Scheme("AWQ", "auto_awq.py", (7, 5)),
    "gptq": Scheme("GPTQ", "auto_gptq.py; Marlin in vllm/model_executor/kernels/linear/mixed_precision", (7, 5)),
    "wna16": Scheme("compressed-tensors WNA16", f"{_CT}wNa16.py", (7, 5), dtypes=ANY_DTYPE),
    "inc": Scheme("AutoRound", "inc/inc.py; its GPTQ and AWQ layers run in Marlin", (7, 5)),
    "moe_wna16": Scheme("WNA16 experts", "moe_wna16.py", (7, 5)),
    # Integers, weights and activations.
    "int8": Scheme(
        "compressed-tensors INT8 W8A8",
        # is_supported of the CUTLASS kernel never declines, and its code has no INT8 from 10.0 on: the server stops
        # with "Int8 not supported on SM120" (vllm-project/vllm#54311).
        f"{_CT}w8a8_int8.py; vllm/model_executor/kernels/linear/scaled_mm/cutlass.py",
        (7, 5),
        below=(10, 0),
        native=(((7, 5), (10, 0)),),
        dtypes=ANY_DTYPE,
    ),
    "w4a8-fp8": Scheme(
        "compressed-tensors W4A8-FP8",
        f"{_CT}w4a8_fp8.py; _is_fp8_w4a8_sm90 matches 9.0 only",
        (9, 0),
        below=(9, 1),
        native=(((9, 0), (9, 1)),),
        dtypes=ANY_DTYPE,
    ),
    "experts_int8": Scheme("INT8 experts", "experts_int8.py", (8, 0)),
    # FP8: W8A8 from 8.9, weight-only Marlin from 7.5.
    "fp8": Scheme("FP8", "fp8.py", (7, 5), native=_FP8_CORES),
    "ct-fp8": Scheme("compressed-tensors FP8", f"{_CT}w8a{{8,16}}_fp8.py", (7, 5), native=_FP8_CORES, dtypes=ANY_DTYPE),
    "modelopt": Scheme("ModelOpt FP8", "modelopt.py:ModelOptFp8Config", (8, 0), native=_FP8_CORES),
    "deepseek_v4_fp8": Scheme("DeepSeek V4 FP8", "vllm/models/deepseek_v4", (9, 0), native=_FP8_CORES),
    "fbgemm_fp8": Scheme("FBGEMM FP8", "fbgemm_fp8.py", (8, 0), native=_FP8_CORES, flag=_DEPRECATED),
    # Microscaling formats take bfloat16 activations only, so nothing before 8.0 runs them.
    "mxfp8": Scheme("MXFP8", "modelopt.py:ModelOptMxFp8Config", (8, 0), native=_FP4_CORES, dtypes=_BFLOAT16),
    "ct-mxfp8": Scheme("compressed-tensors MXFP8", f"{_CT}w8a8_mxfp8.py", (8, 0), native=_FP4_CORES, dtypes=_BFLOAT16),
    "mxfp4": Scheme("MXFP4", "mxfp4.py", (8, 0), dtypes=_BFLOAT16),
    "ct-mxfp4": Scheme("compressed-tensors MXFP4", f"{_CT}w4a4_mxfp4.py", (8, 0), native=_FP4_CORES, dtypes=_BFLOAT16),
    # NVFP4: W4A4 on Blackwell's FP4 cores, weight-only elsewhere.
    "modelopt_fp4": Scheme("ModelOpt NVFP4", "modelopt.py:ModelOptNvFp4Config", (7, 5), native=_FP4_CORES),
    "ct-nvfp4": Scheme("compressed-tensors NVFP4", f"{_CT}w4a4_nvfp4.py", (7, 5), native=_FP4_CORES, dtypes=ANY_DTYPE),
    "modelopt_mixed": Scheme("ModelOpt mixed precision", "modelopt.py:ModelOptMixedPrecisionConfig", (7, 5)),
    "fp_quant": Scheme("FP-Quant", "fp_quant.py", (10, 0), native=_FP4_CORES, dtypes=_BFLOAT16, flag=_DEPRECATED),
    # Toolkits with many schemes of their own; the release's general gate stands here.
    "quark": Scheme("Quark", "quark/quark.py", (7, 5)),
    "torchao": Scheme("torchao", "torchao.py", (7, 5), dtypes=ANY_DTYPE),
    "humming": Scheme("Humming", "humming.py", (7, 5)),
}  # fmt: skip
