"""The spec as the user wrote it: pydantic models in units, and the checks that need nothing but the spec."""
