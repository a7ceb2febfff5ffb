"""Towers for images and sound."""
