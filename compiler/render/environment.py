"""The Jinja environment, and where the templates lie."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    FunctionLoader,
    StrictUndefined,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from compiler.diagnostics import Diagnostic
from compiler.render import quoting
from compiler.render.bytecode import OwnBytecode
from compiler.render.overrides import Overrides, TemplateFault, fault_at, read_overrides

_PACKAGE = Path(__file__).resolve().parents[1]

_FILTERS = {
    "shell": quoting.quote_shell,
    "shell_name": quoting.quote_shell_name,
    "systemd": quoting.quote_systemd_value,
    "systemd_raw": quoting.quote_systemd_raw,
    "systemd_key": quoting.quote_systemd_key,
    "systemd_word": quoting.quote_systemd_word,
    "systemd_variable": quoting.quote_systemd_variable,
    "yaml": quoting.quote_yaml,
    "yaml_block": quoting.quote_yaml_block,
    "compose": quoting.quote_compose,
    "compose_block": quoting.compose_block,
    "quadlet": quoting.quote_quadlet_value,
    "quadlet_variable": quoting.quote_quadlet_variable,
    "unit_line": quoting.quote_unit_line,
    "json": quoting.quote_json,
    "nginx": quoting.quote_nginx,
    "markdown": quoting.quote_markdown,
}


class _Custom:
    """Overrides with the environment in which they are rendered."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides
        # Somebody else's templates: no attribute of Python's own can be reached, and nothing can be changed.
        self.environment = ImmutableSandboxedEnvironment(
            loader=ChoiceLoader([FunctionLoader(self._load), _own_loader()]), **_OPTIONS
        )
        self.environment.filters.update(_FILTERS)

    def _load(self, template: str) -> tuple[str, str, None] | None:
        text = self.overrides.texts.get(template)
        return None if text is None else (text, self.overrides.file_name(template), None)

    def render(self, template: str, values: dict[str, object]) -> str:
        """Fill in a template; whatever goes wrong in an override is the override's fault.

        Raises:
            TemplateFault: with the place.
        """
        try:
            text = self.environment.get_template(template).render(values)
        except Exception as error:
            place = self._place(error)
            if place is None:
                raise
            what = f"the template cannot be rendered: {type(error).__name__}: {error}"
            raise TemplateFault(fault_at(self.overrides, *place, what)) from error
        if not _is_text(text):
            what = "half of a character is written, which no file can hold"
            # Stackc's own template may have included the one at fault.
            at = template if template in self.overrides.texts else min(self.overrides.texts)
            raise TemplateFault(fault_at(self.overrides, at, 1, what))
        return text if text.endswith("\n") else text + "\n"

    def _place(self, error: Exception) -> tuple[str, int] | None:
        """The innermost line of an override that the error went through."""
        files = {self.overrides.file_name(template): template for template in self.overrides.texts}
        if isinstance(error, TemplateSyntaxError) and error.filename in files:
            return files[error.filename], error.lineno
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        return next(((files[file], line) for file, line in reversed(frames) if file in files), None)


# The targets are functions of the plan alone; which templates they fill in is a setting of the whole run.
_CUSTOM: ContextVar[_Custom | None] = ContextVar("custom templates", default=None)


@contextmanager
def custom_templates(overrides: Overrides | None) -> Iterator[None]:
    """Within the block, these templates take the place of stackc's own."""
    token = _CUSTOM.set(None if overrides is None else _Custom(overrides))
    try:
        yield
    finally:
        _CUSTOM.reset(token)


def render(template: str, **values: object) -> str:
    """Fill in one template; a name it uses and nobody gave is an error.

    Raises:
        TemplateFault: the template is not stackc's own, and cannot be rendered.
    """
    custom = _CUSTOM.get()
    if custom is not None:
        return custom.render(template, values)
    return _environment().get_template(template).render(values)


def render_page(template: str, **values: object) -> str:
    """Fill in a template of a page or a picture, whose values are escaped for HTML.

    They lie beside the others and are no `.j2`: nothing of them is emitted, and no override takes their place.
    """
    return _page_environment().get_template(template).render(values)


def load_overrides(folder: Path) -> tuple[Overrides, tuple[Diagnostic, ...]]:
    """The templates in a folder of the user's, and what is wrong with them before any is rendered."""
    overrides, diagnostics = read_overrides(folder, template_names())
    return overrides, (*diagnostics, *_syntax_errors(overrides))


def _syntax_errors(overrides: Overrides) -> Iterator[Diagnostic]:
    environment = _Custom(overrides).environment
    for template, text in overrides.texts.items():
        try:
            environment.compile(text)
        except TemplateSyntaxError as error:
            yield fault_at(overrides, template, error.lineno, f"the template is not Jinja: {error.message}")
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            # Jinja makes a program of it, which Python refuses: mostly blocks in blocks in blocks.
            what = f"the template is nested too deeply, or no program: {type(error).__name__}: {error}"
            yield fault_at(overrides, template, 1, what)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def read_verbatim(name: str) -> str:
    """A file that is emitted as it is, for every stack the same."""
    return (template_folder() / name).read_text(encoding="utf-8")


def template_folder() -> Path:
    """`compiler/templates` in an installed wheel, the top-level `templates` in the repository."""
    installed = _PACKAGE / "templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "templates"


@cache
def template_names() -> tuple[str, ...]:
    """The path of every template, sorted."""
    folder = template_folder()
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.j2")))


def _own_loader() -> BaseLoader:
    return FileSystemLoader(template_folder())


# Autoescape is HTML's; every syntax here has its own filter.
_OPTIONS: dict[str, Any] = {
    "undefined": StrictUndefined,
    "keep_trailing_newline": True,
    "trim_blocks": True,
    "lstrip_blocks": True,
    "autoescape": False,
}


@cache
def _environment() -> Environment:
    kept = OwnBytecode(repr(_OPTIONS).encode() + Path(quoting.__file__).read_bytes())
    environment = Environment(loader=_own_loader(), bytecode_cache=kept, **_OPTIONS)  # noqa: S701  it is for HTML
    environment.filters.update(_FILTERS)
    return environment


@cache
def _page_environment() -> Environment:
    return Environment(loader=_own_loader(), **_OPTIONS | {"autoescape": True})  # noqa: S701  it is on
