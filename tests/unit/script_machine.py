"""A machine for the emitted programs: fake tools on PATH, whole models, a key, and a tree with free ports."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

from compiler.plan.ir import GpuNode, Plan
from tests.unit.plan_samples import PATH, UUIDS, with_host, with_service, write_executable, write_snapshot, write_tree

# An RTX PRO 6000 as nvidia-smi sees it: more memory than CUDA reports.
CARD = (
    f"0, {UUIDS[0]}, NVIDIA RTX PRO 6000 Blackwell Workstation Edition, 12.0, 97887, 97000, "
    "580.95.05, Disabled, Enabled"
)
H100S = [
    f"{index}, {uuid}, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000, 580.95.05, Disabled, Enabled"
    for index, uuid in enumerate(UUIDS)
]
HOLDER = f"{UUIDS[0]}, 4242, VLLM::EngineCore, 50000"
KEY = "sk-very-secret"


class Machine:
    """Complete until a test breaks something."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        for service in plan.services:
            plan = with_service(plan, service.name, port=free_port())
            if service.model.repository:
                commit = service.model.commit or ""
                write_snapshot(root / "hf", service.model.repository, commit + "0" * (40 - len(commit)))
        self.tree = root / "tree"
        product = "RTX PRO 6000 Blackwell" if "6000" in getattr(plan.node, "title", "") else "H100"
        node = replace(plan.node, product=product) if isinstance(plan.node, GpuNode) else plan.node
        self.install(with_host(replace(plan, node=node), cuda="13", minimum_driver="580"))
        self.key = root / "key"
        self.key.write_text(KEY + "\n", encoding="ascii")
        self.key.chmod(0o600)
        self.environment = {
            "PATH": f"{root}/fake:{PATH}",
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "VLLM_CACHE_ROOT": str(root / "cache"),
            "STACKC_API_KEY_FILE": str(self.key),
            "STACKC_LOCK_DIR": str(root / "locks"),
        }
        self.set_version("0.33.0")

    def install(self, plan: Plan) -> None:
        """Write the tree of a plan."""
        self.plan = plan
        write_tree(plan, self.tree)

    def set_gpus(self, *lines: str, exit_code: int = 0, slices: str = "") -> None:
        """What nvidia-smi will say."""
        answer = "\n".join(lines)
        script = f"""#!/bin/sh
case "$1" in *compute-apps*) echo '{HOLDER}' ;; -L) echo '{slices}' ;; *) cat <<'END'
{answer}
END
esac
exit {exit_code}
"""
        write_executable(self.root / "fake" / "nvidia-smi", script)

    def set_version(self, version: str) -> None:
        """What `vllm --version` will say."""
        write_executable(self.root / "fake" / "vllm", f"#!/bin/sh\necho 'INFO starting'\necho {version}\n")

    def run(self, program: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the tree to its end."""
        command = [str(self.tree / "bin" / program), *arguments]
        environment = self.environment | changes
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr
        return done

    def preflight(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program that most tests are about."""
        return self.run("preflight", *arguments)

    def snapshot(self, service: str) -> Path:
        """The folder of a service's model."""
        repository = self.plan.service(service).model.repository or ""
        folder = self.root / "hf" / "hub" / ("models--" + repository.replace("/", "--")) / "snapshots"
        return next(folder.iterdir())

    def files(self) -> dict[str, int]:
        """Every path of this machine, and when it was changed."""
        return {str(path): path.lstat().st_mtime_ns for path in self.root.rglob("*")}


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
