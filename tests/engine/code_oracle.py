"""Whether vLLM and transformers ask for code of a repository: run by the engine's Python, one question a line.

A question is a config.json, a tokenizer_config.json, and whether there is a tokenizer.json. The answer says for the
configuration and for the tokenizer whether `trust_remote_code` was asked for, or how it ended otherwise.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

_ASKED = ("trust_remote_code=True", "trust-remote-code")


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        answer = _answer(json.loads(line))
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _answer(question: dict[str, Any]) -> dict[str, str]:
    from vllm.tokenizers.registry import get_tokenizer  # noqa: PLC0415  (seconds, and only where the engine is)
    from vllm.transformers_utils.config import get_config  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(question["config"]))
        if question.get("tokenizer"):
            Path(folder, "tokenizer_config.json").write_text(json.dumps(question["tokenizer"]))
        if question.get("tokenizer_json"):
            Path(folder, "tokenizer.json").write_text(json.dumps(_TOKENIZER))
        answer = {"config": _outcome(get_config, folder, trust_remote_code=False)}
        if question.get("tokenizer"):
            answer["tokenizer"] = _outcome(get_tokenizer, folder, trust_remote_code=False)
        return answer


def _outcome(call: Any, *arguments: Any, **options: Any) -> str:
    try:
        call(*arguments, **options)
    except Exception as error:  # any other end is an answer too
        told = f"{error} {error.__cause__}"
        return "asked" if any(word in told for word in _ASKED) else f"{type(error).__name__}: {error}"[:200]
    return "served"


_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
}


if __name__ == "__main__":
    main()
