"""Tests of installed stacks under a real systemd, in namespaces of its own."""
