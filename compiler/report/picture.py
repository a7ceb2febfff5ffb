"""The ledger as one SVG picture, for a README: geometry in its own units, nothing left to the template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from compiler.plan.ir import Plan
from compiler.report.ledgers import COLORS, look_of, part_title
from compiler.report.paint import shortened
from compiler.report.usage import DeviceUse, PartKind, device_uses
from compiler.units import format_gib

WIDTH = 840
_SIDE, _TOP = 12, 12
_TITLE, _HEAD, _BAR, _NAMES, _GAP = 30, 22, 30, 22, 12
_BAR_WIDTH = WIDTH - 2 * _SIDE
# A letter of 13 units is 7 wide on average; too narrow a part has no name under it.
_LETTER, _LEAST_NAME = 7, 28
MOST_BARS = 64


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a place."""

    x: str
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle, of the look of a PartKind and one of the hues."""

    x: str
    width: str
    y: int
    look: str
    color: int | None
    title: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All bars of a stack."""

    width: int
    height: int
    bar_height: int
    title: Text
    heads: tuple[Text, ...]
    blocks: tuple[Block, ...]
    names: tuple[Text, ...]
    keys: tuple[Block, ...]
    key_names: tuple[Text, ...]
    summary: str


def ledger_picture(plans: Iterable[Plan]) -> Picture:
    """The picture of a stack; beyond MOST_BARS kinds of devices, the last line says how many are left out."""
    all_plans = tuple(plans)
    drawn = [(use, colors_of(plan)) for plan in all_plans for use in device_uses(plan)]
    heads: list[Text] = []
    blocks: list[Block] = []
    names: list[Text] = []
    y = _TOP + _TITLE
    for use, colors in drawn[:MOST_BARS]:
        heads.append(Text(str(_SIDE), y + _HEAD - 7, _head(use)))
        blocks += _blocks(use, colors, y + _HEAD)
        names += _names(use, y + _HEAD + _BAR + 16)
        y += _HEAD + _BAR + _NAMES + _GAP
    if len(drawn) > MOST_BARS:
        heads.append(Text(str(_SIDE), y + _HEAD - 7, f"and {len(drawn) - MOST_BARS} more"))
        y += _HEAD
    verdicts = ", ".join(dict.fromkeys(plan.verdict.value for plan in all_plans))
    summary = f"{all_plans[0].stack}: {verdicts}, {' and '.join(all_plans[0].releases)}"
    keys, key_names = _legend(y)
    return Picture(
        width=WIDTH,
        height=y + 34,
        bar_height=_BAR,
        title=Text(str(_SIDE), _TOP + 14, summary),
        heads=tuple(heads),
        blocks=tuple(blocks),
        names=tuple(names),
        keys=keys,
        key_names=key_names,
        summary=summary,
    )


def colors_of(plan: Plan) -> dict[str, int]:
    """A hue for each server of a node, in start order."""
    return {service.name: index % COLORS for index, service in enumerate(plan.services)}


def _head(use: DeviceUse) -> str:
    count = "" if len(use.indices) == 1 else f"{len(use.indices)} × "
    return f"{use.label}: {count}{format_gib(use.total)} GiB, {format_gib(max(0, use.left))} left at most use"


def _blocks(use: DeviceUse, colors: Mapping[str, int], y: int) -> Iterator[Block]:
    taken = 0
    for part in use.parts:
        if part.bytes:
            color = colors[part.service] if part.service is not None else None
            yield Block(
                _at(taken, use.total), _wide(part.bytes, use.total), y, look_of(part.kind), color, part_title(part)
            )
        taken += part.bytes


def _names(use: DeviceUse, y: int) -> Iterator[Text]:
    taken = use.reserve
    for share in use.shares:
        room = share.expected * _BAR_WIDTH // use.total
        if room >= _LEAST_NAME:
            text = f"{share.service} {format_gib(share.expected)}"
            letters = room // _LETTER
            text = text if len(text) <= letters else shortened(share.service, letters, "…")
            yield Text(_at(taken, use.total), y, text)
        taken += share.expected


def _at(taken: int, total: int) -> str:
    return f"{_SIDE + taken * _BAR_WIDTH / total:.2f}"


def _wide(size: int, total: int) -> str:
    return f"{size * _BAR_WIDTH / total:.2f}"


def _legend(y: int) -> tuple[tuple[Block, ...], tuple[Text, ...]]:
    """Squares of each look, with their names."""
    keys, names, x = [], [], _SIDE
    for kind in PartKind:
        color = 0 if kind in (PartKind.WEIGHTS, PartKind.KV_CACHE, PartKind.OTHER) else None
        keys.append(Block(str(x), "14", y + 8, look_of(kind), color, kind.value))
        names.append(Text(str(x + 20), y + 20, kind.value))
        x += 20 + _LETTER * len(kind.value) + 24
    return tuple(keys), tuple(names)
