"""What nodes and tokens cost, for a page: by the offers that ship with stackc, so that it says the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.plan.cost import MONTH, NodeCost, ServiceCost, Usage, node_cost, service_cost
from compiler.plan.cost_words import CostWords, cost_words, spelled
from compiler.plan.ir import Plan
from compiler.prices.user import UserPrices
from compiler.report.notes import Figure, Notes
from compiler.units import counted


def node_figure(plan: Plan, notes: Notes) -> Figure | None:
    """By the hour and the month; None where no offer is known."""
    words = cost_words(_node(plan))
    if words is None:
        return None
    return notes.figure(f"{words.per_hour} an hour, {words.per_month} a month of {MONTH} hours", _source(words))


def token_figures(plan: Plan, notes: Notes) -> Mapping[str, Figure]:
    """What a million tokens costs with each service, by its name."""
    node = _node(plan)
    words = cost_words(node)
    costs = (service_cost(plan, service, node, Usage()) for service in plan.services)
    return {each.name: _tokens(each, words, notes) for each in costs}


def _node(plan: Plan) -> NodeCost:
    return node_cost(plan, UserPrices())


def _source(words: CostWords) -> str:
    return words.offers + ("" if words.caution is None else f"; {words.caution}")


def _tokens(cost: ServiceCost, words: CostWords | None, notes: Notes) -> Figure:
    served, tokens = cost.served, cost.tokens
    if served is None or tokens is None or words is None:
        return notes.figure("–", f"what a token costs is not known: {cost.unknown}")
    shared = "" if cost.sharing == 1 else ", if it bore the whole cost of its GPUs"
    source = (
        f"{cost.currency}, all tokens alike, of requests of {served.request.input} tokens that are answered with "
        f"{served.request.output}, while {counted(served.at_once, 'request')} run at every hour that is paid{shared}; "
        f"{_source(words)}"
    )
    return notes.figure(spelled(tokens.blended), source)
