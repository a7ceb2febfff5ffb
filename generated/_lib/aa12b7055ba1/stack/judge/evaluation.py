"""What an evaluation file says: cases, each a prompt and the checks of its answer.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from stack import EXIT_USAGE, JsonObject, StackError
from stack.judge import answer_checks as _answer_checks
from stack.judge.answer_checks import MissingModule

Value = Any
# Anchors can make a small file endless; nobody writes an evaluation this deep.
MAX_DEPTH = 40


class Node(NamedTuple):
    """A value and where it stands. `text` is a scalar as it was written, `line` 0 where the reader knows none.

    `value` is a mapping of names to nodes, a list of nodes or a scalar.
    """

    value: Value
    line: int
    path: str
    text: str = ""

    def plain(self) -> Value:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Problems:
    """Collects what is wrong with a file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lines: list[tuple[int, str]] = []

    def add(self, node: Node, message: str) -> None:
        """Something is wrong here."""
        where = f"{self._name}:{node.line}" if node.line else self._name
        self.lines.append((node.line, f"{where}: {node.path}: {message}" if node.path else f"{where}: {message}"))

    def end(self) -> None:
        """Raise if there was anything."""
        if self.lines:
            raise StackError(EXIT_USAGE, "\n".join(text for _, text in sorted(self.lines)))


def read_tree(path: Path, problems: Problems) -> Node:
    """The file as a tree. A file called *.json needs no YAML.

    Raises:
        MissingModule: it is YAML, and this Python has no reader for it.
        StackError: it cannot be read or is not well-formed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StackError(EXIT_USAGE, f"cannot read {path}: {reason}") from None
    return _read_json(path, text) if path.suffix == ".json" else _read_yaml(path, text, problems)


def _read_json(path: Path, text: str) -> Node:
    try:
        return _from_value(json.loads(text), "")
    except json.JSONDecodeError as error:
        raise StackError(EXIT_USAGE, f"{path}:{error.lineno}: {error.msg}") from error
    except RecursionError:
        raise StackError(EXIT_USAGE, f"{path}: nested too deeply") from None


def _from_value(value: Value, path: str) -> Node:
    if isinstance(value, dict):
        return Node({key: _from_value(item, _below(path, key)) for key, item in value.items()}, 0, path)
    if isinstance(value, list):
        return Node([_from_value(item, f"{path}[{index}]") for index, item in enumerate(value)], 0, path)
    return Node(value, 0, path, value if isinstance(value, str) else json.dumps(value))


def _read_yaml(path: Path, text: str, problems: Problems) -> Node:
    try:
        import yaml  # noqa: PLC0415 (the plain Python of a server has none)
    except ImportError:
        raise MissingModule("yaml") from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise StackError(EXIT_USAGE, f"{path}: the file is empty")
        return _YamlTree(loader, problems).convert(root, "", 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        # PyYAML takes a `?` between braces for syntax, and says no more than that.
        hint = ": put the text in quotes" if problem.endswith("got '?'") else ""
        raise StackError(EXIT_USAGE, f"{where}: {problem}{hint}") from error


class _YamlTree:
    """Turns the nodes of PyYAML into ours."""

    def __init__(self, loader: Any, problems: Problems) -> None:
        self._loader = loader
        self._problems = problems

    def convert(self, found: Any, path: str, depth: int) -> Node:
        """One node and those below it."""
        line = found.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise StackError(EXIT_USAGE, f"line {line}: nested too deeply")
        if found.id == "scalar":
            return Node(self._loader.construct_object(found), line, path, found.value)
        if found.id == "sequence":
            items = [self.convert(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(found.value)]
            return Node(items, line, path)
        return Node(self._mapping(found, path, depth), line, path)

    def _mapping(self, found: Any, path: str, depth: int) -> dict[str, Node]:
        names: set[str] = set()
        for key, _ in found.value:
            name = str(key.value)
            if name in names:
                self._problems.add(Node(None, key.start_mark.line + 1, _below(path, name)), "this key is there twice")
            names.add(name)
        self._loader.flatten_mapping(found)  # what `<<` merges comes first, and what stands here wins
        return {
            str(key.value): self.convert(value, _below(path, str(key.value)), depth + 1) for key, value in found.value
        }


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"


MIB = 2**20
SECONDS, MEMORY_MIB = 10, 512
MAX_SECONDS, MAX_MEMORY_MIB, MAX_SAMPLES = 300, 16384, 100
FILE_KEYS = ("cases", "defaults", "pass_rate", "service")
DEFAULT_KEYS = ("max_tokens", "pass_at", "samples", "system", "temperature")
CASE_KEYS = (*DEFAULT_KEYS, "checks", "messages", "name", "prompt")
PYTHON_KEYS = ("memory_mib", "seconds", "tests")
ROLES = ("system", "user", "assistant")


class Check(NamedTuple):
    """One demand on an answer: `argument` is what the kind needs, `schema` and code included."""

    kind: str
    argument: Any


class Case(NamedTuple):
    """A prompt and its checks. `digest` changes with everything that may change the answer or its judgement.

    Attributes:
        max_tokens: None leaves it to the program.
        samples: answers to ask for; the score is the chance that `pass_at` of them hold one that passes.
    """

    name: str
    messages: list[JsonObject]
    checks: list[Check]
    max_tokens: int | None
    temperature: float
    samples: int
    pass_at: int
    digest: str


class Evaluation(NamedTuple):
    """A file. `pass_rate` and `service` are None where it does not say."""

    cases: list[Case]
    pass_rate: float | None
    service: str | None


def read_evaluation(path: Path) -> Evaluation:
    """Read a file, or raise with every mistake in it."""
    problems = Problems(str(path))
    reader = _Reader(problems)
    found = reader.file(read_tree(path, problems))
    problems.end()
    return found


class _Reader:
    """Reads nodes; a mistake is noted and replaced by something harmless, so that the next one is found too."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def file(self, root: Node) -> Evaluation:
        top = self._mapping(root, FILE_KEYS)
        defaults = self._mapping(top["defaults"], DEFAULT_KEYS) if "defaults" in top else {}
        cases = self._cases(root, top.get("cases"), defaults)
        rate = self._rate(top["pass_rate"]) if "pass_rate" in top else None
        return Evaluation(cases, rate, self._text(top["service"]) if "service" in top else None)

    def _cases(self, root: Node, node: Node | None, defaults: dict[str, Node]) -> list[Case]:
        if node is None or not isinstance(node.value, list) or not node.value:
            self._problems.add(node or root, "`cases` must be a list of at least one case")
            return []
        cases: list[Case] = []
        for item in node.value:
            case = self._case(item, defaults)
            if case.name in [each.name for each in cases]:
                self._problems.add(item, f"another case is called {case.name}")
            cases.append(case)
        return cases

    def _case(self, node: Node, defaults: dict[str, Node]) -> Case:
        own = self._mapping(node, CASE_KEYS)
        keys = {**defaults, **own}
        name = self._text(own["name"]) if "name" in own else ""
        if not name:
            self._problems.add(node, "the case has no `name`")
        samples = self._count(keys.get("samples"), 1, MAX_SAMPLES)
        pass_at = self._count(keys.get("pass_at"), 1, MAX_SAMPLES)
        temperature = self._number(keys["temperature"], 0, 2) if "temperature" in keys else 0.0
        if pass_at > samples:
            self._problems.add(keys["pass_at"], f"`pass_at` is {pass_at}, but `samples` {samples}")
        if samples > 1 and temperature == 0:
            self._problems.add(keys["samples"], "without a `temperature` above 0 every sample is the same")
        messages = self._messages(node, own, keys.get("system"))
        checks = self._checks(node, own.get("checks"))
        limit = self._count(keys["max_tokens"], 1, 2**20) if "max_tokens" in keys else None
        parts = [messages, checks, limit, temperature, samples, pass_at]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return Case(name, messages, checks, limit, temperature, samples, pass_at, digest)

    def _messages(self, node: Node, own: dict[str, Node], system: Node | None) -> list[JsonObject]:
        if ("prompt" in own) == ("messages" in own):
            self._problems.add(node, "a case has either `prompt` or `messages`")
            return []
        first = [{"role": "system", "content": self._text(system)}] if system is not None else []
        if "prompt" in own:
            return [*first, {"role": "user", "content": self._text(own["prompt"])}]
        given = own["messages"]
        if not isinstance(given.value, list) or not given.value:
            self._problems.add(given, "expected a list of messages")
            return []
        messages = [self._message(item) for item in given.value]
        return messages if messages[0]["role"] == "system" else first + messages

    def _message(self, node: Node) -> JsonObject:
        keys = self._mapping(node, ("content", "role"))
        if set(keys) < {"content", "role"}:
            self._problems.add(node, "a message has `role` and `content`")
            return {"role": "user", "content": ""}
        role = self._text(keys["role"])
        if role not in ROLES:
            self._problems.add(keys["role"], f"no role `{role}`: {suggestion(role, ROLES)}")
        return {"role": role, "content": self._text(keys["content"])}

    def _checks(self, case: Node, node: Node | None) -> list[Check]:
        if node is None or not isinstance(node.value, list) or not node.value:
            self._problems.add(node or case, "`checks` must be a list of at least one check")
            return []
        return [check for item in node.value for check in self._check(item)]

    def _check(self, node: Node) -> list[Check]:
        if not isinstance(node.value, dict) or len(node.value) != 1:
            self._problems.add(node, "a check is one `KIND: VALUE`")
            return []
        kind, value = next(iter(node.value.items()))
        reader = self._kinds().get(kind)
        if reader is None:
            self._problems.add(value, f"no check `{kind}`: {suggestion(kind, self._kinds())}")
            return []
        return [Check(kind, reader(value))]

    def _kinds(self) -> dict[str, Callable[[Node], Any]]:
        return {
            "contains": self._texts,
            "not_contains": self._texts,
            "equals": self._text,
            "regex": self._regex,
            "json_schema": self._schema,
            "python": self._python,
        }

    def _texts(self, node: Node) -> list[str]:
        if isinstance(node.value, list):
            return [self._text(item) for item in node.value]
        return [self._text(node)]

    def _regex(self, node: Node) -> str:
        pattern = self._text(node)
        try:
            re.compile(pattern)
        except re.error as error:
            self._problems.add(node, f"not a regular expression: {error}")
        return pattern

    def _schema(self, node: Node) -> Any:
        schema = node.plain()
        if not isinstance(schema, (dict, bool)):
            self._problems.add(node, "expected a JSON schema, a mapping")
            return True
        problem = _answer_checks.schema_problem(schema)
        if problem:
            self._problems.add(node, f"not a JSON schema: {problem}")
        return schema

    def _python(self, node: Node) -> JsonObject:
        keys = self._mapping(node, PYTHON_KEYS) if isinstance(node.value, dict) else {"tests": node}
        tests = self._text(keys["tests"]) if "tests" in keys else ""
        if not tests:
            self._problems.add(node, "there are no `tests`")
        try:
            compile(tests, "tests", "exec")
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno} of the tests" if isinstance(error, SyntaxError) else ""
            self._problems.add(keys.get("tests", node), f"not Python: {error.args[0]}{line}")
        seconds = self._count(keys["seconds"], 1, MAX_SECONDS) if "seconds" in keys else SECONDS
        memory = self._count(keys["memory_mib"], 64, MAX_MEMORY_MIB) if "memory_mib" in keys else MEMORY_MIB
        return {"tests": tests, "seconds": seconds, "memory": memory * MIB}

    def _mapping(self, node: Node, known: tuple[str, ...]) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            self._problems.add(node, "expected a mapping")
            return {}
        for key, item in node.value.items():
            if key not in known:
                self._problems.add(item, f"no key `{key}`: {suggestion(key, known)}")
        return {key: item for key, item in node.value.items() if key in known}

    def _text(self, node: Node) -> str:
        """A text; a number counts as it was written, but `yes` and `null` are traps of YAML."""
        is_number = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        if isinstance(node.value, str) or is_number:
            return node.text
        kind = "true or false" if isinstance(node.value, bool) else "no text"
        self._problems.add(node, f"expected a text, YAML reads this as {kind}: put it in quotes")
        return ""

    def _count(self, node: Node | None, low: int, high: int) -> int:
        if node is None:
            return low
        if type(node.value) is int and low <= node.value <= high:
            return node.value
        self._problems.add(node, f"expected a whole number from {low} to {high}")
        return low

    def _number(self, node: Node, low: float, high: float) -> float:
        if type(node.value) in (int, float) and low <= node.value <= high:
            return float(node.value)
        self._problems.add(node, f"expected a number from {low} to {high}")
        return float(high)

    def _rate(self, node: Node) -> float:
        rate = parse_rate(node.text)
        if rate is None:
            self._problems.add(node, "expected a share such as 0.9 or 90%")
        return rate or 0.0


def parse_rate(text: str) -> float | None:
    """`0.9` or `90%` as a fraction, or None."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(%?)", text.strip())
    if match is None:
        return None
    rate = float(match.group(1)) / (100 if match.group(2) else 1)
    return rate if rate <= 1 else None
