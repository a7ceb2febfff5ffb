"""The README of a generated tree, for whoever runs it."""
