"""Hostile inputs by the thousand: every command ends in sound files or in a diagnostic, soon, and touches nothing else.

`python -m tests.fuzz --seed 7 --count 2000` makes 2000 cases of each area; a find names the words that make it again.
"""
