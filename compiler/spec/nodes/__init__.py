"""Machines and their devices, as a spec has them."""
