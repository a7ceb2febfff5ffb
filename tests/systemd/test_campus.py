"""The shipped stack of two machines with eight cards each: a systemd for both, its units, nginx with TLS, replicas.

Most servers only pose as vLLM or llama.cpp. Two are a real vLLM on the CPU, with a tiny model, behind the same gateway.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan, Service, Timeouts
from tests.conftest import ROOT, tool
from tests.engine.conftest import engine, tiny_model  # noqa: F401  (fixtures)
from tests.gateway.certificates import make_pair
from tests.systemd.machine import Machine
from tests.systemd.test_entrance import connect_with
from tests.systemd.test_installed import engine_mounts, install_engine
from tests.systemd.trees import copy_tree

pytestmark = pytest.mark.engine

STACK = "campus-16xh100"
GATEWAY_NODE, FAR_NODE = "gpu01", "gpu02"
KEY, CLIENT_KEY = "sk-servers-nobody-may-see-this", "sk-clients-nobody-may-see-this"
STUDENT_KEY = "sk-students-nobody-may-see-this"
# One on each machine, in place of the cards' vLLM.
REAL = ("notes", "titles")

SMI = """#!/bin/sh
case $* in
*query-gpu*)
  for index in 0 1 2 3 4 5 6 7; do
    echo "$index, GPU-$index, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000, 580.95.05, Disabled, Enabled"
  done ;;
esac
"""
# Of the plan's command it takes what says where it listens and what it is called.
CHOOSE = """#!/bin/sh
[ "$1" != --version ] || exec /opt/fake/vllm --version
name='' host='' port='' previous=''
for word; do
  case $previous in
    --served-model-name) name=$word ;;
    --host) host=$word ;;
    --port) port=$word ;;
  esac
  previous=$word
done
case $name in
REAL)
  export VLLM_CPU_CI_ENV=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 LD_LIBRARY_PATH=/opt/python/lib
  exec /opt/vllm/bin/vllm serve /srv/models/tiny --served-model-name "$name" --host "$host" --port "$port" \
    --max-model-len 256 --max-num-seqs 4 ;;
*) exec /opt/fake/vllm "$@" ;;
esac
"""
ASK = """
import json, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/stackc/tls-campus-16xh100/fullchain.pem")
context.check_hostname = False
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
key, path, body, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
found = []
for _ in range(count):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"https://10.20.0.11:8443{path}", body.encode() or None, headers)
    try:
        with opener.open(request, timeout=60) as answer:
            found.append([answer.status, answer.headers["X-Stackc-Service"], json.load(answer)])
    except urllib.error.HTTPError as error:
        found.append([error.code, error.headers["X-Stackc-Service"], json.load(error)])
print(json.dumps(found))
"""


def plans() -> dict[str, Plan]:
    """Those that are shipped, with models in folders, and deadlines that a test can wait for."""
    name = f"stacks/{STACK}.yaml"
    compiled, found = compile_stack(ROOT / name, name)
    assert compiled is not None, found
    ready = {plan.node.name: _quick(plan) for plan in compiled.plans}
    near, far = ready[GATEWAY_NODE], ready[FAR_NODE]
    return {GATEWAY_NODE: replace(near, neighbours=(far,)), FAR_NODE: far}


def _quick(plan: Plan) -> Plan:
    programs = {"vllm": "/opt/posing/vllm", "llama.cpp": "/opt/posing/llama-server"}
    engines = {name: replace(each, program=programs[name]) for name, each in plan.engines.items()}
    services = tuple(map(_quick_server, plan.services))
    return replace(plan, engines=engines, services=services, paths=replace(plan.paths, nginx=tool("nginx")), folder="")


def _quick_server(service: Service) -> Service:
    file = None if service.model.file is None else "m.gguf"
    model = replace(
        service.model, repository=None, folder="/srv/models/m", commit=None, is_pinned=False, file=file, files=()
    )
    timeouts = Timeouts(ready=240, start=250, drain=1, stop=9)
    return replace(service, model=model, timeouts=timeouts, start_after=(), host_needs=())


@dataclass(frozen=True, slots=True)
class Campus:
    """Both machines."""

    near: Machine
    far: Machine

    def ask(self, model: str, count: int = 1, key: str = CLIENT_KEY, **body: Any) -> list[tuple[int, str, Any]]:
        """What came of chats through the gateway: the status, the service that answered, and the answer."""
        content = {"model": model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 4, **body}
        words = (key, "/v1/chat/completions", json.dumps(content), str(count))
        return [tuple(each) for each in json.loads(self.near.must("python3", "-c", ASK, *words))]

    def log(self, service: str) -> str:
        """What its unit said, on the machine that has it."""
        unit = f"{STACK}-{service}.service"
        return "".join(machine.log(unit)[-3000:] for machine in (self.near, self.far))


@pytest.fixture(scope="module")
def campus(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:  # noqa: F811
    folder = tmp_path_factory.mktemp("campus")
    pair = make_pair(folder / "tls")
    chain, key = pair.certificate.read_bytes(), pair.key.read_bytes()
    found = plans()
    with ExitStack() as stack:
        machines = {
            name: stack.enter_context(Machine.boot(folder / name, {**engine_mounts(), "/opt/tiny": tiny_model}))
            for name in found
        }
        near, far = machines[GATEWAY_NODE], machines[FAR_NODE]
        connect_with(near, far, "10.20.0.11", "10.20.0.12")
        for name, machine in machines.items():
            prepare(machine, chain, key)
            machine.must(f"{copy_tree(machine, found[name], folder / f'tree-{name}', STACK)}/bin/install", seconds=300)
        for machine in machines.values():
            machine.must("systemctl", "start", f"{STACK}.target", seconds=600)
        yield Campus(near, far)


def prepare(machine: Machine, chain: bytes, key: bytes) -> None:
    install_engine(machine)
    machine.write("/opt/posing/vllm", CHOOSE.replace("REAL", "|".join(REAL)), mode=0o755)
    fake = Path(__file__).with_name("fake_vllm.py").read_text()
    machine.write("/opt/fake/vllm", fake, mode=0o755)
    other = fake.replace("--served-model-name", "--alias").replace("0.33.0", "version: 10434 (7e4c0a9)")
    machine.write("/opt/posing/llama-server", other, mode=0o755)
    machine.write("/opt/posing/nvidia-smi", SMI, mode=0o755)
    machine.write("/srv/models/m/config.json", "{}")
    machine.write("/srv/models/m/model.safetensors", bytes(4096))
    machine.write("/srv/models/m/m.gguf", bytes(4096))
    machine.must("cp", "-r", "/opt/tiny", "/srv/models/tiny")
    machine.must("chmod", "-R", "a+rX", "/srv/models/tiny")
    secrets = {"api-key": KEY, "hf-token": KEY, "client-keys": f"research:{CLIENT_KEY}\nstudents:{STUDENT_KEY}"}
    for secret, text in secrets.items():
        machine.write(f"/etc/stackc/{secret}", text + "\n", mode=0o640)
    machine.write("/etc/stackc/tls-campus-16xh100/fullchain.pem", chain)
    machine.write("/etc/stackc/tls-campus-16xh100/privkey.pem", key, mode=0o600)


def test_every_model_of_the_campus_is_answered_for_through_one_entrance(campus: Campus) -> None:
    (listed,) = json.loads(campus.near.must("python3", "-c", ASK, CLIENT_KEY, "/v1/models", "", "1"))
    names = {model["id"] for model in listed[2]["data"]}
    assert len(names) == 12
    for name in sorted(names - {"embed", "complete"}):
        ((status, service, data),) = campus.ask(name)
        assert status == 200, (name, data, campus.log(service or name))


def test_two_of_its_servers_are_a_real_vllm_one_on_each_machine(campus: Campus) -> None:
    for name in REAL:
        ((status, service, data),) = campus.ask(name, max_tokens=3)
        assert (status, service) == (200, name)
        assert data["usage"]["completion_tokens"] == 3
    asked = {machine: machine.must("ps", "-eo", "args=") for machine in (campus.near, campus.far)}
    assert [sum("/srv/models/tiny" in line for line in text.splitlines()) >= 1 for text in asked.values()] == [True] * 2


def test_replicas_share_the_requests_and_a_session_stays(campus: Campus) -> None:
    ports = Counter(data["port"] for status, _, data in campus.ask("chat", 30) if status == 200)
    assert set(ports) == {8040, 8041, 8042}, ports
    # Requests for the coder stay with one replica for each client.
    kept = Counter(service for _, service, _ in campus.ask("coder", 30))
    assert kept["coder"] + kept["coder-candidate"] == 30, kept
    assert kept["coder"] > kept["coder-candidate"]


def test_a_team_may_ask_for_its_models_alone(campus: Campus) -> None:
    assert [status for status, _, _ in campus.ask("chat", key=STUDENT_KEY)] == [200]
    ((status, _, data),) = campus.ask("reasoning", key=STUDENT_KEY)
    assert status in (403, 404), data
    assert [status for status, _, _ in campus.ask("chat", key="sk-nobody")] == [401]


def test_a_machine_that_is_gone_costs_only_what_it_alone_had(campus: Campus) -> None:
    campus.far.must("ip", "link", "set", "eth0", "down")
    assert {status for status, _, _ in campus.ask("chat", 10)} == {200}
    assert [status for status, _, _ in campus.ask("titles")] in ([502], [503], [504])
    campus.far.must("ip", "link", "set", "eth0", "up")
    campus.near.wait(lambda: campus.ask("titles")[0][0] == 200, 60, "the other machine again")
