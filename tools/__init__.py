"""Chores of this repository, run by hand or by its tests."""
