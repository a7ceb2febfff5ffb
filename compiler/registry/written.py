"""A row put into a user's `models.yaml`: comments, order and all that the file says stay as they are."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

# A list that stands right below its key, where ruamel would indent it.
_FLUSH = re.compile(r"^models:[^\n]*\n(?:\s*#[^\n]*\n|\s*\n)*- ", re.MULTILINE)
_WIDTH = 120
_MOST_ON_A_LINE = 6


class NotAFileOfModelsError(ValueError):
    """The text has no list of models that a row could be put into."""


def with_row(text: str, row: Mapping[str, Any]) -> str:
    """The text of a file with one more model; of one that it describes already, with the keys that it lacks.

    Args:
        text: of the file so far; empty where there is none.
        row: with an `id`.

    Raises:
        NotAFileOfModelsError: it is no YAML, no map, or its `models` are no list.
    """
    yaml = _yaml(text)
    try:
        data = yaml.load(text) if text.strip() else CommentedMap()
    except (YAMLError, RecursionError) as error:
        raise NotAFileOfModelsError("it is not valid YAML") from error
    data = CommentedMap() if data is None else data
    if not isinstance(data, dict):
        raise NotAFileOfModelsError("it is no map")
    models = data.get("models")
    if models is None:
        models = data["models"] = CommentedSeq()
    if not isinstance(models, list):
        raise NotAFileOfModelsError("its `models` are no list")
    _put(models, row)
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _put(models: list[Any], row: Mapping[str, Any]) -> None:
    known = next((each for each in models if isinstance(each, dict) and each.get("id") == row["id"]), None)
    if known is None:
        models.append(CommentedMap({key: _plain(value) for key, value in row.items()}))
        return
    for key, value in row.items():
        known.setdefault(key, _plain(value))


def _plain(value: Any) -> Any:
    """Lists and short maps on one line, as people write them."""
    if isinstance(value, dict) and len(value) > _MOST_ON_A_LINE:
        return CommentedMap({key: _plain(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        flow: Any = CommentedSeq(value)
        flow.fa.set_flow_style()
        return flow
    if isinstance(value, dict):
        flow = CommentedMap(value)
        flow.fa.set_flow_style()
        return flow
    return value


def _yaml(text: str) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    if _FLUSH.search(text) is None:
        yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
