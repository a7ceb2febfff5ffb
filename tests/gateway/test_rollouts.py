"""Two revisions of a service: shares, sessions, and not a request lost while they change."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.gateway.machine import Machine, gateway_plan, machine_with, with_rollout
from tests.gateway.servers import KEY, OTHER_KEY, Answer, Client
from tests.unit.plan_samples import with_service, write_executable, write_tree

CANDIDATE = "general-candidate"


def served_by(machine: Machine, count: int, headers: dict[str, str] | None = None) -> Counter[str]:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: machine.client.chat("general", headers), range(count)))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.data["server"] == answer.headers["x-stackc-service"] for answer in answers)
    return Counter(answer.headers["x-stackc-service"] for answer in answers)


def is_share(seen: int, count: int, percent: int, deviations: float) -> bool:
    share = percent / 100
    return abs(seen - count * share) <= deviations * math.sqrt(count * share * (1 - share))


def assert_share(seen: int, count: int, percent: int) -> None:
    """Four standard deviations: one true share in 16,000 lies outside."""
    assert is_share(seen, count, percent, 4), (seen, count, percent)


def test_the_candidate_gets_its_share_of_a_thousand_requests(machine: Machine) -> None:
    # A true share lies outside three standard deviations once in 370 times, and hardly ever twice.
    seen = [served_by(machine, 1000)[CANDIDATE]]
    if not is_share(seen[0], 1000, 10, 3):
        seen.append(served_by(machine, 1000)[CANDIDATE])
    assert is_share(seen[-1], 1000, 10, 3), seen


def test_a_session_stays_with_one_revision_and_moves_only_towards_the_candidate(nginx: str, tmp_path: Path) -> None:
    plan = with_rollout(gateway_plan(), sticky="header", header="X-Chat-Session", weight=20)
    with machine_with(tmp_path, plan) as machine, machine.running():

        def revision(session: int) -> str:
            return machine.client.chat("general", {"X-Chat-Session": f"s{session}"}).headers["x-stackc-service"]

        first = [revision(session) for session in range(200)]
        assert_share(first.count(CANDIDATE), 200, 20)
        assert [revision(session) for session in range(200)] == first
        machine.rollout("shift", "general", "60")
        second = [revision(session) for session in range(200)]
        assert_share(second.count(CANDIDATE), 200, 60)
        assert all(later == CANDIDATE for earlier, later in zip(first, second, strict=True) if earlier == CANDIDATE)
        assert len(served_by(machine, 60)) == 2, "requests of no session are divided one by one"


def test_a_client_stays_with_one_revision(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, with_rollout(gateway_plan(), sticky="client", weight=50)) as machine:
        keys = {f"client{index}": f"key-of-client-{index:04}" for index in range(100)}
        machine.keys.write_text("".join(f"{name}:{key}\n" for name, key in keys.items()))
        with machine.running():

            def revision(key: str) -> str:
                return Client(machine.port, key).chat("general").headers["x-stackc-service"]

            answers = {key: revision(key) for key in keys.values()}
            assert_share(Counter(answers.values())[CANDIDATE], 100, 50)
            some = list(keys.values())[:10]
            for _ in range(3):
                assert [revision(key) for key in some] == [answers[key] for key in some]


def test_blue_green_begins_with_the_stable_revision_and_promotion_moves_everything(nginx: str, tmp_path: Path) -> None:
    plan = with_rollout(gateway_plan(), strategy="blue-green", weight=0)
    with machine_with(tmp_path, plan) as machine, machine.running():
        assert served_by(machine, 100) == {"general": 100}
        done = json.loads(machine.rollout("promote", "general", "--json").stdout)
        assert (done["before"], done["after"], done["changed"], done["runtime"]) == (0, 100, True, "process")
        assert "services.general" in done["next"]
        assert served_by(machine, 100) == {CANDIDATE: 100}
        machine.rollout("rollback", "general")
        assert served_by(machine, 100) == {"general": 100}


@dataclass
class Load:
    """Twenty requests a second, every second one a stream of half a second, until told to stop."""

    machine: Machine
    answers: list[Answer] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        threads: list[threading.Thread] = []
        while not self.stopped.is_set():
            threads.append(threading.Thread(target=self.ask, args=(len(threads),)))
            threads[-1].start()
            time.sleep(0.05)
        for thread in threads:
            thread.join()

    def ask(self, index: int) -> None:
        try:
            stream = {"stream": True, "chunks": 5, "gap": 0.1} if index % 2 else {}
            self.answers.append(self.machine.client.chat("general", **stream))
        except Exception as error:
            self.failures.append(error)


def test_not_a_request_is_lost_while_shares_change(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        load = Load(machine)
        thread = threading.Thread(target=load.run)
        thread.start()
        moves = (("shift", "general", "50"), ("promote", "general"), ("rollback", "general"), ("promote", "general"))
        for words in moves:
            time.sleep(0.5)
            machine.rollout(*words)
        machine.rollout("rollback", "general", "--wait", "20")
        load.stopped.set()
        thread.join()
        assert load.failures == []
        assert {answer.status for answer in load.answers} == {200}
        streams = [answer for answer in load.answers if answer.headers["content-type"].startswith("text/event-stream")]
        assert len(load.answers) > 60
        assert len(streams) > 30
        assert all(answer.body.endswith(b"data: [DONE]\n\n") and len(answer.times) == 6 for answer in streams)
        assert {answer.headers["x-stackc-service"] for answer in load.answers} == {"general", CANDIDATE}


def test_waiting_lasts_until_the_last_request_of_the_old_share_has_ended(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        answers: list[Answer] = []
        stream = threading.Thread(target=lambda: answers.append(machine.client.chat("general", stream=True, chunks=25)))
        stream.start()
        while not (machine.servers["general"].seen or machine.servers[CANDIDATE].seen):
            time.sleep(0.01)
        late = machine.command("rollout", "shift", "general", "30", "--wait", "0.5", "--runtime", "process")
        assert (late.returncode, "finish earlier requests" in late.stderr) == (3, True), late.stderr
        assert not answers
        machine.rollout("rollback", "general", "--wait")
        assert answers
        stream.join()
        assert answers[0].body.endswith(b"[DONE]\n\n")


def test_a_share_survives_a_restart_and_ends_with_its_revisions(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine:
        with machine.running():
            machine.rollout("shift", "general", "70")
        with machine.running():
            assert "70 %" in machine.rollout("status").stdout
            assert_share(served_by(machine, 300)[CANDIDATE], 300, 70)
        other = with_service(machine.plan, CANDIDATE, environment=(("A", "1"),))
        write_tree(other, machine.tree)
        with machine.running():
            row = json.loads(machine.rollout("status", "--json").stdout)["rollouts"][0]
            assert (row["weight"], row["planned_weight"]) == (10, 10)


def test_requests_go_to_no_server_that_is_not_ready(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ("coder", "general")) as machine, machine.running():
        for words in (("promote", "general"), ("shift", "general", "20")):
            done = machine.command("rollout", *words, "--runtime", "process")
            assert (done.returncode, CANDIDATE in done.stderr, "--force" in done.stderr) == (3, True, True)
        assert not (tmp_path / "state/rollout/general").exists()
        machine.rollout("rollback", "general")
        assert served_by(machine, 50) == {"general": 50}
        machine.rollout("promote", "general", "--force")
        assert machine.client.chat("general").error["code"] == "server_unavailable"


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    done = json.loads(machine.rollout("shift", "general", "90", "--dry-run", "--json").stdout)
    assert (done["before"], done["after"], done["changed"]) == (10, 90, False)
    assert "10 %" in machine.rollout("status").stdout
    assert not (machine.root / "state/rollout").exists()


def test_a_gateway_that_refuses_keeps_its_share(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        machine.rollout("shift", "general", "30")
        config = machine.tree / "gateway/nginx.conf"
        config.write_text(config.read_text() + "nonsense;\n")
        done = machine.command("rollout", "promote", "general", "--runtime", "process")
        assert (done.returncode, "nonsense" in done.stderr) == (20, True), done.stderr
        assert "weight=30\n" in (tmp_path / "state/rollout/general").read_text()
        assert_share(served_by(machine, 200)[CANDIDATE], 200, 30)


@pytest.mark.parametrize("text", ["", "weight=90", "weight=900\nfingerprint=x\n", "weight=$(id)\n", "\0\0\0"])
def test_a_damaged_share_counts_as_none(nginx: str, tmp_path: Path, text: str) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        (tmp_path / "state/rollout").mkdir(parents=True)
        (tmp_path / "state/rollout/general").write_text(text)
        with machine.running():
            state = json.loads(machine.gateway("status", "--json").stdout)
            assert state["splits"] == [{"service": "general", "candidate": CANDIDATE, "weight": 10}]


def test_a_share_is_not_written_through_a_link(nginx: str, tmp_path: Path) -> None:
    """The folder is the servers' user's, and root may be the one who shifts."""
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "general").write_text("precious")
        (tmp_path / "state").mkdir(exist_ok=True)
        folder = tmp_path / "state/rollout"
        folder.symlink_to(outside)
        assert machine.gateway("weight", "general", "30").returncode == 4
        folder.unlink()
        folder.mkdir()
        (folder / "general").symlink_to(outside / "general")
        assert machine.gateway("weight", "general", "30").returncode == 0
        assert (folder / "general").read_text().startswith("weight=30\n")
        assert {path.name: path.read_text() for path in outside.iterdir()} == {"general": "precious"}


def test_only_configurations_of_its_own_are_cleared_away(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        folder, outside = Path(machine.environment["STACKC_GATEWAY_DIR"]), tmp_path / "outside"
        ours = folder / "conf-01234567-89ab-cdef-0123-456789abcdef"
        for path in (folder / "conf-mine" / "file", outside / "file", ours / "file"):
            path.parent.mkdir(parents=True)
            path.write_text("precious")
        linked = folder / "conf-ffffffff-89ab-cdef-0123-456789abcdef"
        linked.symlink_to(outside)
        with machine.running():
            assert not ours.exists()
            assert (folder / "conf-mine/file").exists()
            assert (outside / "file").exists()
            assert linked.is_symlink()


def test_usage_and_a_gateway_that_does_not_run(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        assert machine.command("rollout", "status", "--runtime", "process").returncode == 4
        for words in ([], ["shift", "general"], ["shift", "general", "101"], ["promote", "coder"], ["promote", "none"]):
            assert machine.command("rollout", *words, "--runtime", "process").returncode == 2, words
        assert "rollback" in machine.command("rollout", "--help").stdout


def test_a_unit_is_reloaded_by_systemd_and_a_container_inside_it(nginx: str, tmp_path: Path) -> None:
    """Both are recorded commands that stand for the real ones; each passes on to the gateway of this machine."""
    with machine_with(tmp_path, gateway_plan()) as machine, machine.running():
        programs, gateway = tmp_path / "programs", machine.tree / "bin/gateway"
        exports = "\n".join(f"export {name}={value}" for name, value in machine.environment.items() if name != "PATH")
        record = f'#!/bin/bash\necho "${{0##*/}} $*" >>{tmp_path}/calls\n{exports}\n'
        reload = f"[[ $1 != reload ]] || exec {gateway} reload\n"
        write_executable(programs / "systemctl", f'{record}{reload}exit "$(<{tmp_path}/is-active)"\n')
        inside = f'while [[ $1 != */bin/gateway ]]; do shift; done\nshift\nexec {gateway} "$@"\n'
        write_executable(programs / "docker", f'{record}[[ $* == *" ps "* ]] && echo id && exit\n{inside}')
        path = f"{programs}:{machine.environment['PATH']}"

        (tmp_path / "is-active").write_text("0")
        done = machine.command("rollout", "shift", "general", "40", "--json", PATH=path)
        assert (done.returncode, json.loads(done.stdout)["runtime"]) == (0, "systemd"), done.stderr
        assert "systemctl reload duo-gateway.service\n" in (tmp_path / "calls").read_text()

        (tmp_path / "is-active").write_text("3")
        done = machine.command("rollout", "shift", "general", "50", "--json", PATH=path)
        assert (done.returncode, json.loads(done.stdout)["runtime"]) == (0, "compose"), done.stderr
        assert json.loads(done.stdout)["before"] == 40
        calls = (tmp_path / "calls").read_text()
        inside = "exec -T gateway /bin/bash /opt/stackc/bin/gateway"
        compose = f"docker compose --file {machine.tree}/compose/compose.yaml {inside}"
        assert f"{compose} weight general 50\n{compose} reload\n" in calls
        assert KEY not in calls
        assert OTHER_KEY not in calls
