"""Questions of the smoke test: does the server answer as clients need it?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. What a model writes is never run, and
only what was asked for is read from it.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

from stack import JsonObject, Skipped, StackError, Warned
from stack.ask.dialects import CLIENT_ERRORS
from stack.ask.probes import EXIT_FAILED, PROMPT, Target, ask, expect, json_of, probe_request, reply_of
from stack.ask.server import Event, ServerError

# Events that come closer together than this were on their way together.
BURST_SECONDS = 0.0003
STREAM_TOKENS = 32
# An answer that is whole before that many seconds says nothing about how it came.
TOLD_SECONDS = 1.0
# Thinking models think first.
LONG_ANSWER = 1024
UNIT_LENGTH_TOLERANCE = 0.02

FUNCTION = "get_weather"
# Nothing in them is open: even a model that writes noise is led to a whole answer.
ARGUMENTS: JsonObject = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
ANSWER: JsonObject = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "warm": {"type": "boolean"},
        "shades": {
            "type": "array",
            "items": {"type": "string", "enum": ["light", "dark"]},
            "minItems": 1,
            "maxItems": 2,
        },
    },
    "required": ["colour", "warm", "shades"],
    "additionalProperties": False,
}


def _needs_text(target: Target) -> None:
    if not target.generates:
        raise Skipped(f"the task is {target.task}, which gives no text")


def _needs_feature(target: Target, feature: str) -> None:
    if feature not in target.service["features"]:
        raise Skipped(f"the spec does not list `{feature}` among the service's features")


def check_chat(target: Target) -> str:
    """A chat gets an answer, be it content or reasoning."""
    if target.task != "chat":
        raise Skipped(f"the task is {target.task}")
    choice, usage = _generate(target, *probe_request(target))
    message = _message(choice)
    expect(bool(message.get("content") or _reasoning(message)), "the answer is empty")
    return f"{usage} tokens, finished by {choice.get('finish_reason')}"


def check_completion(target: Target) -> str:
    """A completion gets an answer."""
    _needs_text(target)
    body = {"model": target.name, "prompt": PROMPT, **target.dialect.sampling}
    choice, usage = _generate(target, "/v1/completions", body)
    expect(bool(choice.get("text")), "the answer is empty")
    return f"{usage} tokens, finished by {choice.get('finish_reason')}"


def _generate(
    target: Target, path: str, body: JsonObject, reasons: tuple[str, ...] = ("stop", "length")
) -> tuple[JsonObject, int]:
    answer = json_of(ask(target, "POST", path, body))
    choices, usage = answer.get("choices"), answer.get("usage")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise StackError(EXIT_FAILED, f"{path}: the answer has no choice")
    expect(choice.get("finish_reason") in reasons, f"finish_reason is {choice.get('finish_reason')}")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(tokens, int) or tokens < 1:
        raise StackError(EXIT_FAILED, f"usage counts {tokens} generated tokens")
    return choice, tokens


def _message(choice: JsonObject) -> JsonObject:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _reasoning(message: JsonObject) -> Any:
    return message.get("reasoning") or message.get("reasoning_content")


def check_reasoning(target: Target) -> str:
    """What the model thinks is told apart from what it answers."""
    _needs_feature(target, "reasoning")
    path, body = _long_request(target)
    choice, usage = _generate(target, path, body)
    expect(bool(_reasoning(_message(choice))), "the answer has no reasoning: is the parser the model's?")
    return f"{usage} tokens, reasoning apart from the answer"


def _long_request(target: Target) -> tuple[str, JsonObject]:
    """A request with room for a long answer, sampled as the model's own settings say.

    Always taking the likeliest token leads some models into endless repetition.
    """
    path, body = probe_request(target)
    body = {key: value for key, value in body.items() if key not in target.dialect.sampling}
    room = max(16, min(LONG_ANSWER, target.service["max_model_len"] // 2))
    return path, {**body, "max_tokens": room, "seed": 1}


def check_stream(target: Target) -> str:
    """A streamed answer comes in pieces, as they are made, and ends properly."""
    _needs_text(target)
    path, body = probe_request(target)
    for tokens in _stream_lengths(target):
        least = {"min_tokens": tokens // 2} if "min_tokens" in body else {}
        chunks = _events(target, path, {**body, "max_tokens": tokens, **least, "stream": True})[:-1]
        bursts, took = _bursts(chunks), chunks[-1].seconds
        if bursts >= max(2, len(chunks) // 4):
            spread, first = (took - chunks[0].seconds) * 1000, chunks[0].seconds * 1000
            return f"{len(chunks)} chunks at {bursts} times in {spread:.0f} ms, the first after {first:.0f} ms"
    # A busy client reads a short answer in one go, whoever sent it piece by piece.
    if took < TOLD_SECONDS:
        return f"{len(chunks)} chunks in {took * 1000:.0f} ms, too few to see whether something buffers them"
    raise StackError(EXIT_FAILED, f"{len(chunks)} chunks came at {bursts} times: something on the way buffers them")


def _stream_lengths(target: Target) -> list[int]:
    """Tokens to ask for, one length after another: longer answers take long enough to tell how they come."""
    room = max(STREAM_TOKENS, target.service["max_model_len"] // 2)
    return [min(room, STREAM_TOKENS * times) for times in (1, 1, 4, 16)]


def _events(target: Target, path: str, body: JsonObject) -> list[Event]:
    try:
        events = [event for event in target.server.stream(path, body) if event.data]
    except ServerError as error:
        raise StackError(EXIT_FAILED, f"the stream broke: {error}") from error
    expect(bool(events) and events[-1].data == "[DONE]", "the stream did not end with [DONE]")
    expect(len(events) >= 3, f"{len(events) - 1} chunks, at least 2 expected")
    expect(not any(_is_error(event) for event in events[:-1]), "the stream carries an error")
    return events


def _is_error(event: Event) -> bool:
    try:
        value = json.loads(event.data)
    except (ValueError, RecursionError):
        return True
    return not isinstance(value, dict) or "error" in value


def _bursts(events: list[Event]) -> int:
    """At how many different times events arrived."""
    gaps = [events[index].seconds - events[index - 1].seconds for index in range(1, len(events))]
    return 1 + sum(gap >= BURST_SECONDS for gap in gaps)


def check_embedding(target: Target) -> str:
    """Embeddings have the planned length, are numbers, differ between texts and are normalised as the model says."""
    if target.task != "embed":
        raise Skipped(f"the task is {target.task}")
    texts = [PROMPT, "A train leaves the station at noon."]
    answer = json_of(ask(target, "POST", "/v1/embeddings", {"model": target.name, "input": texts}))
    data = answer.get("data")
    vectors = [item.get("embedding") for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    expect(len(vectors) == len(texts), f"{len(vectors)} embeddings for {len(texts)} texts")
    dimension, is_unit = target.service["embedding"]["dimension"], _is_unit(target)
    for vector in vectors:
        _check_vector(vector, dimension)
    expect(vectors[0] != vectors[1], "two texts have the same embedding")
    lengths = [math.sqrt(sum(number * number for number in vector)) for vector in vectors]
    if is_unit:
        off = max(abs(length - 1) for length in lengths)
        expect(off <= UNIT_LENGTH_TOLERANCE, f"embeddings of lengths {lengths[0]:.3f} and {lengths[1]:.3f}, not 1")
    return f"{dimension} numbers, length {lengths[0]:.3f} {_PROMISES[is_unit]}"


_PROMISES = {True: "as planned", False: "(not normalised, as planned)", None: "(the plan does not know which)"}


def _check_vector(vector: Any, dimension: int) -> None:
    if not isinstance(vector, list) or not all(type(number) in (int, float) for number in vector):
        raise StackError(EXIT_FAILED, "an embedding is no list of numbers")
    expect(len(vector) == dimension, f"an embedding has {len(vector)} numbers, the plan says {dimension}")
    expect(all(math.isfinite(number) for number in vector), "an embedding has numbers that are not finite")
    expect(any(vector), "an embedding is all zeros")


def _is_unit(target: Target) -> bool | None:
    """Whether embeddings have length 1; None where that cannot be known here.

    Where the plan does not know what Sentence Transformers say, the absence of their files says it: vLLM then
    normalises by itself (vllm/config/pooler.py, 0.33.0).
    """
    if target.dialect.normalizes:
        return True
    known: bool | None = target.service["embedding"]["normalized"]
    if known is not None or not target.is_local:
        return known
    cards = json_of(ask(target, "GET", "/v1/models")).get("data")
    listed = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    roots = [str(card.get("root")) for card in listed if card.get("id") == target.name]
    return True if _lacks_modules(roots) else None


def _lacks_modules(roots: list[str]) -> bool:
    return any(os.path.isdir(root) and not os.path.exists(os.path.join(root, "modules.json")) for root in roots)


def check_tools(target: Target) -> str:
    """A forced tool call names the tool and has arguments that fit it, and tools may be offered without force."""
    _needs_feature(target, "tools")
    path, body = _long_request(target)
    # Only a strict tool's arguments are held to its schema; others may be any JSON.
    function = {"name": FUNCTION, "description": "The weather in a city", "parameters": ARGUMENTS, "strict": True}
    body["messages"] = [{"role": "user", "content": "What is the weather in Rome, in celsius?"}]
    body["tools"] = [{"type": "function", "function": function}]
    named = {"type": "function", "function": {"name": FUNCTION}}
    # Where a call cannot be asked for by name, it is that of the only tool.
    forced = {**body, "tool_choice": named if target.dialect.names_call else "required"}
    ends = ("stop", "tool_calls") if target.dialect.names_call else ("stop", "tool_calls", "length")
    choice, _ = _generate(target, path, forced, ends)
    calls = _message(choice).get("tool_calls")
    call = calls[0].get("function") if isinstance(calls, list) and calls and isinstance(calls[0], dict) else None
    if not isinstance(call, dict) and not target.dialect.names_call:
        raise Warned("the model called no tool, although it was asked to: another question may lead it to")
    if not isinstance(call, dict):
        raise StackError(EXIT_FAILED, "the answer has no tool call, although one was forced")
    expect(call.get("name") == FUNCTION, f"the call is for {call.get('name')}, not for {FUNCTION}")
    arguments = _checked_json(call.get("arguments"), ARGUMENTS, "the arguments")
    # vLLM refuses this with 400 without the flags that `features` stands for.
    ask(target, "POST", path, {**body, "max_tokens": 16, "tool_choice": "auto"})
    return f"{FUNCTION}({json.dumps(arguments)}), and a free choice is accepted"


def check_structured_output(target: Target) -> str:
    """An answer that must follow a JSON schema follows it."""
    _needs_feature(target, "structured-output")
    path, body = _long_request(target)
    schema = {"name": "colour", "schema": ANSWER, "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    choice, _ = _generate(target, path, {**body, "response_format": form}, ("stop",))
    text = _message(choice).get("content") if target.task == "chat" else choice.get("text")
    return json.dumps(_checked_json(text, ANSWER, "the answer"))


def _checked_json(text: Any, schema: JsonObject, title: str) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise StackError(EXIT_FAILED, f"{title}: not JSON: {error}") from error
    mismatch = find_mismatch(value, schema)
    expect(mismatch is None, f"{title}: {mismatch}")
    return value


_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def find_mismatch(value: Any, schema: JsonObject, path: str = "$") -> str | None:
    """Why a value does not follow a schema made of the keywords that are used here; None if it does."""
    kind = _TYPES[schema["type"]]
    if not isinstance(value, kind):
        return f"{path} is no {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} is none of {', '.join(schema['enum'])}"
    if isinstance(value, dict):
        return _object_mismatch(value, schema, path)
    if isinstance(value, list):
        if not schema["minItems"] <= len(value) <= schema["maxItems"]:
            return f"{path} has {len(value)} items"
        found = (find_mismatch(item, schema["items"], f"{path}[{index}]") for index, item in enumerate(value))
        return next((reason for reason in found if reason), None)
    return None


def _object_mismatch(value: JsonObject, schema: JsonObject, path: str) -> str | None:
    properties = schema["properties"]
    missing = [key for key in schema["required"] if key not in value]
    extra = [key for key in value if key not in properties]
    if missing or extra:
        return f"{path} lacks {missing}" if missing else f"{path} has {extra}"
    found = (find_mismatch(item, properties[key], f"{path}.{key}") for key, item in value.items())
    return next((reason for reason in found if reason), None)


def check_overlong(target: Target) -> str:
    """A request beyond the context is refused, and the server lives on."""
    length = target.service["max_model_len"] + 1
    path, body = _of_tokens(target, length)
    status = reply_of(target.server, "POST", path, body).status
    expected = "4xx" if target.dialect.overlong == CLIENT_ERRORS else "4xx or 500"
    expect(status in target.dialect.overlong, f"HTTP {status} for {length} tokens, {expected} expected")
    ask(target, "POST", *_of_tokens(target, 1))
    return f"HTTP {status} for {length} tokens, then a short one was answered"


def _of_tokens(target: Target, length: int) -> tuple[str, JsonObject]:
    """A request of so many tokens, or more where only text is taken."""
    tokens, body = [1] * length, {"model": target.name}
    if target.generates:
        return "/v1/completions", {**body, "max_tokens": 1, "prompt": tokens}
    if target.task in target.dialect.texts:
        return target.dialect.texts[target.task], {**body, "input": tokens}
    # A word is at least a token.
    return "/v1/rerank", {**body, "query": "a", "documents": [" ".join(map(str, range(length)))]}


QUERY = "What is the capital of France?"
RELEVANT = "Paris is the capital of France."
# The answer is neither first nor last, so that texts which come back as they were sent are noticed.
DOCUMENTS = ("Bananas are yellow and grow in bunches.", RELEVANT, "The train leaves at noon from the third platform.")
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
    if DOCUMENTS[order[0]] != RELEVANT:
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
    if target.task not in target.dialect.texts:
        raise Skipped("the engine gives no labels: it ranks")
    data = json_of(ask(target, "POST", "/classify", {"model": target.name, "input": [PROMPT, RELEVANT]})).get("data")
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
