"""What pip installs on a machine: every package at one version, every file with its hash, the same in every place."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.catalog.images import GATEWAY_IMAGES
from compiler.catalog.packages import (
    LITELLM_REQUIREMENT,
    LITELLM_VERSION,
    Requirements,
    litellm_requirements,
    parse_requirements,
)
from compiler.engines.vllm.host.packages import vllm_requirements
from compiler.engines.vllm.releases import RELEASES
from compiler.plan.ir import Plan
from compiler.targets.readme.emit import PIP_OPTIONS, emit_readme
from compiler.targets.requirements import emit_requirements, requirement_files
from tests.conftest import ROOT, missing
from tests.unit.container_samples import behind_gateway
from tests.unit.equipped_machine import SAMPLES, needing
from tests.unit.plan_samples import ALL_PACKAGES, one_on_cpu, two_on_one_gpu
from tools.lock_packages import TARGETS, Pin, format_requirements, shortened

TESTED = ROOT / "tests/gateway/requirements.txt"


def sets() -> list[Requirements]:
    gpu = [vllm_requirements(release.version) for release in RELEASES.values() if release.build == "gpu"]
    assert all(gpu), "a GPU release has no list of hashes"
    return [*filter(None, gpu), litellm_requirements()]


def name_of(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.mark.parametrize("requirements", sets(), ids=lambda each: str(each.root))
def test_every_package_has_one_version_and_hashes_on_every_machine(requirements: Requirements) -> None:
    assert len(requirements.packages) > 100
    for target in TARGETS:
        taken = [each.name for each in requirements.packages if target in Pin(each.name, "", each.marker).targets]
        assert len(taken) == len(set(taken)), target
    for line in requirements.text.splitlines():
        assert re.match(r"# |    --hash=sha256:[0-9a-f]{64}( \\)?$|[a-z0-9][a-z0-9._-]*==", line), line


@pytest.mark.parametrize("requirements", sets(), ids=lambda each: str(each.root))
def test_the_list_says_when_and_how_it_was_read_and_nothing_of_the_machine(requirements: Requirements) -> None:
    head = "\n".join(line for line in requirements.text.splitlines() if line.startswith("#"))
    assert requirements.root in head
    assert re.search(r"\d{4}-\d\d-\d\d", head)
    assert "uv lock --exclude-newer" in head
    assert "/" not in requirements.text.replace("https://", "").partition("\n")[2], "a path or a URL"


def test_torch_is_the_one_that_this_vllm_was_built_for() -> None:
    """A constraint of the machine that made the list would have brought another one."""
    requirements = vllm_requirements("0.33.0")
    assert requirements is not None
    versions = {each.name: each.version for each in requirements.packages}
    assert (versions["vllm"], versions["torch"]) == ("0.33.0", "2.14.0")
    metadata = next((ROOT / ".engine/vllm-0.33.0").glob("vllm-*.dist-info/METADATA"), None)
    if metadata is not None:
        assert f"Requires-Dist: torch=={versions['torch']}\n" in metadata.read_text()


def test_what_is_installed_of_litellm_is_what_the_tests_run() -> None:
    lines = TESTED.read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    locked = {each.name: each.version for each in litellm_requirements().packages}
    assert locked["litellm"] == tested["litellm"] == LITELLM_VERSION
    tested = {name_of(name): version for name, version in tested.items()}
    differing = {name: (version, tested.get(name)) for name, version in locked.items() if version != tested.get(name)}
    assert set(differing) <= {"async-timeout"}, "only older Pythons than the tests' need that one"


def test_the_image_of_litellm_is_the_same_release() -> None:
    assert GATEWAY_IMAGES["litellm"].reference.endswith(f":v{LITELLM_VERSION}")


def files_of(plan: Plan) -> dict[str, str]:
    return {str(path): requirements.text for path, requirements in requirement_files(plan).items()}


def test_what_a_stack_installs_is_in_the_library_that_all_stacks_have() -> None:
    emitted = {str(each.path): each.text for each in emit_requirements(ALL_PACKAGES)}
    for plan in (behind_gateway("litellm"), two_on_one_gpu()):
        assert files_of(plan).items() <= emitted.items()


def test_only_a_machine_that_runs_the_programs_itself_installs_what_is_listed() -> None:
    assert files_of(behind_gateway("litellm")).keys() == {
        "lib/requirements/vllm-0.33.0.txt", f"lib/requirements/litellm-{LITELLM_VERSION}.txt",
    }  # fmt: skip
    assert files_of(two_on_one_gpu()).keys() == {"lib/requirements/vllm-0.33.0.txt"}
    assert not files_of(replace(behind_gateway("litellm"), targets=("scripts", "compose")))
    assert files_of(replace(two_on_one_gpu(), targets=("scripts",)))


PLANS = {
    "litellm": behind_gateway("litellm"),
    "gpu": two_on_one_gpu(),
    "kernels": needing(two_on_one_gpu(), SAMPLES),
    "cpu": one_on_cpu(),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_nothing_is_installed_as_root_and_nothing_stays_writable(plan: Plan) -> None:
    (page,) = emit_readme(plan)
    block = next(each for each in re.findall(r"```bash\n(.*?)```", page.text, re.DOTALL) if "pip install" in each)
    for line in block.splitlines():
        if re.search(r"/pip |-m venv", line):
            assert line.startswith("sudo -u stackc-install "), line
            assert line.partition("  #")[0].endswith("&&"), "a failed step must stop those after it"
        if "pip install" in line:
            assert "--only-binary :all:" in line
    folders = re.findall(r"sudo mkdir (/\S+) &&", block)
    assert folders
    assert re.findall(r"sudo chown -R root:root (\S+)", block) == folders


def test_every_line_that_installs_litellm_says_which_release() -> None:
    (page,) = emit_readme(behind_gateway("litellm"))
    lines = [line for line in page.text.splitlines() if re.search("pip install .*litellm", line)]
    assert len(lines) == 1
    assert LITELLM_REQUIREMENT in lines[0]
    assert "--require-hashes" in lines[0]


def test_messages_name_the_same_command_as_the_page() -> None:
    said = re.search('PIP_OPTIONS = "(.*)"', (ROOT / "templates/lib/stack/packages.py").read_text())
    assert said is not None
    assert said[1] == PIP_OPTIONS


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("a==1\n", "without a hash"), ("a>=1\n", "not a pin"), ("    --hash=sha256:" + "0" * 64 + "\n", "not a pin"),
     ("a==1 \\\n    --hash=md5:00\n", "not a pin"), ("-e .\n", "not a pin")],
)  # fmt: skip
def test_a_list_with_a_hole_is_no_list(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_requirements(text)


def test_markers_hold_for_the_same_machines_and_say_no_more_than_they_must() -> None:
    everywhere = "sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64')"
    assert shortened(Pin("a", "1", everywhere)).marker is None
    assert shortened(Pin("a", "1", f"python_full_version < '3.12' and {everywhere}")).marker == (
        "python_full_version < '3.12'"
    )
    only = shortened(Pin("a", "1", "platform_machine == 'x86_64' and sys_platform == 'linux'"))
    assert only.marker == "platform_machine == 'x86_64'"


def test_a_list_names_only_wheels_that_its_machines_take() -> None:
    files = {("a", "1"): {
        "a-1-cp312-cp312-manylinux_2_28_x86_64.whl": "sha256:" + "1" * 64,
        "a-1-cp312-cp312-musllinux_1_2_x86_64.whl": "sha256:" + "2" * 64,
        "a-1-cp312-cp312-win_amd64.whl": "sha256:" + "3" * 64,
        "a-1-py3-none-any.whl": "sha256:" + "4" * 64,
    }}  # fmt: skip
    text = format_requirements(["a==1"], dt.date(2026, 1, 1), [Pin("a", "1", None)], files)
    (package,) = parse_requirements(text)
    assert [each[0] for each in package.hashes] == ["1", "4"]


@pytest.mark.emitted
def test_pip_takes_the_emitted_list_of_litellm(tmp_path: Path) -> None:
    """With every hash checked. The registry is asked through pip, as it is configured on this machine."""
    ((path, text),) = (
        (path, text) for path, text in files_of(behind_gateway("litellm")).items() if "litellm" in path
    )  # fmt: skip
    file = tmp_path / Path(path).name
    file.write_text(text)
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--require-hashes",
        "--only-binary", ":all:", "--no-deps", "--quiet", "-r", str(file),
    ]  # fmt: skip
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if re.search(r"NewConnectionError|ConnectTimeout|Name or service not known", done.stderr):
        missing("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    # A hash that is wrong is refused, or the file would prove nothing.
    file.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, text))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def wheel(folder: Path) -> str:
    """A package of one module; the requirement that names it with its hash."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "NAME = 'tiny'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"tiny==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


SUDO = """#!/bin/sh
who=root
if [ "$1" = -u ]; then who=$2; shift 2; fi
echo "$who $*" >>"$LOG"
case $1 in chown | useradd) exit 0 ;; esac
exec "$@"
"""


@pytest.mark.emitted
def test_the_commands_of_the_readme_install_what_is_listed_and_stop_at_the_first_fault(tmp_path: Path) -> None:
    """As they stand in the page, with a `sudo` that only writes down who would have done what."""
    (page,) = emit_readme(two_on_one_gpu())
    block = next(each for each in re.findall(r"```bash\n(.*?)```", page.text, re.DOTALL) if "pip install" in each)
    environment, log = tmp_path / "opt/vllm", tmp_path / "log"
    script = block.replace("/opt/vllm", str(environment))
    (tmp_path / "lib/requirements").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    variables = {
        **os.environ, "LOG": str(log), "PATH": f"{sudo.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip

    def run(requirement: str) -> tuple[int, str]:
        log.write_text("")
        (tmp_path / "lib/requirements/vllm-0.33.0.txt").write_text(requirement)
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    good = wheel(tmp_path)
    code, said = run(re.sub("sha256:..", "sha256:00", good))
    assert code != 0
    assert "HASHES" in said
    assert "chown -R root" not in log.read_text()
    shutil.rmtree(environment)
    code, said = run(good)
    assert code == 0, said
    assert list(environment.glob("lib/python3*/site-packages/tiny.py"))
    assert f"root chown -R root:root {environment}" in log.read_text()
    for line in log.read_text().splitlines():
        if "pip" in line or "venv" in line.split()[1:4]:
            assert line.startswith("stackc-install "), line
    code, said = run(good)
    assert code != 0, "a folder that is there already may be somebody's"
    assert "pip" not in log.read_text()
