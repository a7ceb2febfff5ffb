"""What is known of a repository beside its files: its card, its gate, its commit, and what of all that is sure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from compiler.lock.models import FOLDER, FULL_COMMIT, Unconfirmed
from compiler.resolve.answers import ListedFile, Repository, plain
from compiler.resolve.transport.endpoint import LOOPBACK

_RELATIONS = ("quantized", "finetune", "adapter", "merge")
_RELATION = re.compile(rf"base_model:(?P<relation>{'|'.join(_RELATIONS)}):(?P<base>.+)")


def card_fields(repository: Repository) -> dict[str, Any]:
    """Fields of `ModelFacts` that say nothing of files."""
    return {
        "source": repository.source,
        "branch": repository.branch,
        "commit": repository.commit if _is_commit(repository.commit) else None,
        "license": _license(repository),
        "gated": repository.gated,
        "base_models": _base_models(repository),
        "base_relation": _relation(repository.tags),
        "pipeline_tag": plain(repository.pipeline_tag) if repository.pipeline_tag else None,
    }


def unconfirmed_facts(
    repository: Repository, weights: Iterable[ListedFile], *, chat_template: bool = True, tensors: bool = True
) -> tuple[Unconfirmed, ...]:
    """Facts that the source did not give exactly; of two only the reader of files knows."""
    holds: dict[Unconfirmed, bool] = {
        "chat_template": chat_template,
        "commit": repository.source == FOLDER or FULL_COMMIT.fullmatch(repository.commit or "") is not None,
        # A Hub on this machine replays a recording: its word is not the Hub's.
        "config": repository.source != LOOPBACK,
        "files": repository.files is not None and all(file.size is not None for file in weights),
        # Where the Hub names no licence there is none; a recording may only lack it.
        "license": _license(repository) is not None or repository.source != LOOPBACK,
        "tensors": tensors,
    }
    return tuple(fact for fact, is_sure in holds.items() if not is_sure)


def _is_commit(commit: str | None) -> bool:
    return commit is not None and re.fullmatch(r"[0-9a-f]{7,40}", commit, re.ASCII) is not None


def _license(repository: Repository) -> str | None:
    found = repository.license or next(
        (tag.removeprefix("license:") for tag in repository.tags if tag.startswith("license:")), None
    )
    if found == "other" and repository.license_name:
        found = repository.license_name
    return plain(found) if found and found != "unknown" else None


def _relation(tags: tuple[str, ...]) -> str | None:
    found = {match["relation"] for tag in tags if (match := _RELATION.fullmatch(tag))}
    return next((relation for relation in _RELATIONS if relation in found), None)


def _base_models(repository: Repository) -> tuple[str, ...]:
    tagged = {plain(match["base"]) for tag in repository.tags if (match := _RELATION.fullmatch(tag))}
    return tuple(sorted({plain(name) for name in repository.base_models} | tagged))
