"""Rules across the fields of a spec, before any model is looked at."""
