"""What stackc has to say about a user's input: one Diagnostic type, a catalogue of codes, and its renderers."""

from compiler.diagnostics.catalogue import CODES, Code, Severity
from compiler.diagnostics.model import Diagnostic, Edit, Help, Label, Position, SourceText, Span, has_errors

__all__ = [
    "CODES",
    "Code",
    "Diagnostic",
    "Edit",
    "Help",
    "Label",
    "Position",
    "Severity",
    "SourceText",
    "Span",
    "has_errors",
]
