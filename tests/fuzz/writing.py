"""Data as text, in the forms in which stackc may meet it."""

from __future__ import annotations

import json
import random
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from compiler.lock import text as lock_text


def as_yaml(rng: random.Random, data: Any) -> str:
    """Mostly JSON, which is YAML too, on one line or many; now and then blocks."""
    if rng.random() < 0.7:
        text = json.dumps(data, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)), default=str)
        return text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")
    buffer = StringIO()
    try:
        YAML(typ="safe", pure=True).dump(data, buffer)
    except (YAMLError, ValueError, TypeError, RecursionError):
        return json.dumps(data, default=str)
    return buffer.getvalue()


def as_lock(rng: random.Random, data: Any) -> str:
    """Mostly in the lock's own form, so that its own reader is tried too."""
    if isinstance(data, dict) and rng.random() < 0.7:
        try:
            return lock_text.format_document(data)
        except (TypeError, ValueError, RecursionError, AttributeError):
            pass
    return as_yaml(rng, data)


def as_json(data: Any) -> bytes:
    """JSON as Python writes it, with NaN and halves of characters."""
    return json.dumps(data, default=str).encode("utf-8", "surrogatepass")


def as_header(tensors: Any) -> bytes:
    """The start of a safetensors file."""
    text = as_json(tensors)
    return len(text).to_bytes(8, "little") + text
