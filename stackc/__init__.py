"""The name by which Python runs the command: `python -m stackc`. What it does is in the package `compiler`."""
