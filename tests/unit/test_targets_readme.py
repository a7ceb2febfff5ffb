"""The README: figures of the plan, commands that are right, and the way for whoever is called at night first."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.targets.readme.costs import cost_page
from compiler.targets.readme.emit import emit_readme
from compiler.targets.readme.tables import device_table, format_signed_gib
from compiler.units import GIB
from tests.conftest import tool
from tests.faithfulness.samples import behind_litellm, everything
from tests.unit import equipped_machine
from tests.unit.plan_samples import COMMIT, kept, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_engine, with_service

TARGETS = [(), ("systemd",), ("compose",), ("quadlet",), ("systemd", "compose"), ("systemd", "compose", "quadlet")]
COMPILING = equipped_machine.needing(two_on_one_gpu(), equipped_machine.LAUNCHES, equipped_machine.SAMPLES)
SAMPLES = [
    two_on_one_gpu(),
    one_on_two_gpus(),
    one_on_cpu(),
    everything(),
    behind_litellm(),
    replace(COMPILING, stack="kernels"),
]
PLANS = [
    pytest.param(replace(plan, targets=("scripts", *targets)), id=f"{plan.stack}-{'-'.join(targets) or 'scripts'}")
    for plan in SAMPLES
    for targets in TARGETS
]


@kept
def text(plan: Plan) -> str:
    (artifact,) = emit_readme(plan)
    return artifact.text


@kept
def files(plan: Plan) -> frozenset[PurePosixPath]:
    """The path of everything that is emitted for a plan."""
    return frozenset(artifact.path for artifact in render_plan(plan))


def blocks(plan: Plan) -> list[str]:
    """Every block of commands, without the indentation that it has in a list."""
    found = re.findall(r"^( *)```bash\n(.*?)^\1```$", text(plan), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in block.splitlines()) + "\n" for indent, block in found]


@pytest.mark.parametrize("plan", PLANS)
def test_every_fence_is_closed_and_read(plan: Plan) -> None:
    assert text(plan).count("```") == 2 * len(blocks(plan))


@cache
def complaints(block: str, *command: str) -> str:
    """What a program says of commands, or nothing if they are fine. Most pages have most of them, so it is kept."""
    done = subprocess.run(command, input=block, text=True, capture_output=True, check=False)
    return f"{block}\n{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.mark.parametrize("plan", PLANS)
def test_commands_are_shell(plan: Plan) -> None:
    for block in blocks(plan):
        assert not complaints(block, "bash", "-n")


@pytest.mark.parametrize("plan", SAMPLES, ids=lambda plan: plan.stack)
def test_shellcheck_has_nothing_to_say(plan: Plan) -> None:
    for block in blocks(plan):
        assert not complaints(block, tool("shellcheck"), "--shell=bash", "--severity=style", "--format=gcc", "-")


# Of the system, and of the environments of vLLM and LiteLLM.
NOT_OURS = {"bash", "pip", "vllm", "litellm"}


@pytest.mark.parametrize("plan", PLANS)
def test_every_program_that_is_named_is_there(plan: Plan) -> None:
    there = {path.name for path in files(plan) if path.parts[0] == "bin"}
    named = set(re.findall(r"\bbin/([a-z][a-z-]*)", "\n".join(blocks(plan)))) - NOT_OURS
    assert {"smoke-test", "prefetch", "preflight"} <= named
    assert named <= there


@pytest.mark.parametrize("plan", PLANS)
def test_every_file_that_is_named_is_there(plan: Plan) -> None:
    there = set(map(str, files(plan)))
    commands = "\n".join(blocks(plan))
    for folder in ("compose", "monitoring"):
        assert set(re.findall(rf"\b{folder}/[\w./-]+\.(?:yaml|yml|json)\b", commands)) <= there


@pytest.mark.parametrize("plan", PLANS)
def test_every_link_leads_to_a_heading(plan: Plan) -> None:
    headings = re.findall(r"^#+ (.*)$", text(plan), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", text(plan))) <= anchors


@pytest.mark.parametrize("plan", PLANS)
def test_every_table_has_as_many_cells_in_every_row(plan: Plan) -> None:
    tables = re.findall(r"(?:^ *\|.*\n)+", text(plan), re.MULTILINE)
    # Night, servers, codes and KV cache; one more where clients meet a gateway, for addresses of units, and for speeds.
    has_speeds = any(each.speed for each in plan.services)
    cost = cost_page(plan)
    more = (plan.gateway is not None) + ("systemd" in plan.targets) + has_speeds + bool(cost and cost.tokens)
    assert len(tables) == len(plan.devices) + len(plan.services) + 4 + more
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_costs_are_ranges_with_the_days_of_their_offers_and_without_anybody_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on every machine and every day: no age, and no prices of who compiles."""
    plan = everything()
    before = text(plan)
    (tmp_path / "stackc").mkdir()
    row = "{gpu: rtx-pro-6000, per_hour: 9.99, currency: EUR, kind: on-demand, date: 2026-11-09}"
    (tmp_path / "stackc" / "models.yaml").write_text(f"prices: [{row}]\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (artifact,) = emit_readme(plan)
    assert artifact.text == before
    section = before.partition("## What it costs")[2].partition("\n## ")[0]
    assert re.search(r"[\d.]+ to [\d.]+ USD an hour, [\d,]+ to [\d,]+ USD for a month of 730 hours", section)
    assert re.search(r"on-demand offers of .*\d{4}-\d{2}", section)
    assert all(f"`{service.name}`" in section for service in plan.services)
    assert not re.search(r"\b(?:days|months|years) old\b", section)


@pytest.mark.parametrize("plan", PLANS)
def test_it_reads_as_one_page(plan: Plan) -> None:
    page = text(plan)
    assert page.startswith("<!-- Written by `stackc compile`. DO NOT EDIT")
    assert "\n\n\n" not in page
    assert page.endswith("|\n")
    assert not re.search(r"[^\n]\n## ", page), "a heading must follow an empty line"


@pytest.mark.parametrize(("domains", "says"), [((), "fetches none"), (("a.example.org", "b.example.org"), "from a.")])
def test_it_says_what_a_server_of_media_fetches(domains: tuple[str, ...], says: str) -> None:
    page = text(with_service(one_on_cpu(), "tiny", media_domains=domains))
    (line,) = [line for line in page.splitlines() if line.startswith("`tiny` takes media")]
    assert says in line
    assert "\n\n\n" not in page
    assert "takes media" not in text(one_on_cpu())


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_needed_at_night_comes_first_and_tables_of_figures_last(plan: Plan) -> None:
    headings = re.findall(r"^## (.*)$", text(plan), re.MULTILINE)
    assert headings[:4] == [
        "Something is wrong: start here", "What runs where", "Start, stop, logs", "Check",
    ]  # fmt: skip
    assert headings[-4:] == ["Memory", "KV cache", "Not confirmed", "Options of each server"]
    assert headings.index("When a start fails") < headings.index("Install")


def test_a_machine_without_gpus_reads_nothing_of_them() -> None:
    page = text(one_on_cpu())
    assert "nvidia" not in page.lower()
    assert "another server on the GPU" not in page


def test_no_line_ends_with_a_space() -> None:
    for plan in SAMPLES:
        assert not re.search(r"[ \t]$", text(plan), re.MULTILINE)


def test_every_exit_code_of_the_programs_is_explained() -> None:
    rows = re.findall(r"^\| (\d\d?) \| ", text(everything()), re.MULTILINE)
    assert set(map(int, rows)) == {*range(1, 7), *range(10, 28), 31}


def test_the_ledger_is_in_gib_with_two_decimals() -> None:
    page = text(two_on_one_gpu())
    found = re.search(r"^\| `coder` \| CUDA context \| 0\.25 \| 0\.50 \| estimate \| (\d+) \|$", page, re.MULTILINE)
    assert found is not None
    assert f"\n{found[1]}. measured on other cards\n" in page
    assert "| – | left | 17.00 | 16.50 |  |  |" in page


@pytest.mark.parametrize(("size", "shown"), [(GIB, "1.00"), (-GIB // 2, "−0.50"), (0, "0.00")])
def test_what_is_missing_has_a_minus(size: int, shown: str) -> None:
    assert format_signed_gib(size) == shown


def test_what_runs_where() -> None:
    page = text(two_on_one_gpu())
    assert f"| `coder` | `http://127.0.0.1:8001` | `org/coder-awq` | `{COMMIT}` | awq |" in page
    assert "| 8193 | 16 | 131072 | 8.00 |" in page


def test_unconfirmed_facts_are_named() -> None:
    assert "- `general`: the full commit: prefetch takes `main`" in text(two_on_one_gpu())
    assert "Every fact about the models was confirmed" in text(one_on_cpu())


def test_commands_name_the_plans_places() -> None:
    page = text(two_on_one_gpu())
    options = "--no-cache-dir --require-hashes --only-binary :all: --no-deps"
    assert f"sudo -u stackc-install /opt/vllm/bin/pip install {options} -r /opt/vllm/requirements.txt" in page
    assert "scp -pr generated/duo SERVER:" in page
    assert "sudo /opt/stackc/duo/current/bin/rollback" in page
    line = next(line for line in page.splitlines() if line.startswith("  sudo -u"))
    assert "HF_HOME=/var/lib/stackc/duo/hf" in shlex.split(line)


def test_only_what_was_compiled_is_explained() -> None:
    page = text(replace(two_on_one_gpu(), targets=("scripts",)))
    for word in ("systemctl", "docker", "podman", "gateway", "bin/rollout", "monitoring"):
        assert word not in page, word
    assert "## By hand" in page


def test_no_secret_is_asked_for_that_the_stack_does_not_have() -> None:
    page = text(one_on_two_gpus())
    assert "api-key" not in page
    assert "hf-token" not in page
    assert "client-keys" not in page
    assert "everyone who reaches a port may use the server" in page


def test_no_key_stands_in_a_command() -> None:
    page = text(everything())
    assert "--header @authorization.txt" in page
    assert not re.search(r"Bearer [^K]", page)


def test_every_stop_and_reset_names_the_gateway_too() -> None:
    lines = [line for line in text(everything()).splitlines() if re.search(r"systemctl (stop|reset-failed)", line)]
    names = ("coder", "general", "general-candidate", "gateway")
    assert len(lines) == 3  # as units, when a start has failed, and with Podman
    for line in lines:
        assert " ".join(f"team-96gb-{name}.service" for name in names) in line


def test_clients_of_a_gateway_find_an_example_and_their_status() -> None:
    page = text(everything())
    (request,) = re.findall(r"--data ('.*?') http", page)
    assert shlex.split(request) == ['{"model": "coder", "messages": [{"role": "user", "content": "Hello"}]}']
    for status in ("401", "404", "413", "429", "502, 503, 504"):
        assert f"| {status} |" in page


def test_a_rollout_is_moved_with_nginx_and_compiled_with_litellm() -> None:
    assert "bin/rollout promote general --wait" in text(everything())
    assert "bin/rollout" not in text(behind_litellm())
    assert "change `weight`, compile and [upgrade]" in text(behind_litellm())


def test_other_places_for_vllm_are_not_guessed_at() -> None:
    plan = two_on_one_gpu()
    page = text(with_engine(plan, program="/usr/local/lib/vllm-serve"))
    assert "pip install" not in page
    assert "`/usr/local/lib/vllm-serve --version` must say 0.33.0" in page


def test_templates_that_are_not_stackc_s_own_are_named() -> None:
    assert f"- `systemd/service.j2`, SHA-256 `{'0' * 64}`" in text(everything())
    assert "## Templates" not in text(two_on_one_gpu())


@pytest.mark.emitted
@pytest.mark.parametrize("plan", PLANS)
def test_the_first_request_is_answered_by_what_it_asks(plan: Plan, tmp_path: Path) -> None:
    (program,) = [block for block in blocks(plan) if block.startswith("python3 - <<'END'")]
    asked: list[tuple[str, dict[str, object], str | None]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"choices": []}')

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    (tmp_path / "authorization.txt").write_text("Authorization: Bearer KEY\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here = re.sub(r'"http://[^/]*/', f'"http://127.0.0.1:{server.server_port}/', program)
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True, check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    ((path, body, key),) = asked
    assert json.loads(done.stdout) == {"choices": []}
    assert f'{path}"' in program
    names = {service.served_name for service in plan.services}
    names |= {route.name for route in plan.gateway.routes} if plan.gateway is not None else set()
    assert body["model"] in names
    needs_key = plan.secrets.api_key if plan.gateway is None else plan.secrets.client_keys
    assert (key is not None) == (needs_key is not None)


def test_each_source_of_the_ledger_stands_once_below_its_table() -> None:
    """A cell of three hundred letters makes a table that nobody can read on a terminal."""
    plan = two_on_one_gpu()
    table = device_table(plan, plan.devices[0])
    sources = [row.source for server in plan.devices[0].servers for row in server.rows]
    assert set(sources) <= set(table.notes)
    assert len(table.notes) == len(set(table.notes))
    numbered = [table.notes[int(str(row[-1])) - 1] for row in table.rows if row[-1]]
    assert [note for note in numbered if note in sources] == sources
    (page,) = emit_readme(plan)
    for number, note in enumerate(table.notes, start=1):
        assert page.text.count(f"\n{number}. {note}") == 1
