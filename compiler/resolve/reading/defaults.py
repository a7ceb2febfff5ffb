"""What a checkpoint makes of a request that does not say: its chat template and its sampling parameters."""

from __future__ import annotations

from typing import Any

from compiler.resolve.answers import MalformedError, Reader, Repository, plain
from compiler.resolve.strangers import parse_config, parse_object

TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATES = "additional_chat_templates/"
# Of processors alone, for images or sound (transformers/processing_utils.py:get_processor_dict).
PROCESSOR_TEMPLATE = "chat_template.json"
GENERATION_CONFIG = "generation_config.json"

# Those that the engine takes from generation_config.json (vllm/config/model.py:get_diff_sampling_param, 0.33.0).
_SAMPLING = (
    "frequency_penalty", "max_new_tokens", "min_p", "presence_penalty", "repetition_penalty", "skip_special_tokens",
    "temperature", "top_k", "top_p",
)  # fmt: skip
_LARGEST = 1e9
_DEFAULT = "default"
_MAX_TEMPLATES = 16


def chat_template(repository: Repository, reader: Reader) -> tuple[str | None, tuple[str, ...], bool]:
    """The file that holds the template of a request that names none, names of others, and whether that is sure.

    Templates in files of their own replace all that tokenizer_config.json has
    (transformers/tokenization_utils_base.py:_from_pretrained).
    """
    files = _template_files(repository)
    if not files and repository.files is None and reader.read(CHAT_TEMPLATE):
        files = {_DEFAULT: CHAT_TEMPLATE}
    if files:
        return files.get(_DEFAULT), _others(files), True
    if not repository.has(TOKENIZER_CONFIG, unlisted=True):
        return _of_processor(repository, reader), (), True
    content = reader.read(TOKENIZER_CONFIG)
    if content is None:
        return None, (), repository.files is None
    try:
        template = parse_object(content, TOKENIZER_CONFIG).get("chat_template")
    except MalformedError:
        return None, (), False
    named = _named(template)
    found = TOKENIZER_CONFIG if _DEFAULT in named else _of_processor(repository, reader)
    return found, _others(named), True


def _of_processor(repository: Repository, reader: Reader) -> str | None:
    """The older place of a processor's template, where there is one in it."""
    content = reader.read(PROCESSOR_TEMPLATE) if repository.has(PROCESSOR_TEMPLATE) else None
    try:
        template = {} if content is None else parse_object(content, PROCESSOR_TEMPLATE)
    except MalformedError:
        return None
    return PROCESSOR_TEMPLATE if isinstance(template.get("chat_template"), str | dict) else None


def sampling(repository: Repository, reader: Reader) -> dict[str, bool | int | float] | None:
    """Sampling parameters that requests get by default; None where there is no file that the engine can read."""
    content = reader.read(GENERATION_CONFIG) if repository.has(GENERATION_CONFIG) else None
    try:
        config = {} if content is None else parse_config(content, GENERATION_CONFIG)
    except MalformedError:
        return None  # the engine passes over it as well
    return None if content is None else {key: config[key] for key in _SAMPLING if _is_usable(config.get(key))}


def default_files(repository: Repository) -> tuple[str, ...]:
    """Files that these questions will read."""
    older = () if _template_files(repository) else (PROCESSOR_TEMPLATE,)
    return tuple(name for name in (*older, GENERATION_CONFIG) if repository.has(name))


def _template_files(repository: Repository) -> dict[str, str]:
    """Files of templates, by the name of the template."""
    listed = [file.path for file in repository.files or ()]
    found = {
        path.removeprefix(CHAT_TEMPLATES).removesuffix(".jinja"): path
        for path in listed
        if path.startswith(CHAT_TEMPLATES) and path.endswith(".jinja")
    }
    return {_DEFAULT: CHAT_TEMPLATE, **found} if CHAT_TEMPLATE in listed else found


def _named(template: Any) -> dict[str, str]:
    """Templates of tokenizer_config.json: one, or a list of named ones."""
    entries = template if isinstance(template, list) else [{"name": _DEFAULT, "template": template}]
    named = ((entry.get("name"), entry.get("template")) for entry in entries if isinstance(entry, dict))
    return {name: text for name, text in named if isinstance(name, str) and isinstance(text, str) and text}


def _others(named: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted({plain(name) for name in named if name != _DEFAULT})[:_MAX_TEMPLATES])


def _is_usable(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGEST  # which neither an infinity nor a NaN is
