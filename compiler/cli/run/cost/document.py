"""What `stackc cost` says, for programs: amounts are numbers with their currency beside them."""

from __future__ import annotations

from typing import Any

from compiler.cli.run.cost.offers import price_object, range_object
from compiler.cli.run.cost.stack import Asked, StackCost
from compiler.plan.cost import NodeCost, Served, ServiceCost
from compiler.prices.costs import BreakEven, TokenCost, hosted_request
from compiler.prices.data_files import source_text
from compiler.prices.dates import age_text
from compiler.prices.hosted import Hosted, Quartiles
from compiler.prices.owned import Owned
from compiler.prices.rentals import PriceRange


def stack_object(stack: StackCost, asked: Asked) -> dict[str, Any]:
    """One stack."""
    return {
        "hours_per_month": asked.hours,
        "total": {
            currency: {"per_hour": range_object(total.per_hour), "per_month": range_object(total.per_month)}
            for currency, total in stack.totals(asked.hours).items()
        },
        "nodes_without_price": list(stack.unpriced),
        "nodes": [_node(node, asked) for node in stack.nodes],
        "services": [_service(service, asked) for service in stack.services],
    }


def _node(node: NodeCost, asked: Asked) -> dict[str, Any]:
    cost = node.cost
    if cost is None:
        return {"node": node.name, "unknown": node.unknown}
    counted = cost.counted
    return {
        "node": node.name,
        "gpu": cost.gpu,
        "count": cost.count,
        "counted": None if counted is None else "owned" if isinstance(counted, Owned) else counted.kind.value,
        "offers": [_dated(each, asked) for each in cost.offers],
        "owned": None if cost.owned is None else _owned(cost.owned, asked),
    }


def _dated(price: PriceRange, asked: Asked) -> dict[str, Any]:
    newest = price.dates[-1] if price.dates else None
    month = {"per_month": range_object(price.per_month(asked.hours))}
    return price_object(price) | month | {"newest_is_old": age_text(newest, asked.today)}


def _owned(owned: Owned, asked: Asked) -> dict[str, Any]:
    return {
        "currency": owned.currency,
        "gpus": owned.count,
        "kilowatts": range_object(owned.kilowatts),
        "board_watts_are_the_limit": owned.is_limit,
        "electricity_per_hour": range_object(owned.power_per_hour),
        "capital_per_hour": owned.capital_per_hour,
        "per_hour_always_on": range_object(owned.per_hour),
        "per_month": range_object(owned.per_month(asked.hours)),
        "source": owned.source,
    }


def _service(service: ServiceCost, asked: Asked) -> dict[str, Any]:
    return {
        "service": service.name,
        "model": service.model,
        "part_of_node": service.portion,
        "services_on_its_gpus": service.sharing,
        "currency": service.currency,
        "utilization": asked.usage.utilization,
        "unknown": service.unknown,
        "load": None if service.served is None else _load(service.served),
        "per_million": None if service.tokens is None else _tokens(service.tokens),
        "hosted": None if service.hosted is None else _hosted(service.hosted, service.served, asked),
        "break_even": None if service.break_even is None else _break_even(service.break_even),
    }


def _load(served: Served) -> dict[str, Any]:
    ground = served.ground
    return {
        "prompt_tokens": served.request.input,
        "answer_tokens": served.request.output,
        "requests_at_once": served.at_once,
        "is_all_that_runs": served.is_full,
        "output_tokens_per_second": dict(zip(("low", "expected", "high"), served.output, strict=True)),
        "rests_on": {"mark": ground.mark.value, "reasons": list(ground.reasons)},
    }


def _tokens(tokens: TokenCost) -> dict[str, Any]:
    split = tokens.as_hosts
    return {
        "output_alone": range_object(tokens.output),
        "all_alike": range_object(tokens.blended),
        "in_the_ratio_of_hosts": None
        if split is None
        else {"input": range_object(split[0]), "output": range_object(split[1])},
    }


def _break_even(even: BreakEven) -> dict[str, Any]:
    return {
        "request": {"input": even.request.input, "output": even.request.output},
        "requests_per_month": range_object(even.requests),
        "share_of_saturation": None if even.share is None else range_object(even.share),
        "is_out_of_reach": even.is_out_of_reach,
    }


def _hosted(hosted: Hosted, served: Served | None, asked: Asked) -> dict[str, Any]:
    lengths = asked.request or (served.request if served is not None else None)
    request = None if lengths is None else hosted_request(hosted, lengths)
    return {
        "model": hosted.id,
        "hosts": hosted.hosts,
        "date": hosted.date,
        "source": source_text(hosted.source),
        "usd_per_million_input": _quartiles(hosted.input),
        "usd_per_million_output": _quartiles(hosted.output),
        "usd_per_request": None if request is None else dict(zip(("p25", "median", "p75"), request, strict=True)),
    }


def _quartiles(found: Quartiles) -> dict[str, float]:
    return {"low": found.low, "p25": found.first, "median": found.median, "p75": found.third, "high": found.high}
