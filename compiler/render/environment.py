"""The Jinja environment, and where the templates lie."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compiler.render import quoting

_PACKAGE = Path(__file__).resolve().parents[1]

_FILTERS = {
    "shell": quoting.quote_shell,
    "shell_name": quoting.quote_shell_name,
    "systemd": quoting.quote_systemd_value,
    "systemd_word": quoting.quote_systemd_word,
    "systemd_variable": quoting.quote_systemd_variable,
    "compose": quoting.quote_compose,
    "yaml": quoting.quote_yaml,
    "json": quoting.quote_json,
    "nginx": quoting.quote_nginx,
    "markdown": quoting.quote_markdown,
}


def render(template: str, **values: object) -> str:
    """Fill in one template; a name it uses and nobody gave is an error."""
    return _environment().get_template(template).render(values)


def read_verbatim(name: str) -> str:
    """A file that is emitted as it is."""
    return (template_folder() / name).read_text(encoding="utf-8")


def template_folder() -> Path:
    """`compiler/templates` in an installed wheel, the top-level `templates` in the repository."""
    installed = _PACKAGE / "templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "templates"


@cache
def _environment() -> Environment:
    # Autoescape is HTML's; every syntax here has its own filter.
    environment = Environment(
        loader=FileSystemLoader(template_folder()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters.update(_FILTERS)
    return environment
