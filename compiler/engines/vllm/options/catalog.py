"""The options of `vllm serve` by release: `VERSION/flags.json`, extracted from vLLM's own parser.

`tools/extract_flags.py` writes it.
"""

from __future__ import annotations

from functools import cache

from compiler.engines.common.options import FlagCatalog, Removal, read_flags
from compiler.engines.vllm.releases.data import read_release_file

_PULL = "https://github.com/vllm-project/vllm/pull"
_SWAP = Removal(
    text="vLLM 0.18.0 removed it, because nothing was ever swapped",
    replacements=("--kv-offloading-size", "--cpu-offload-gb"),
    source=f"{_PULL}/36216",
)
_ROPE = Removal(
    text="write it inside hf-overrides, as the model's config.json has it",
    replacements=("--hf-overrides",),
    source=f"{_PULL}/28006",
)
_GUIDED = Removal(
    text="write it inside structured-outputs-config",
    replacements=("--structured-outputs-config",),
    source=f"{_PULL}/22772",
)
_TASK = Removal(
    text="use runner, and convert to adapt a generative model",
    replacements=("--runner", "--convert"),
    source="vllm/utils/argparse_utils.py:FlexibleArgumentParser.error, 0.33.0",
)
_REASONING = Removal(
    text="naming a reasoning parser is enough", replacements=("--reasoning-parser",), source=f"{_PULL}/18404"
)

REMOVED = {
    "--swap-space": _SWAP,
    "--rope-scaling": _ROPE,
    "--rope-theta": _ROPE,
    "--guided-decoding-backend": _GUIDED,
    "--guided-decoding-disable-additional-properties": _GUIDED,
    "--guided-decoding-disable-any-whitespace": _GUIDED,
    "--guided-decoding-disable-fallback": _GUIDED,
    "--task": _TASK,
    "--enable-reasoning": _REASONING,
}


@cache
def load_flags(version: str) -> FlagCatalog:
    """The options of a vLLM release in the catalog.

    Raises:
        FileNotFoundError: the catalog does not have this version.
    """
    data = read_release_file(version, "flags.json")
    return read_flags(data["vllm"], data["flags"], REMOVED)
