"""Questions of the smoke test to servers that read whole texts: do they rank them, and label them?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import math
from typing import Any

from stack import JsonObject, Skipped, StackError, Warned
from stack.ask.probes import EXIT_FAILED, PROMPT, Target, ask, expect, json_of

QUERY = "What is the capital of France?"
ANSWER = "Paris is the capital of France."
# The answer is neither first nor last, so that texts which come back as they were sent are noticed.
DOCUMENTS = ("Bananas are yellow and grow in bunches.", ANSWER, "The train leaves at noon from the third platform.")
SUM_TOLERANCE = 0.02


def check_rerank(target: Target) -> str:
    """Texts come back by how well they fit a query: all of them, the best first, with scores that differ."""
    if target.task != "score":
        raise Skipped(f"the task is {target.task}")
    body = {"model": target.name, "query": QUERY, "documents": list(DOCUMENTS)}
    results = json_of(ask(target, "POST", "/v1/rerank", body)).get("results")
    ranked = [_ranked(result) for result in results] if isinstance(results, list) else []
    order, scores = [index for index, _ in ranked], [score for _, score in ranked]
    expect(sorted(order) == list(range(len(DOCUMENTS))), f"{len(DOCUMENTS)} texts were sent, {order} came back")
    expect(scores == sorted(scores, reverse=True), f"the texts are not in the order of their scores: {_shown(scores)}")
    expect(len(set(scores)) > 1, f"all texts have one score, {scores[0]:.4f}")
    if DOCUMENTS[order[0]] != ANSWER:
        raise Warned(f"the text that answers is not the first: {_shown(scores)}. Does the model need a prompt?")
    return f"the text that answers is the first of {len(order)}: {_shown(scores)}"


def _ranked(result: Any) -> tuple[int, float]:
    index, score = (result.get("index"), result.get("relevance_score")) if isinstance(result, dict) else (None, None)
    if type(index) is not int or type(score) not in (int, float) or not math.isfinite(score):
        raise StackError(EXIT_FAILED, "a result is no text with a score")
    return index, float(score)


def _shown(scores: list[float]) -> str:
    return ", ".join(f"{score:.4f}" for score in scores)


def check_labels(target: Target) -> str:
    """A text gets a probability for each label that the plan knows of."""
    if target.task not in ("score", "classify"):
        raise Skipped(f"the task is {target.task}")
    data = json_of(ask(target, "POST", "/classify", {"model": target.name, "input": [PROMPT, ANSWER]})).get("data")
    found = [_probabilities(item) for item in data] if isinstance(data, list) else []
    expect(len(found) == 2, f"{len(found)} texts were labelled, 2 expected")
    planned = target.service["labels"]
    expect({len(each) for each in found} == {planned}, f"{len(found[0])} labels, the plan says {planned}")
    if planned == 1:
        return f"one label: {_shown([each[0] for each in found])}"
    # Models for several labels at once give each its own probability.
    sums = [math.fsum(each) for each in found]
    shares = all(abs(total - 1) <= SUM_TOLERANCE for total in sums)
    return f"{planned} labels{', which add up to 1' if shares else ', each by itself'}"


def _probabilities(item: JsonObject) -> list[float]:
    values = item.get("probs") if isinstance(item, dict) else None
    if not isinstance(values, list) or not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        raise StackError(EXIT_FAILED, "a label is no number")
    return [float(each) for each in values]
