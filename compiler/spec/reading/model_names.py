"""What a spec's `model` may be, and what to write instead of the names that other places have for a model."""

from __future__ import annotations

import re

from compiler.catalog.ollama import hub_name
from compiler.diagnostics import Edit, Help

Path = tuple[str | int, ...]
Advice = tuple[tuple[str, ...], tuple[Help, ...]]

_HUB_URL = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/", re.IGNORECASE)
_HUB_SCHEME = re.compile(r"(?:hf|huggingface)://(?:models/)?", re.IGNORECASE)
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")
_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
# `model:tag`, which is Ollama's; the Hub's names have no colon. With its scheme the tag may be left out.
_OLLAMA = re.compile(r"([a-z][A-Za-z0-9._-]*):([A-Za-z0-9._-]+)")
_OLLAMA_SCHEME = re.compile(r"ollama:(?://)?(?:library/)?([A-Za-z0-9][A-Za-z0-9._/-]*?)(?::([A-Za-z0-9._-]*))?")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_STORES = ("s3://", "gs://", "gcs://", "az://", "oci://", "docker://", "modelscope://", "http://", "https://")


def is_model(name: str) -> bool:
    """Whether it can be a name of the Hub (`organisation/name`) or an absolute path."""
    return name.startswith("/") or (not name.startswith(("./", "../")) and name.count("/") == 1)


def model_message(name: str) -> str:
    """The headline of a finding about a name that is neither."""
    return f"`{name}` is neither a Hub id (organisation/name) nor an absolute path"


def model_advice(name: str, path: Path) -> Advice:
    """Notes and helps for what somebody wrote as the model at `path`."""
    if ollama := _OLLAMA_SCHEME.fullmatch(name):
        return _of_ollama(name, ollama[1], ollama[2] or "")
    if (hub_id := _hub_id(name)) is not None:
        return (), (Help(f"write `{hub_id}`", (Edit(path, hub_id),)),)
    if name.startswith("file://") and _PATH.fullmatch(name.removeprefix("file://")):
        folder = name.removeprefix("file://")
        return (), (Help(f"write `{folder}`", (Edit(path, folder),)),)
    if name.startswith(("~", "$")) or _DRIVE.match(name):
        note = "units and containers have no `~`, no variables and no drives: a path starts with `/`"
        return (note,), (Help("write the path that the folder has on the server, such as `/srv/models/NAME`"),)
    if name.startswith(_STORES):
        note = "models come from the Hub, or from a folder of the server"
        return (note,), (Help("bring its files to the server, and write the path that their folder has there"),)
    if ollama := _OLLAMA.fullmatch(name):
        return _of_ollama(name, ollama[1], ollama[2])
    return (), (Help("write the id as the Hub shows it, or the path that the folder has on the server"),)


def _of_ollama(name: str, model: str, tag: str) -> Advice:
    notes = (
        f"`{name}` is a name of Ollama's library: the Hub's has its organisation before it, as `Qwen/Qwen3-8B`",
        "Ollama serves GGUF files, mostly `Q4_K_M`: with `engine: llama.cpp` a repository of such files is served, "
        "as `Qwen/Qwen3-8B-GGUF` with `quantization: Q4_K_M`",
    )
    words = "+".join(word for word in (*model.split("/"), tag) if word)
    search = f"https://huggingface.co/models?search={words}"
    known = hub_name(name)
    if known is not None:
        gguf = f"https://huggingface.co/models?search={known.rpartition('/')[2]}&library=gguf"
        return notes, (Help(f"write `{known}`, which that is, or for llama.cpp a repository that {gguf} shows"),)
    return notes, (Help(f"write the id that {search} shows, or for llama.cpp one of {search}&library=gguf"),)


def _hub_id(name: str) -> str | None:
    """The id that an address of the Hub, or an id with a tag, a commit or blanks around it, holds."""
    rest = _HUB_SCHEME.sub("", _HUB_URL.sub("", name.strip(), count=1), count=1)
    is_address = rest != name.strip()
    if not is_address:
        rest = re.split(r"[@:]", rest, maxsplit=1)[0]  # organisation/name:tag, and name@commit, which the lock says
    parts = re.split(r"[?#]", rest, maxsplit=1)[0].strip("/").split("/")
    if is_address and parts[0] == "models":
        parts = parts[1:]
    found = "/".join(parts[:2])
    return found if (is_address or len(parts) == 2) and _HUB_ID.fullmatch(found) else None  # noqa: PLR2004
