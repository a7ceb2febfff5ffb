"""bin/evaluate: files, checks, scores and reports, against a server whose answers the tests choose."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from compiler.render.environment import template_folder
from tests.unit.evaluating import Evaluate
from tests.unit.fake_openai import serving
from tests.unit.plan_samples import one_on_cpu, with_service, write_executable, write_tree

CAPITAL = "cases:\n- {name: capital, prompt: 'The capital of France?', checks: [{contains: Paris}]}\n"


def test_answers_are_judged_and_failing_ones_shown(evaluate: Evaluate) -> None:
    evaluate.server.answer = lambda _: "It is Lyon\x1b[2J.\nI am sure."
    done = evaluate.run(CAPITAL, "--service", "coder")
    assert done.returncode == 25
    assert "FAIL  coder: capital" in done.stdout
    assert "contains: lacks 'Paris'" in done.stdout
    # What a model writes must not control the terminal.
    assert r"| It is Lyon\x1b[2J." in done.stdout
    assert "| I am sure." in done.stdout
    evaluate.server.answer = lambda _: "Paris"
    assert evaluate.run(CAPITAL, "--service", "coder").returncode == 0


def test_what_is_asked(evaluate: Evaluate) -> None:
    text = """
service: coder
defaults: {system: Be brief., max_tokens: 77}
cases:
- {name: plain, prompt: Hello, checks: [{contains: Paris}]}
- {name: hot, prompt: 4, temperature: 0.5, samples: 2, system: 3, checks: [{contains: Paris}]}
- name: talk
  messages: [{role: system, content: own}, {role: user, content: Hi}]
  max_tokens: 5
  checks: [{contains: Paris}]
"""
    assert evaluate.run(text).returncode == 0
    bodies = sorted(evaluate.server.bodies, key=lambda body: (body["max_tokens"], body["temperature"], body["seed"]))
    talk, plain, hot, again = bodies
    assert plain["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert talk["messages"][0] == {"role": "system", "content": "own"}
    assert hot["messages"] == [{"role": "system", "content": "3"}, {"role": "user", "content": "4"}]
    assert (hot["seed"], again["seed"]) == (0, 1)
    assert {body["model"] for body in bodies} == {"coder"}


def test_as_many_requests_at_once_as_the_plan_says(evaluate: Evaluate) -> None:
    evaluate.server.seconds = 0.3
    cases = [{"name": str(number), "prompt": "?", "checks": [{"contains": "Paris"}]} for number in range(6)]
    assert evaluate.run(json.dumps({"cases": cases}), "--service", "coder", name="file.json").returncode == 0
    assert evaluate.server.peak == 3


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"contains": ["a", "b"]}, "b a", "a"),
        ({"not_contains": ["x", "y"]}, "a", "a y"),
        ({"equals": "READY"}, " READY\n", "READY."),
        ({"equals": 42}, "42", "42.0"),
        ({"regex": r"(?i)\bparis\b"}, "It is PARIS!", "comparison"),
        ({"contains": "Paris"}, "<think>Lyon?</think>\nParis", "<think>Paris?</think>\nLyon"),
    ],
)
def test_checks_of_text(evaluate: Evaluate, check: Any, good: str, bad: str) -> None:
    assert evaluate.judge(check, good)[0]
    assert not evaluate.judge(check, bad)[0]


def test_a_pattern_that_takes_forever_is_a_failure_and_no_hang(evaluate: Evaluate) -> None:
    passed, detail = evaluate.judge({"regex": "^(a+)+$"}, "a" * 40 + "b")
    assert not passed
    assert "takes more than 5 s" in detail


SCHEMA = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "size": {"minimum": 1}}}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('{"city": "Paris", "size": 2}', None),
        ('Here it is:\n```json\n{"city": "Paris"}\n```\nAnything else?', None),
        ('{"town": "Paris"}', "$: 'city' is a required property"),
        ('{"city": "Paris", "size": 0}', "$.size: 0 is less than the minimum of 1"),
        ("Paris", "is not JSON"),
        ("[" * 100000, "is not JSON"),
    ],
)
def test_checks_of_json(evaluate: Evaluate, answer: str, problem: str | None) -> None:
    passed, detail = evaluate.judge({"json_schema": SCHEMA}, answer)
    assert passed == (problem is None)
    assert (problem or "") in detail


def test_a_schema_is_never_fetched(evaluate: Evaluate) -> None:
    schema = {"$ref": f"http://127.0.0.1:{evaluate.server.port}/schema.json"}
    passed, detail = evaluate.judge({"json_schema": schema}, "{}")
    assert not passed
    assert "cannot be applied" in detail


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("Here:\n```python\ndef add(a, b):\n    return a + b\n```\nThis adds.", None),
        ("```\nsome output\n```\n```py\ndef add(a, b): return a + b\n```", None),
        ("def add(a, b): return a + b", None),
        ("```python\ndef add(a, b):\n    return a + b", None),
        ("```python\ndef add(a, b): return a - b\n```", "AssertionError"),
        ("I cannot do that.", "SyntaxError"),
        ("```python\nimport os\nos._exit(0)\n```", "ended before the tests did"),
        ("```python\nraise SystemExit(0)\n```", "ended before the tests did"),
    ],
)
def test_checks_of_code(evaluate: Evaluate, answer: str, problem: str | None) -> None:
    passed, detail = evaluate.judge({"python": "assert add(2, 3) == 5"}, answer)
    assert passed == (problem is None), detail
    assert (problem or "") in detail


def test_the_score_is_pass_at_k(evaluate: Evaluate) -> None:
    case = "{name: it, prompt: '?', temperature: 1, samples: 4, pass_at: %d, checks: [{contains: Paris}]}"
    evaluate.server.answer = lambda body: "Paris" if body["seed"] == 2 else "Lyon"
    for pass_at, rate in ((1, "25.0%"), (2, "50.0%"), (4, "100.0%")):
        done = evaluate.run(f"cases: [{case % pass_at}]", "--service", "coder", "--pass-rate", "25%")
        assert done.returncode == 0
        assert f"coder: {rate} of 1 cases" in done.stdout


def test_the_pass_rate_decides(evaluate: Evaluate) -> None:
    evaluate.server.answer = lambda body: "Paris" if "France" in body["messages"][0]["content"] else "?"
    other = "- {name: other, prompt: 'The capital of Peru?', checks: [{contains: Lima}]}\n"
    for rate, code in (("50%", 0), ("0.5", 0), ("51%", 25)):
        assert evaluate.run(f"pass_rate: {rate}\n{CAPITAL}{other}", "--service", "coder").returncode == code
    assert (
        evaluate.run(f"pass_rate: 100%\n{CAPITAL}{other}", "--pass-rate", "0.5", "--service", "coder").returncode == 0
    )
    assert evaluate.run(CAPITAL + other, "--service", "coder").returncode == 25


def test_two_services_are_compared_and_lost_cases_named(evaluate: Evaluate) -> None:
    evaluate.candidate.answer = lambda _: "Lyon"
    done = evaluate.run(CAPITAL, "--compare", "coder", "general", "--pass-rate", "0")
    assert done.returncode == 0
    assert "LOST  general: capital: 100% at coder, 0% now" in done.stdout
    done = evaluate.run(CAPITAL, "--compare", "coder", "general", "--pass-rate", "0", "--no-lost")
    assert done.returncode == 24
    assert evaluate.run(CAPITAL, "--compare", "general", "coder", "--pass-rate", "0", "--no-lost").returncode == 0


def test_a_saved_run_tells_what_was_lost_since(evaluate: Evaluate) -> None:
    saved = str(evaluate.folder / "saved.json")
    assert evaluate.run(CAPITAL, "--service", "coder", "--save", saved).returncode == 0
    evaluate.server.answer = lambda _: "Lyon"
    evaluate.candidate.answer = lambda _: "Lyon"
    for service in ("coder", "general"):
        done = evaluate.run(CAPITAL, "--service", service, "--against", saved, "--pass-rate", "0", "--no-lost")
        assert (done.returncode, f"LOST  {service}: capital: 100% before" in done.stdout) == (24, True)
    # The case asks for something else now: nothing was lost.
    changed = CAPITAL.replace("Paris", "Rome")
    assert "LOST" not in evaluate.run(changed, "--service", "coder", "--against", saved).stdout
    Path(saved).write_text("{}")
    done = evaluate.run(CAPITAL, "--service", "coder", "--against", saved)
    assert done.returncode == 4
    assert "no saved evaluation" in done.stderr


def test_a_request_that_fails_is_no_wrong_answer(evaluate: Evaluate) -> None:
    evaluate.server.status = 400
    done = evaluate.run(CAPITAL, "--service", "coder", "--pass-rate", "0")
    assert done.returncode == 1
    assert 'HTTP 400: {"error": "no room"}' in done.stdout


def test_servers_that_cannot_be_asked_are_told_apart(evaluate: Evaluate) -> None:
    (evaluate.folder / "wrong").write_text("sk-another")
    assert evaluate.run(CAPITAL, "--api-key-file", str(evaluate.folder / "wrong")).returncode == 5
    evaluate.server.health = 503
    assert evaluate.run(CAPITAL).returncode == 3
    evaluate.candidate.name = "another"
    assert evaluate.run(CAPITAL, "--service", "general").returncode == 6
    assert evaluate.run(CAPITAL, "--service", "nobody").returncode == 2
    assert evaluate.run(CAPITAL, "--compare", "coder", "coder").returncode == 2


def test_reports_for_machines(evaluate: Evaluate) -> None:
    evaluate.server.answer = lambda _: "Lyon \x00 <&>"
    text = CAPITAL + "- {name: 'a <&> b', prompt: '?', checks: [{contains: Lyon}]}\n"
    done = evaluate.run(text, "--service", "coder", "--format", "junit")
    assert done.returncode == 25
    suite = ET.fromstring(done.stdout).find("testsuite")
    assert suite is not None
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    failed, passed = suite.findall("testcase")
    assert "Lyon" in str(failed.findtext("failure"))
    assert passed.attrib["name"] == "a <&> b"
    assert passed.find("failure") is None
    report = json.loads(evaluate.run(text, "--service", "coder", "--format", "json").stdout)
    assert report["exit_code"] == 25
    assert report["services"][0]["rate"] == 0.5
    assert report["services"][0]["cases"][0]["samples"][0]["answer"] == "Lyon \x00 <&>"


def test_a_report_for_people_is_called_text_as_everywhere_and_by_its_old_name(evaluate: Evaluate) -> None:
    """A job that says `human`, the word of earlier releases, must not end with a usage error after an upgrade."""
    done = [evaluate.run(CAPITAL, "--service", "coder", "--format", form) for form in ("text", "human")]
    assert done[0].returncode == done[1].returncode == 0
    assert [each.stdout.splitlines()[0] for each in done] == ["pass  coder: capital"] * 2
    assert "human" not in evaluate.run(CAPITAL, "--help").stdout
    assert json.loads(evaluate.run(CAPITAL, "--service", "coder", "--json").stdout)["exit_code"] == 0


def test_a_long_answer_is_shown_in_part(evaluate: Evaluate) -> None:
    evaluate.server.answer = lambda _: "line\n" * 5000
    evaluate.server.finish = "length"
    done = evaluate.run(CAPITAL, "--service", "coder")
    assert len(done.stdout) < 2000
    assert "answer (cut off at max_tokens):" in done.stdout


def test_without_yaml_the_python_beside_vllm_is_used(evaluate: Evaluate) -> None:
    bare = write_executable(
        evaluate.folder / "bare/python3", f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -S "$@"\n'
    )
    path = f"{bare.parent}:/usr/bin:/bin"
    missing = evaluate.run(CAPITAL, "--service", "coder", path=path)
    assert missing.returncode == 4
    assert "needs the Python module yaml" in missing.stderr
    (evaluate.folder / "venv/bin").mkdir(parents=True)
    write_executable(evaluate.folder / "venv/bin/vllm", "#!/bin/sh\n")
    write_executable(evaluate.folder / "venv/bin/python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert evaluate.run(CAPITAL, "--service", "coder", path=path).returncode == 0
    # vLLM's Python lacks it too: an error, and no endless change from one to the other.
    write_executable(evaluate.folder / "venv/bin/python3", f'#!/bin/sh\nexec {bare} "$@"\n')
    assert evaluate.run(CAPITAL, "--service", "coder", path=path).returncode == 4
    # JSON needs neither.
    case = {"name": "it", "prompt": "?", "checks": [{"contains": "Paris"}]}
    done = evaluate.run(json.dumps({"cases": [case]}), "--service", "coder", name="file.json", path=path)
    assert done.returncode == 0


def test_a_completion_server_gets_the_prompt_as_it_is(tmp_path: Path) -> None:
    with serving("tiny", None) as server:
        plan = with_service(one_on_cpu(), "tiny", port=server.port)
        tree = write_tree(plan, tmp_path / "tree")
        (tmp_path / "key").write_text("any-key-will-do")
        evaluate = Evaluate(tree, tmp_path, server, server)
        assert evaluate.run(CAPITAL).returncode == 0
        assert server.bodies[0]["path"] == "/v1/completions"
        assert server.bodies[0]["prompt"] == "The capital of France?"
        assert evaluate.run("defaults: {system: a}\n" + CAPITAL).returncode == 2
        # Its cases are conversations.
        assert not (tree / "evaluation").exists()


def test_the_first_evaluation_is_well_formed_and_can_be_passed(evaluate: Evaluate) -> None:
    good = {
        "capital of France": "Paris",
        "17 * 23": "It is 391",
        "14:45": "145",
        "READY": "READY",
        "Ada": '{"person": "Ada Lovelace", "year": 1843}',
        "battery": "negative",
        "German": "Guten Morgen, wo ist der Bahnhof?",
        "office": "UNKNOWN",
        "my cat": "Miso",
        "palindrome": "```py\ndef is_palindrome(t): s = [*filter(str.isalnum, t.lower())]; return s == s[::-1]\n```",
    }
    evaluate.server.answer = lambda body: next(good[word] for word in good if word in body["messages"][-1]["content"])
    text = (template_folder() / "lib/evaluation/smoke.yaml").read_text(encoding="utf-8")
    assert (evaluate.tree / "lib/evaluation/smoke.yaml").read_text(encoding="utf-8") == text
    done = evaluate.run(text, "--service", "coder", "--pass-rate", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(evaluate.server.bodies) == len(good)
    evaluate.server.answer = lambda _: "I do not know."
    assert "coder: 0.0% of 10 cases" in evaluate.run(text, "--service", "coder").stdout
