"""Forms of the names that a lock holds: those that the Hub gives out, and nothing that a program could take otherwise.

A lock comes by pull request, and a Hub's answer from strangers: both are held against the same forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

# C0, C1 and bidirectional controls, and what no encoding has: text must not be able to move a terminal's cursor.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

# huggingface_hub/utils/_validators.py:validate_repo_id, for ASCII.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"(?:{_PART}/)?{_PART}", re.ASCII)
_LONGEST_REPOSITORY = 96
# git-check-ref-format, less what a shell or an URL reads as more than a letter.
_BRANCH = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,98}[A-Za-z0-9])?", re.ASCII)
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]{0,255}", re.ASCII)
_LONGEST_FILE = 255
_LONGEST_PATH = 1024


def is_repository(name: str) -> bool:
    """Whether a repository of the Hub can be called so."""
    is_name = len(name) <= _LONGEST_REPOSITORY and _REPOSITORY.fullmatch(name) is not None
    return is_name and ".." not in name and "--" not in name and not name.endswith(".git")


def publisher_of(name: str) -> str:
    """The part before the slash, in lower case as the Hub compares it; empty for the Hub's oldest names."""
    return name.rpartition("/")[0].lower()


def is_branch(name: str) -> bool:
    """Whether a branch beside `main` can be called so, and the name is safe wherever it is written."""
    parts = name.split("/")
    return (
        name != "main"
        and _BRANCH.fullmatch(name) is not None
        and ".." not in name
        and not any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
    )


def is_model(key: str) -> bool:
    """Whether a key of a lock's models has the form of one: a folder, a repository, a branch of one, or a file."""
    place, hash_sign, file = key.partition("#")
    if hash_sign and not (len(file) <= _LONGEST_PATH and is_path(file)):
        return False
    if place.startswith("/"):
        return _FOLDER.fullmatch(place) is not None
    name, at, branch = place.partition("@")
    return is_repository(name) and (is_branch(branch) if at else True)


def is_file(name: str) -> bool:
    """Whether a name is that of a file in a folder, and of nothing else."""
    return (
        0 < len(name.encode(errors="replace")) <= _LONGEST_FILE
        and not name.startswith(("-", "."))
        and "/" not in name
        and "\\" not in name
        and is_text(name)
    )


def is_path(path: str) -> bool:
    """Whether a path leads from a repository's root to a file below it."""
    return all(is_file(part) for part in path.split("/"))


def is_text(text: str) -> bool:
    """Whether text is a line that is as it looks."""
    return CONTROL.search(text) is None


def _form(is_right: Callable[[str], bool], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not is_right(value):
            raise PydanticCustomError("form", f"is not {what}")
        return value

    return AfterValidator(check)


RepositoryName = Annotated[str, _form(is_repository, "the name of a repository of the Hub, as `publisher/model`")]
ModelKey = Annotated[
    str,
    _form(is_model, "the name of a repository, `publisher/model@branch`, `publisher/model#file` or an absolute path"),
]
BranchName = Annotated[str, _form(is_branch, "the name of a branch")]
FileName = Annotated[str, _form(is_file, "the plain name of a file")]
FilePath = Annotated[str, _form(is_path, "the path of a file inside its repository")]
Text = Annotated[str, _form(is_text, "a line without control characters")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
