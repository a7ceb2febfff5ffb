"""What bin/evaluate says of an evaluation file: every mistake with its line."""

from __future__ import annotations

import subprocess

import pytest

from tests.unit.evaluating import PYTHONS, Evaluate


def test_every_mistake_of_a_file_is_named_with_its_line(evaluate: Evaluate) -> None:
    text = """passrate: 1
pass_rate: 120%
defaults: {temprature: 1}
cases:
- name: one
  prompt: yes
  checks:
  - contians: a
  - regex: "("
  - json_schema: {type: objekt}
  - python: "def f(:"
- name: one
  prompt: a
  messages: []
  samples: 3
  checks: []
- prompt: a
  prompt: b
  max_tokens: 0
  checks: [{contains: null}]
"""
    done = evaluate.run(text)
    assert done.returncode == 2
    file = evaluate.folder / "file.yaml"
    found = done.stderr.replace(f"{file}:", "").replace("evaluate: ", "").splitlines()
    assert [(int(line.partition(":")[0]), line.partition(": ")[2].partition(":")[0]) for line in found] == [
        (1, "passrate"),
        (2, "pass_rate"),
        (3, "defaults.temprature"),
        (6, "cases[0].prompt"),
        (8, "cases[0].checks[0].contians"),
        (9, "cases[0].checks[1].regex"),
        (10, "cases[0].checks[2].json_schema"),
        (11, "cases[0].checks[3].python"),
        (12, "cases[1]"),
        (12, "cases[1]"),
        (15, "cases[1].samples"),
        (16, "cases[1].checks"),
        (17, "cases[2]"),
        (18, "cases[2].prompt"),
        (19, "cases[2].max_tokens"),
        (20, "cases[2].checks[0].contains"),
    ]
    assert "did you mean `pass_rate`?" in found[0]
    assert "did you mean `contains`?" in found[4]
    assert evaluate.server.bodies == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]", "expected a mapping"),
        ("cases: [", ":1:"),
        ("cases: 3", "a list"),
        ("a: !x 1", ":1:"),
        ("{a: Why?, b: 1}", "in quotes"),
    ],
)
def test_a_file_that_is_no_evaluation(evaluate: Evaluate, text: str, words: str) -> None:
    done = evaluate.run(text)
    assert done.returncode == 2
    assert words in done.stderr


def test_merged_keys_are_not_there_twice(evaluate: Evaluate) -> None:
    text = "cases:\n- &a {name: a, prompt: x, checks: [{contains: Paris}]}\n- {<<: *a, name: b}\n"
    assert evaluate.run(text, "--service", "coder").returncode == 0


def test_the_file_that_the_help_shows_is_one(evaluate: Evaluate) -> None:
    command = [str(evaluate.tree / "bin/evaluate"), "--help"]
    shown = subprocess.run(command, env={"PATH": PYTHONS}, capture_output=True, text=True, check=True).stdout
    example = shown.partition("ends so:\n")[2].partition("Python checks may")[0].replace("NAME", "coder")
    done = evaluate.run(example)
    assert done.returncode == 25, done.stderr
    # Five answers were asked for, and code cannot be what a JSON schema wants.
    assert "python: " in done.stdout
    assert len(evaluate.server.bodies) == 5
