"""Streaming multiprocessors of each card: what the context, kernels' stacks and per-processor buffers grow with.

CUDA cores by NVIDIA's data sheets, over 64 a multiprocessor (compute capability 7.x, 8.0) or 128 (all later ones; see
the CUDA C++ Programming Guide, "Compute Capabilities"). `multi_processor_count` of torch's device properties agrees in
public output of the RTX 3060, 3090 and 5090, A10G, A40, L40S, H20, H100 PCIe and SXM, B200 and GB200. Where a card is
sold with parts of its chip switched off and no such output was found (B300, GB300), the whole chip is counted.
"""

from __future__ import annotations

MULTIPROCESSORS = {
    "rtx-2080-ti": 68, "rtx-3060-12gb": 28, "rtx-3070": 46, "rtx-3080-10gb": 68, "rtx-3080-12gb": 70,
    "rtx-3080-ti": 80, "rtx-3090": 82, "rtx-3090-ti": 84, "rtx-4060": 24, "rtx-4060-ti-16gb": 34, "rtx-4070": 46,
    "rtx-4070-super": 56, "rtx-4070-ti": 60, "rtx-4070-ti-super": 66, "rtx-4080": 76, "rtx-4080-super": 80,
    "rtx-4090": 128, "rtx-5060-ti-16gb": 36, "rtx-5070": 48, "rtx-5070-ti": 70, "rtx-5080": 84, "rtx-5090": 170,
    "quadro-rtx-6000": 72, "quadro-rtx-8000": 72, "a2000-12gb": 26, "a4000": 48, "a4500": 56, "a5000": 64, "a6000": 84,
    "rtx-2000-ada": 22, "rtx-4000-ada": 48, "rtx-4500-ada": 60, "rtx-5000-ada": 100, "rtx-6000-ada": 142,
    "rtx-pro-4000": 70, "rtx-pro-4500": 82, "rtx-pro-5000": 110, "rtx-pro-6000": 188, "t4": 40, "v100-16gb": 80,
    "v100-32gb": 80, "a10": 72, "a10g": 80, "a30": 56, "a40": 84, "l4": 58, "l40": 142, "l40s": 142, "a100-40gb": 108,
    "a100-80gb": 108, "h100-80gb": 132, "h100-pcie": 114, "h100-nvl": 132, "h20": 78, "gh200-96gb": 132, "h200": 132,
    "h200-nvl": 132, "b200": 148, "gb200": 152, "b300": 160, "gb300": 160, "gb10": 48, "mi300x": 304,
}  # fmt: skip
"""By catalog name."""
