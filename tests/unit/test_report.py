"""The page and the picture of a plan: every figure has its source, nothing foreign is markup, and bytes repeat."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from compiler.cli.main import cli
from compiler.engines.vllm.kv_cache.blocks import NULL_BLOCKS, CacheGroup, CacheKind, CacheSpec, KvLayout
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import KvCache, Plan
from compiler.plan.operations import Gateway, Rollout, Route
from compiler.report.capacity import capacity_curve, capacity_steps, requests_at_once
from compiler.report.document import html_of, svg_of
from compiler.report.notes import Notes
from compiler.report.page import MOST_DETAILS, report_page
from compiler.report.picture import MOST_BARS, ledger_picture
from compiler.report.timeline import timeline
from compiler.solve.judgements import Judgement, Standing
from tests.conftest import ROOT
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service

STACKS = sorted(path for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
NODES = ROOT / "tests/cases/nodes/two-nodes/two-nodes.yaml"
EVIL = "<script>alert(1)</script>\"'&\x1b\u202e"


def report(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments])


def explained(*plans: Plan) -> Explained:
    return Explained(plans, {}, {}, {}, {})


class Reader(HTMLParser):
    """What a page is made of; every element must be closed."""

    VOID = frozenset({"meta", "link", "br", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        if found.get("id"):
            self.ids[str(found["id"])] += 1
        self.links += [str(found[key]) for key in ("href", "src", "xlink:href") if key in found]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The page of each shipped stack and of one with two nodes."""
    texts = {}
    for path in (*STACKS, NODES):
        found, _ = explain_stack(path, str(path))
        assert found is not None
        texts[path.stem] = html_of(report_page({path.stem: found}))
    return texts


def test_every_link_leads_somewhere_on_the_page(pages: dict[str, str]) -> None:
    for text in pages.values():
        page = Reader(text)
        assert set(page.ids.values()) == {1}
        assert all(link == "data:," or (link.startswith("#") and link[1:] in page.ids) for link in page.links)
        assert page.tags["script"] == page.tags["img"] == page.tags["iframe"] == 0


def test_the_page_asks_for_nothing(pages: dict[str, str]) -> None:
    for text in pages.values():
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
        assert not re.search(r"@import|url\((?!#)", text)


def test_every_figure_has_its_source_beside_it_and_in_the_notes(pages: dict[str, str]) -> None:
    for text in pages.values():
        notes = re.findall(r'<li id="note-(\d+)">(.*?)</li>', text)
        sources = dict(notes)
        tip = r'<span class="tip" role="tooltip">(.*?)</span>'
        figures = re.findall(rf'<a class="n" href="#note-(\d+)" data-n="(\d+)">[^<]+{tip}', text)
        assert figures
        assert all(link == number and sources[number] == source for link, number, source in figures)
        assert all(notes)
        assert all(sources.values())


def test_all_that_the_plan_knows_is_on_the_page(pages: dict[str, str]) -> None:
    text = pages["team-96gb"]
    for word in ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "1ed0a6145da0ce550c628e8e8b678f51e695995d", "apache-2.0"):
        assert word in text
    for word in (
        "general-candidate",
        "10 %",
        "X-Session-Id",
        "nginx",
        "http://0.0.0.0:8080",
        "the only one that may be",
    ):
        assert word in text
    assert re.search(r"USD an hour, [\d,]+ to [\d,]+ USD a month of 730 hours", text)
    assert "on-demand offers of" in text
    assert all(each in pages["two-nodes"] for each in ("rack1", "desk", "drafts", 'class="seat"'))


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    spec = str(ROOT / "stacks/team-96gb.yaml")
    for form in ("html", "svg", "json"):
        out = tmp_path / f"report.{form}"
        arguments = (spec, "--format", form, "--out", str(out))
        told = report(*arguments).stdout
        assert json.loads(told)["output"] == str(out) if form == "json" else told == f"{out}: written\n"
        before = out.read_bytes()
        told = report(*arguments).stdout
        assert form == "json" or told == f"{out}: unchanged\n"
        assert out.read_bytes() == before
        assert str(ROOT) not in before.decode()


def test_what_comes_from_outside_is_never_markup() -> None:
    plan = two_on_one_gpu()
    service = plan.services[0]
    model = replace(service.model, repository=EVIL, requested=EVIL, license=EVIL, unconfirmed=(EVIL,))
    plan = with_service(plan, "coder", model=model, served_name=EVIL)
    plan = replace(plan, devices=(replace(plan.devices[0], total_source=EVIL),))
    rows = {"coder": (Judgement(EVIL, EVIL, Standing.REFUSED, EVIL, "E0305"),)}
    stack = Explained((plan,), rows, {}, {}, {})
    page = Reader(html_of(report_page({"duo": stack})))
    assert page.tags["script"] == 0
    shown = "".join(page.words)
    assert shown.count("<script>alert(1)</script>\"'&\ufffd\ufffd") >= 8
    named = replace(plan, stack=EVIL, node=replace(plan.node, name=EVIL, title=EVIL))
    root = ET.fromstring(svg_of([named]))
    assert not [each for each in root.iter() if each.tag.endswith("script")]
    assert "<script>" in (root.findtext("{http://www.w3.org/2000/svg}title") or "")


@pytest.mark.parametrize("plan", [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()], ids=lambda plan: plan.stack)
def test_the_picture_s_blocks_lie_side_by_side(plan: Plan) -> None:
    picture = ledger_picture([plan])
    rows: dict[int, list[tuple[float, float]]] = {}
    for block in picture.blocks:
        rows.setdefault(block.y, []).append((float(block.x), float(block.width)))
    for blocks in rows.values():
        ends = [x + width for x, width in blocks]
        assert [x for x, _ in blocks[1:]] == pytest.approx(ends[:-1], abs=0.02)
        assert (blocks[0][0], ends[-1]) == pytest.approx((12, picture.width - 12), abs=0.02)
    root = ET.fromstring(svg_of([plan]))
    assert root.get("viewBox") == f"0 0 {picture.width} {picture.height}"


def layout(block_size: int, window: int | None = None) -> KvLayout:
    full = CacheGroup(CacheSpec(CacheKind.FULL, block_size, 1024), 4, 4096)
    sliding = CacheGroup(CacheSpec(CacheKind.SLIDING, block_size, 1024, window=window), 4, 4096)
    return KvLayout("bfloat16", block_size, 4096, (full, sliding) if window else (full,), 512)


@given(
    block_size=st.sampled_from([16, 32, 128]),
    blocks=st.integers(1, 20_000),
    longest=st.integers(1, 200_000),
    seats=st.integers(1, 64) | st.integers(1, 10**9),
    window=st.none() | st.integers(1, 4096),
)
def test_each_step_is_the_last_length_that_so_many_requests_may_have(
    block_size: int, blocks: int, longest: int, seats: int, window: int | None
) -> None:
    cache = layout(block_size, window)
    service = two_on_one_gpu().services[0]
    kv = KvCache("bfloat16", block_size, 4096, blocks, 0, 0.0)
    service = replace(service, kv_cache=kv, max_model_len=longest, max_num_seqs=seats)
    steps = capacity_steps(cache, service)
    for step in steps:
        assert cache.blocks_for(concurrency=step.requests, length=step.tokens) <= blocks
        assert step.tokens == longest or cache.blocks_for(concurrency=step.requests, length=step.tokens + 1) > blocks
        assert requests_at_once(cache, service, step.tokens) >= step.requests
    assert [step.tokens for step in steps] == sorted({step.tokens for step in steps})
    assert [step.requests for step in steps] == sorted({step.requests for step in steps}, reverse=True)
    curve = capacity_curve(cache, service)
    assert (curve is None) == (not steps)
    if curve is not None:
        assert "nan" not in curve.area
        numbers = [float(number) for number in re.findall(r"[\d.]+", curve.area)]
        assert all(0 <= number <= 460 for number in numbers)
        counts = [int(requests) for _, requests in curve.rows]
        assert counts == sorted(counts, reverse=True)
        assert NULL_BLOCKS + counts[-1] * cache.blocks_per_request(longest) <= blocks


def test_the_curve_of_a_shipped_stack_keeps_what_the_spec_promises() -> None:
    path = ROOT / "stacks/coder-96gb.yaml"
    found, _ = explain_stack(path, str(path))
    assert found is not None
    for service in found.plans[0].services:
        kv_layout = found.capacities[service.name]
        assert requests_at_once(kv_layout, service, service.max_model_len) >= service.concurrency
        assert kv_layout.bytes_per_block == service.kv_cache.bytes_per_block


def test_a_model_that_keeps_nothing_of_a_request_has_no_curve() -> None:
    empty = KvLayout("bfloat16", 16, 0, (), 512)
    assert capacity_curve(empty, two_on_one_gpu().services[0]) is None


def test_starts_follow_those_that_they_wait_for() -> None:
    plan = two_on_one_gpu()
    line = timeline(plan, {"coder": 0, "general": 1}, Notes(), 100)
    assert [(start.service, start.x, start.width) for start in line.starts] == [
        ("coder", "0.000", "50.000"), ("general", "50.000", "50.000"),
    ]  # fmt: skip
    assert [start.latest.text for start in line.starts] == ["10 min", "20 min"]
    assert [start.after for start in line.starts] == ["at once", "after coder"]


def many(count: int) -> Explained:
    """A node of so many servers, each on a GPU of its own."""
    plan = two_on_one_gpu()
    service, device = plan.services[0], plan.devices[0]
    names = [f"service-{index:04}" for index in range(count)]
    services = tuple(
        replace(service, name=name, devices=(index,), port=1025 + index, served_name=name)
        for index, name in enumerate(names)
    )
    devices = tuple(
        replace(device, index=index, servers=(replace(device.servers[0], service=name),))
        for index, name in enumerate(names)
    )
    gateway = Gateway("nginx", "127.0.0.1", 8080, "nginx", 1, None, 0, 1, tuple(Route(n, n, None, 60) for n in names))
    layouts = dict.fromkeys(names, layout(16))
    return Explained((replace(plan, services=services, devices=devices, gateway=gateway),), {}, {}, layouts, {})


def test_a_thousand_services_are_still_a_page() -> None:
    stack = many(1000)
    text = html_of(report_page({"duo": stack}))
    assert len(text) < 4_000_000
    page = Reader(text)
    assert set(page.ids.values()) == {1}
    assert page.tags["article"] == MOST_DETAILS
    assert f"{1000 - MOST_DETAILS} services are not described in full here" in text
    assert "service-0999" in text
    assert len(ledger_picture(stack.plans).heads) == MOST_BARS + 1
    assert len(svg_of(stack.plans)) < 200_000


def test_a_service_that_is_asked_for_is_described_however_many_there_are() -> None:
    last = MOST_DETAILS + 1
    asked = html_of(report_page({"duo": many(last + 1)}, frozenset({f"service-{last:04}"})))
    assert f'id="s0n0-service-{last:04}"' in asked
    assert Reader(asked).tags["article"] == 1


def test_rollouts_are_drawn_with_their_parts() -> None:
    plan = two_on_one_gpu()
    rollout = Rollout("coder", "general", "canary", 25, "client", "X-Session-Id")
    gateway = Gateway("nginx", "::1", 8080, "nginx", 1, 5, 7, 1, (Route("coder", "coder", rollout, 60),))
    page = report_page({"duo": explained(replace(plan, gateway=gateway))})
    way = page.stacks[0].nodes[0].traffic
    assert [(stop.name, stop.label, stop.is_candidate) for stop in way.stops] == [
        ("coder", "coder 75 %", False), ("general", "coder 25 %", True),
    ]  # fmt: skip
    assert way.address == "http://[::1]:8080"
    assert way.sentences[0] == "Rollout: canary, 25 % of the requests for coder go to general, by key."


def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "a picture is of one stack" in report("--format", "svg").stderr
    assert (
        "no service nobody; there are coder, general" in report("stacks/coder-96gb.yaml", "--service", "nobody").stderr
    )
    unfit = report("tests/cases/errors/llama-70b-fp16/llama-70b-fp16.yaml", "--out", str(tmp_path / "x.html"))
    assert (unfit.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "error[E0401]" in unfit.stderr
    for taken in ("x.yaml", "x.lock.yaml"):
        (tmp_path / taken).write_text("")
        over = report(str(tmp_path / "x.yaml"), "--out", str(tmp_path / taken))
        assert (over.exit_code, (tmp_path / taken).read_text()) == (2, "")
    unwritable = report("stacks/coder-96gb.yaml", "--out", str(tmp_path / "none" / "x.html"))
    assert "E0601" in unwritable.stderr


def test_without_a_file_the_terminal_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert report("stacks/coder-96gb.yaml").stdout.startswith("<!doctype html>\n")
    answer = json.loads(report("stacks/coder-96gb.yaml", "--format", "json").stdout)
    (stack,) = answer["report"]["stacks"]
    assert (answer["ok"], stack["name"]) == (True, "coder-96gb")
    assert ET.fromstring(report("stacks/coder-96gb.yaml", "--format", "svg").stdout).tag.endswith("svg")
