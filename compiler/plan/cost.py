"""What a plan's node costs, and its services for a million tokens, beside what hosts ask for the same models."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.catalog.hardware.gpus import GPUS, Gpu
from compiler.plan.ir import GpuNode, Plan, Service
from compiler.plan.speed import Measure, ServiceSpeed
from compiler.prices.costs import BreakEven, Request, TokenCost, TokensPerSecond, break_even, token_cost
from compiler.prices.hosted import Hosted, hosted_price
from compiler.prices.machines import MachineCost, machine_cost
from compiler.prices.rentals import Kind
from compiler.prices.user import UserPrices
from compiler.speed.estimate import Ground

MONTH = 730
"""Hours of a stack that always runs, rounded as sellers do."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a stack is used.

    Attributes:
        hours: of a month that it runs.
        utilization: tokens over those hours, as a share of what its servers can do.
    """

    hours: float = MONTH
    utilization: float = 1


@dataclass(frozen=True, slots=True)
class NodeCost:
    """A node, and what it costs or why nothing is known of that."""

    name: str
    cost: MachineCost | None
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The load that costs of tokens are for.

    Attributes:
        request: tokens of each.
        at_once: requests that are open.
        is_full: more would wait; else nothing is known of more.
        output: tokens a second that all get.
    """

    request: Request
    at_once: int
    is_full: bool
    output: TokensPerSecond
    ground: Ground


@dataclass(frozen=True, slots=True)
class ServiceCost:
    """A service beside what hosts ask.

    Attributes:
        portion: of the node's GPUs, those that it runs on: what it is counted with.
        sharing: how many services run on any of these, itself among them; each is counted with all of them.
        served: None where its speed is unknown.
        unknown: why nothing is said of its tokens, as half a sentence; None where something is.
        tokens: if it bore the whole cost of its GPUs; None without a speed or a price.
        break_even: None where it cannot be said.
        of: the service that it is a server of.
    """

    name: str
    model: str
    hosted: Hosted | None
    portion: float
    sharing: int
    currency: str | None = None
    served: Served | None = None
    unknown: str | None = None
    tokens: TokenCost | None = None
    break_even: BreakEven | None = None
    of: str = ""


def node_cost(plan: Plan, user: UserPrices, *, kind: Kind | None = None, provider: str | None = None) -> NodeCost:
    """What its cards cost, as they are let or owned (`machine_cost`)."""
    node = plan.node
    if not isinstance(node, GpuNode):
        return NodeCost(node.name, None, "it has no GPU, and prices of other machines are not known")
    if node.cards:
        return NodeCost(node.name, None, "it has cards of several models, and offers are of one")
    gpu = _card(node)
    if gpu is None:
        return NodeCost(node.name, None, "the spec describes its cards itself, and no offer names them")
    return NodeCost(node.name, machine_cost(gpu.name, _whole_cards(node, gpu), user, kind=kind, provider=provider))


def _card(node: GpuNode) -> Gpu | None:
    """The catalog's, by the title that a plan has of it."""
    title = node.title.removesuffix(f" MIG {node.mig}")
    return next((gpu for gpu in GPUS.values() if gpu.title == title and gpu.product == node.product), None)


def _whole_cards(node: GpuNode, gpu: Gpu) -> int:
    """Slices are let with the card that they are of."""
    profile = gpu.profile(node.mig) if node.mig is not None else None
    return node.count if profile is None else -(-node.count // profile.most)


def service_cost(
    plan: Plan, service: Service, node: NodeCost, usage: Usage, request: Request | None = None
) -> ServiceCost:
    """What a service costs.

    Args:
        node: what its node costs.
        request: as clients send them; None for those that the plan's speed is for.
    """
    served = _served(service)
    asked = request or (served.request if served is not None else None)
    # Of requests that are longer than the server takes, its speed is told for shorter ones.
    found = ServiceCost(
        service.name,
        service.model.requested,
        _hosted(service),
        *_place(plan, service),
        served=served if served is not None and served.request == asked else None,
        unknown=_why_unknown(service, node, asked),
        of=service.of,
    )
    return _priced(found, node, usage, asked)


def _place(plan: Plan, service: Service) -> tuple[float, int]:
    """The part of the node's GPUs that a service runs on, and how many services run on any of these."""
    own = set(service.devices)
    count = plan.node.count if isinstance(plan.node, GpuNode) else 1
    return len(own) / count, sum(not own.isdisjoint(each.devices) for each in plan.services)


def _hosted(service: Service) -> Hosted | None:
    model = service.model
    return hosted_price(filter(None, (model.requested, model.repository, *model.base_models)))


def _why_unknown(service: Service, node: NodeCost, asked: Request | None) -> str | None:
    if node.cost is None or node.cost.counted is None:
        return "no price of its node is known"
    if service.speed is None:
        return "its speed is not known"
    if asked is not None and asked.input + asked.output > service.max_model_len:
        return f"a request has {service.max_model_len} tokens at most"
    return None


def _priced(found: ServiceCost, node: NodeCost, usage: Usage, asked: Request | None) -> ServiceCost:
    """With what its tokens cost, and from which load on that is less than hosts ask."""
    counted = node.cost.counted if node.cost is not None else None
    if counted is None:
        return found
    monthly, served = counted.per_month(usage.hours) * found.portion, found.served
    tokens = even = None
    if served is not None:
        tokens = token_cost(monthly / usage.hours, served.output, usage.utilization, served.request, found.hosted)
    # Hosts ask dollars, and nothing is converted.
    if counted.currency == "USD" and found.hosted is not None and asked is not None:
        speed = served.output if served is not None and served.is_full else None
        even = break_even(monthly, found.hosted, asked, speed, usage.hours)
    return replace(found, currency=counted.currency, tokens=tokens, break_even=even)


def _served(service: Service) -> Served | None:
    """With as many requests as run at once; where nothing is known of those, with as many as are promised, or one."""
    speed = service.speed
    if speed is None:
        return None
    measure = _fullest(speed)
    output = measure.speed.output_rate
    is_full = measure is speed.full or service.max_num_seqs == 1
    figures = (output.low, output.expected, output.high)
    request = Request(speed.prompt, speed.answer)
    return Served(request, measure.concurrency, is_full, figures, measure.speed.ground)


def _fullest(speed: ServiceSpeed) -> Measure:
    return speed.full or speed.at_promise
