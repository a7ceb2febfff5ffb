"""Keys of `engine_args`, and what is said of those that a spec may not give, whichever engine takes them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec


@dataclass(frozen=True, slots=True)
class Decided:
    """Why an option is not the user's: `key` is where the spec says it instead, if anywhere."""

    why: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """One key of one service's engine_args."""

    file: SpecFile
    service: str
    key: str
    value: object

    @property
    def path(self) -> tuple[str, ...]:
        """Where it stands in the spec."""
        return ("services", self.service, "engine_args", self.key)

    @property
    def remove(self) -> Help:
        """Without it."""
        return Help(f"remove `{self.key}`", (Edit(self.path, None),))

    def twice(self, earlier: str) -> Diagnostic:
        """E0503: another key of the service names the same option."""
        message = f"`{self.key}` is the same option as `{earlier}`"
        return Diagnostic("E0503", message, self.file.at_key(*self.path), helps=(self.remove,))

    def untakable(self, reason: str) -> Diagnostic:
        """E0503: the option does not take its value, for a reason that is a half-sentence."""
        message = f"`{self.key}` does not take this value: {reason}"
        return Diagnostic("E0503", message, self.file.at(*self.path), helps=(self.remove,))

    def unknown(self, program: str, notes: tuple[str, ...], nearest: tuple[str, ...]) -> Diagnostic:
        """E0502: a release, by its title and version, has no such option."""
        helps = (*(Help(f"did you mean `{name}`?") for name in nearest), self.remove)
        message = f"{program} has no option `{self.key}`"
        return Diagnostic("E0502", message, self.file.at_key(*self.path), notes, helps)

    def saying(self, key: str) -> Help:
        """The same value in a key of the service, which takes it as it is."""
        word = str(self.value).lower() if isinstance(self.value, bool) else self.value
        edits = (Edit(self.path, None), Edit(("services", self.service, key), self._plain()))
        return Help(f"say it with `{key}: {word}`", edits)

    def fits(self, key: str) -> bool:
        """Whether a key of the service takes the value; words that only engines know are not asked about."""
        try:
            ServiceSpec.__pydantic_validator__.validate_assignment(ServiceSpec.model_construct(), key, self._plain())
        except (TypeError, ValidationError):
            return False
        return True

    def _plain(self) -> str | int:
        if not isinstance(self.value, str | int):
            raise TypeError("no key takes such a value as it is")
        return self.value
