"""Grades of models at tasks, from published scores: what the same tests compare, and never an average over tests.

There is a ranking for each task. In a set of scores one model beats another where the gap is beyond the set's noise;
sets are joined by such comparisons alone (Bradley and Terry, 1952), so that no unit or scale has to agree.
"""

from __future__ import annotations

from compiler.choose.grades.benchmarks import UNGRADED, languages_of
from compiler.choose.grades.model import UNKNOWN, Evidence, Grade, Kind, Penalty
from compiler.choose.grades.penalties import penalty
from compiler.choose.grades.shipped import grades

__all__ = ["UNGRADED", "UNKNOWN", "Evidence", "Grade", "Kind", "Penalty", "grades", "languages_of", "penalty"]
