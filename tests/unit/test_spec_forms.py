"""What is offered in place of a text of the wrong form, and as a port where there is none."""

from __future__ import annotations

import pytest

from compiler.engines.registry import ENGINES
from compiler.source.text import SourceText
from compiler.spec.reading.load import load_spec

SPEC = """\
stack: s
engine: {{vllm: 0.33.0}}
nodes:
  a: {{gpus: {{model: l40s}}{node}}}
services:
  {service}: {{model: Qwen/Qwen3-8B, context: 16K, port: 8000{replicas}}}
{more}"""


def found(service: str = "chat", replicas: str = "", node: str = "", more: str = "") -> list[tuple[str, list[str]]]:
    """Messages, each with what is offered."""
    text = SPEC.format(service=service, replicas=replicas, node=node, more=more)
    _, problems = load_spec(SourceText("s.yaml", text), ENGINES)
    return [(each.message, [offer.text for offer in each.helps]) for each in problems]


@pytest.mark.parametrize(
    ("name", "offered"),
    [("Chat", ["write `chat`"]), ("my_chat", ["write `my-chat`"]), ('"my chat!"', ["write `my-chat`"]), ('"__"', [])],
)
def test_a_name_that_may_be_any_is_answered_with_the_nearest(name: str, offered: list[str]) -> None:
    ((message, helps),) = found(service=name)
    assert "must be lower-case letters, digits and `-`" in message
    assert helps == offered


@pytest.mark.parametrize(
    ("node", "more"),
    [
        (', address: "http://10.0.0.11"', ""),
        (', interface: "eth0:1"', ""),
        ("", "gateway: {port: 8080, host: 10.0.0.1/24}\n"),
        ("", "slurm: {partition: gpu part}\n"),
    ],
)
def test_what_others_have_named_is_not_guessed(node: str, more: str) -> None:
    """`http-10.0.0.11` would have the right form, and be no address."""
    ((message, helps),) = found(node=node, more=more)
    assert "must be" in message
    assert "^" not in message, "a pattern teaches nobody"
    assert helps == []


@pytest.mark.parametrize(
    ("replicas", "more", "port"),
    [
        ("", "", 8010),
        (", replicas: 12", "", 8020),
        ("", "gateway: {port: 8080}\n", 8090),
        ("", "gateway: {port: 443}\n", 8010),
    ],
)
def test_the_port_that_is_offered_is_free(replicas: str, more: str, port: int) -> None:
    embed = "  embed: {model: Qwen/Qwen3-8B, context: 16K}\n"
    ((_, helps),) = found(replicas=replicas, more=embed + more)
    assert helps == [f"add `port: {port}`"]
