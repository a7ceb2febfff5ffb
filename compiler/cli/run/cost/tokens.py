"""What `stackc cost` says of tokens: what they cost here, and what hosts ask for the same models."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from compiler.cli.run.cost.stack import Asked, StackCost
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.plan.cost import ServiceCost
from compiler.prices.costs import Request
from compiler.prices.dates import age_text
from compiler.prices.hosted import Quartiles
from compiler.prices.text import amount_text, count_range_text, dates_text, range_text
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.speed.estimate import Mark
from compiler.units import counted, format_rate

_TOKENS = (
    Column("service", least=8),
    Column("at once", is_right=True, rank=1),
    Column("tokens/s out", is_right=True, rank=2),
    Column("all alike", is_right=True),
    Column("answers alone", is_right=True),
)
_HOSTS = (
    Column("service", least=8),
    Column("model", least=12),
    Column("in", is_right=True),
    Column("out", is_right=True),
    Column("hosts", is_right=True, rank=1),
)


def service_lines(stack: StackCost, asked: Asked) -> Iterator[str | Line]:
    """What tokens cost here, then what hosts ask for the same models."""
    alike = _alike(stack.services)
    services = [each for each, *_ in alike]
    yield from _tokens(services, asked)
    for first, *others in alike:
        if others:
            names = ", ".join(each.name for each in others)
            yield from wrapped(f"{names}: replicas of {first.of}, as {first.name}", indent=0)
            yield ""
    known = [service for service in services if service.hosted is not None]
    if not known:
        yield from wrapped("no host's price of its models is known", indent=0)
        return
    yield from wrapped("what hosts ask for the same models, USD for a million tokens: median (quartiles)", indent=0)
    rows = [row for each in known for row in _beside(each)]
    yield from table_lines(_HOSTS, rows, terminal_width(), glyphs_of(sys.stdout))
    dates = sorted({each.hosted.date for each in known if each.hosted is not None})
    yield from wrapped(f"as of {dates_text(tuple(dates))}, {age_text(dates[-1], asked.today)} old; "
                       "their quantization and speed are not known")  # fmt: skip
    for each in known:
        yield from _break_even(each)


def _alike(services: Iterable[ServiceCost]) -> list[list[ServiceCost]]:
    """Replicas of a service of which the same is to be told stand together; everybody else alone."""
    groups: list[list[ServiceCost]] = []
    for each in services:
        group = next((group for group in groups if replace(each, name=group[0].name) == group[0]), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    return groups


def _tokens(services: Sequence[ServiceCost], asked: Asked) -> Iterator[str | Line]:
    """A table for each length of requests and each currency."""
    groups: dict[tuple[Request, str | None], list[ServiceCost]] = {}
    for each in services:
        if each.served is not None and each.tokens is not None:
            groups.setdefault((each.served.request, each.currency), []).append(each)
    for (request, currency), group in groups.items():
        yield from wrapped(
            f"a million tokens, {currency}, of requests of {request.input} tokens that are answered with "
            f"{request.output}, {_busy(asked)}", indent=0
        )  # fmt: skip
        yield from table_lines(_TOKENS, [_token_row(each) for each in group], terminal_width(), glyphs_of(sys.stdout))
        yield from _token_remarks(group)
        yield ""
    for each in services:
        if each.unknown is not None:
            yield from wrapped(f"{each.name}: what a token costs is not known: {each.unknown}", indent=0)
            yield ""


def _busy(asked: Asked) -> str:
    share = asked.usage.utilization
    return "while as many run as fit" if share == 1 else f"at {_percent(share)} of what runs where as many run as fit"


def _token_row(service: ServiceCost) -> tuple[str, ...]:
    served, tokens = service.served, service.tokens
    assert served is not None  # noqa: S101  only those are shown
    assert tokens is not None  # noqa: S101  likewise
    low, _, high = served.output
    rate = f"{format_rate(low)} to {format_rate(high)}"
    costs = range_text(tokens.blended), range_text(tokens.output)
    return service.name, str(served.at_once), rate, *costs


def _token_remarks(services: Sequence[ServiceCost]) -> Iterator[str]:
    for mark in (each for each in Mark if each is not Mark.MEASURED):
        names = [each.name for each in services if each.served is not None and each.served.ground.mark is mark]
        if names:
            yield from wrapped(f"speed of {', '.join(names)}: {mark.value}")
    sharing = max(each.sharing for each in services)
    if sharing > 1:
        yield from wrapped(f"each as if it bore the cost of its GPUs alone, where up to {sharing} services run")
    elif any(each.portion < 1 for each in services):
        yield from wrapped("each bears the cost of the GPUs that it runs on, and none that of others")
    unsaturated = [each.name for each in services if each.served is not None and not each.served.is_full]
    if unsaturated:
        yield from wrapped(f"the speed of {', '.join(unsaturated)} with more requests at once is not known: more of "
                           "them would make tokens cheaper")  # fmt: skip


def _beside(service: ServiceCost) -> Iterator[tuple[str, ...]]:
    hosted, tokens = service.hosted, service.tokens
    assert hosted is not None  # noqa: S101  only those are shown
    yield service.name, hosted.id, _quartiles(hosted.input), _quartiles(hosted.output), str(hosted.hosts)
    if tokens is not None and tokens.as_hosts is not None:
        other = "" if service.currency == "USD" else f" {service.currency}"
        prompts, answers = (f"{range_text(each)}{other}" for each in tokens.as_hosts)
        yield "", "here, split as there", prompts, answers, ""


def _quartiles(found: Quartiles) -> str:
    return f"{amount_text(found.median)} ({amount_text(found.first)} – {amount_text(found.third)})"


def _break_even(service: ServiceCost) -> Iterator[str]:
    even = service.break_even
    if even is None:
        return
    others = "" if service.sharing == 1 else f", if it bore the cost of the {counted(service.sharing, 'service')} there"
    request = even.request
    yield from wrapped(
        f"{service.name}: hosts' median is dearer from {count_range_text(even.requests)} such requests a month, of "
        f"{request.input} tokens and {request.output}{others}"
    )
    if even.share is None:
        yield from wrapped("whether the server can do so many is not said: its speed is not known", indent=4)
    elif even.is_out_of_reach:
        yield from wrapped("the server cannot do so many: hosts are cheaper at any load", indent=4)
    else:
        yield from wrapped(
            f"that is {_percent(even.share.low)} to {_percent(even.share.high)} of what it can do", indent=4
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
