"""What tokens cost, and from which load on a server of one's own is no dearer than hosts.

Speeds are plain figures, (low, expected, high) tokens a second of the whole server at a stated load; whoever asks knows
where they are from. Amounts are in the currency of what they are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.prices.hosted import Hosted
from compiler.prices.ranges import Range

TokensPerSecond = tuple[float, float, float]
"""Low, expected, high."""

_MILLION, _SECONDS = 1e6, 3600


@dataclass(frozen=True, slots=True)
class Request:
    """What one takes on average: tokens of its prompt and of its answer, of which at least one is not 0."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class TokenCost:
    """For a million tokens of requests of one length. Three ways to tell one bill: each bears all of it.

    Attributes:
        output: if those of answers bear it alone.
        blended: if all cost the same.
        as_hosts: those of prompts and those of answers, if they are to each other as hosts' medians are; None where
            hosts ask nothing for answers, or none is known.
    """

    output: Range
    blended: Range
    as_hosts: tuple[Range, Range] | None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The load at which a server of one's own costs what hosts' median asks for the same tokens.

    Attributes:
        request: that loads are counted in.
        requests: a month. Below `low` hosts are cheaper, above `high` the server is.
        share: of what the server can do in the hours that it runs; beyond 1 it cannot. None where its speed is unknown.
    """

    request: Request
    requests: Range
    share: Range | None

    @property
    def is_out_of_reach(self) -> bool:
        """Whether hosts are cheaper however busy the server is."""
        return self.share is not None and self.share.low > 1


def per_million(per_hour: Range, speed: TokensPerSecond, utilization: float) -> Range:
    """For a million of the tokens that `speed` counts, where these bear the whole cost.

    Args:
        speed: all above 0.
        utilization: tokens over the paid hours, as a share of what `speed` would make of them: above 0, at most 1.
    """
    low, _, high = speed
    cheapest, dearest = (_SECONDS * rate * utilization / _MILLION for rate in (high, low))
    return Range(per_hour.low / cheapest, per_hour.high / dearest)


def token_cost(
    per_hour: Range, speed: TokensPerSecond, utilization: float, request: Request, hosted: Hosted | None
) -> TokenCost:
    """What a million tokens cost, where a server does nothing but requests of one length.

    Args:
        speed: output tokens a second.
        request: whose `output` is above 0.
    """
    output = per_million(per_hour, speed, utilization)
    blended = output * (request.output / (request.input + request.output))
    if hosted is None or not hosted.output.median:
        return TokenCost(output, blended, None)
    ratio = hosted.input.median / hosted.output.median
    answers = output * (request.output / (request.input * ratio + request.output))
    return TokenCost(output, blended, (answers * ratio, answers))


def hosted_request(hosted: Hosted, request: Request) -> tuple[float, float, float]:
    """What hosts ask for a request, in USD: first quartile, median and third quartile."""
    low, middle, high = (
        (request.input * prompt + request.output * answer) / _MILLION
        for prompt, answer in (
            (hosted.input.first, hosted.output.first),
            (hosted.input.median, hosted.output.median),
            (hosted.input.third, hosted.output.third),
        )
    )
    return low, middle, high


def break_even(
    monthly: Range, hosted: Hosted, request: Request, speed: TokensPerSecond | None = None, hours: float = 0
) -> BreakEven | None:
    """From which load on the server is no dearer than hosts' median; None where these ask nothing.

    Args:
        monthly: what the server costs, in USD.
        speed: output tokens a second at saturation, at the same lengths; None where it is unknown.
        hours: that the server runs in a month.
    """
    _, median, _ = hosted_request(hosted, request)
    if not median:
        return None
    requests = monthly / median
    if speed is None or not hours or not request.output:
        return BreakEven(request, requests, None)
    low, _, high = (rate * _SECONDS * hours / request.output for rate in speed)
    return BreakEven(request, requests, Range(requests.low / high, requests.high / low))
