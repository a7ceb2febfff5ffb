"""What vLLM makes of a params.json. Runs inside `.engine/`.

Reads a JSON list of pairs from stdin: params.json, and config.json whose keys are the defaults. Prints a JSON list of
the configurations, or of null where it refuses one.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main() -> None:
    """Answer all questions."""
    adapt = importlib.import_module("vllm.transformers_utils.configs.mistral").adapt_config_dict
    sys.stdout.write(json.dumps([_answer(adapt, *pair) for pair in json.load(sys.stdin)]) + "\n")


def _answer(adapt: Any, params: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any] | None:
    try:
        config = adapt(params, defaults)
    except (AssertionError, ValueError):
        return None
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    # Printed is the type of the object's class, which has none.
    found["model_type"] = config.model_type
    if "text_config" in found:
        found["text_config"]["model_type"] = config.text_config.model_type
    return found


if __name__ == "__main__":
    main()
