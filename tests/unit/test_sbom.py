"""The bill of materials: valid by the official schema, the same each time, and honest about what nobody confirmed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from packageurl import PackageURL

from compiler.catalog.licenses import SPDX
from compiler.catalog.packages import LITELLM_VERSION, litellm_requirements
from compiler.cli.main import cli
from compiler.engines.vllm.host.packages import vllm_requirements
from compiler.plan.images import image_of
from compiler.plan.ir import ModelFile, Plan
from compiler.targets.sbom.document import format_sbom, sbom_object
from tests.conftest import ROOT
from tests.unit.container_samples import behind_gateway
from tests.unit.plan_samples import COMMIT, one_on_cpu, two_on_one_gpu, with_service

DIGEST = f"sha256:{'ab' * 32}"


def assert_valid(document: dict[str, Any]) -> None:
    # It takes more than a second, and every process that collects tests imports this module.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(format_sbom(document))
    assert error is None, error


def bill_of(plan: Plan) -> dict[str, Any]:
    document = sbom_object({plan.stack: (plan,)})
    assert_valid(document)
    refs = [each["bom-ref"] for each in document["components"]]
    assert len(refs) == len(set(refs))
    assert {each["ref"] for each in document["dependencies"]} == {*refs, document["metadata"]["component"]["bom-ref"]}
    for each in document["components"]:
        if "purl" in each:
            assert PackageURL.from_string(each["purl"]).to_string()
    return document


def components(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["components"] if each["type"] == kind}


def unconfirmed(component: dict[str, Any]) -> list[str]:
    return [each["value"] for each in component.get("properties", ()) if each["name"] == "stackc:unconfirmed"]


def full() -> Plan:
    """Everything known: a digest, a commit, a base model, and the hash of each file."""
    plan = two_on_one_gpu()
    files = (ModelFile("a.safetensors", 4096, "12" * 32), ModelFile("b.safetensors", None, None))
    model = replace(plan.services[0].model, files=files, base_models=("org/base",), license="llama3.1")
    images = (image_of("vllm", f"ghcr.io/org/vllm:v1@{DIGEST}", {}), image_of("gateway", "nginx:1.28.0", {}))
    return replace(with_service(plan, "coder", model=model), images=images)


def test_models_have_their_commit_files_licence_and_ancestors() -> None:
    model = components(bill_of(full()), "machine-learning-model")["org/coder-awq"]
    assert model["version"] == COMMIT
    assert PackageURL.from_string(model["purl"]) == PackageURL("huggingface", "org", "coder-awq", COMMIT)
    whole, part = model["components"]
    assert whole["hashes"] == [{"alg": "SHA-256", "content": "12" * 32}]
    assert unconfirmed(part) == ["hash"]
    assert model["licenses"] == [{"license": {"name": "llama3.1"}}]
    assert [each["name"] for each in model["pedigree"]["ancestors"]] == ["org/base"]
    assert {"name": "stackc:quantization", "value": "awq"} in model["properties"]


def test_a_model_without_a_full_commit_has_no_version_that_a_scanner_would_trust() -> None:
    model = components(bill_of(full()), "machine-learning-model")["org/general"]
    assert "@" not in model["purl"]
    assert "commit" in unconfirmed(model)


def test_images_have_their_digest_or_say_that_it_is_missing() -> None:
    images = components(bill_of(full()), "container")
    pinned = images["ghcr.io/org/vllm"]
    qualifiers = {"repository_url": "ghcr.io/org/vllm", "tag": "v1"}
    assert PackageURL.from_string(pinned["purl"]) == PackageURL("oci", None, "vllm", DIGEST, qualifiers)
    assert pinned["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert unconfirmed(pinned) == []
    tagged = images["docker.io/library/nginx"]
    assert PackageURL.from_string(tagged["purl"]).version is None
    assert unconfirmed(tagged) == ["digest"]


@pytest.mark.parametrize("kind", ["nginx", "litellm"])
def test_what_runs_on_the_machine_is_listed_with_every_hash(kind: str) -> None:
    document = bill_of(behind_gateway(kind))
    libraries = [each for each in document["components"] if each["type"] == "library"]
    listed = {(each["name"], each["version"]): {h["content"] for h in each["hashes"]} for each in libraries}
    wanted = [vllm_requirements("0.33.0"), *([litellm_requirements()] if kind == "litellm" else [])]
    for requirements in wanted:
        assert requirements is not None
        for package in requirements.packages:
            assert set(package.hashes) <= listed[package.name, package.version]
    assert (("litellm", LITELLM_VERSION) in listed) is (kind == "litellm")
    assert ("nginx" in components(document, "application")) is (kind == "nginx")


def test_containers_alone_bring_no_packages_and_say_that_nobody_looked_inside() -> None:
    document = bill_of(replace(full(), targets=("scripts", "compose")))
    assert not components(document, "library")
    (composition,) = document["compositions"]
    assert composition["aggregate"] == "unknown"
    assert all(ref.startswith("image:") for ref in composition["assemblies"])


def test_a_cpu_build_is_listed_as_what_nobody_has_hashes_of() -> None:
    document = bill_of(one_on_cpu())
    assert unconfirmed(components(document, "application")["vllm"]) == ["hashes"]
    assert components(document, "machine-learning-model")["/srv/models/tiny"].get("purl") is None


def test_licences_are_spdx_where_they_can_be() -> None:
    schema = json.loads(
        (Path(__import__("cyclonedx").__file__).parent / "schema/_res/spdx.SNAPSHOT.schema.json").read_text()
    )
    assert set(SPDX.values()) <= set(schema["enum"])
    assert SPDX["apache-2.0"] == "Apache-2.0"


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stacks").mkdir()
    for name in ("coder-5090", "tiny-cpu"):
        for suffix in (".yaml", ".lock.yaml"):
            shutil.copy(ROOT / "stacks" / f"{name}{suffix}", tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return tmp_path


def sbom(*words: str) -> Result:
    return CliRunner().invoke(cli, ["sbom", *words])


def test_the_same_stacks_give_the_same_bytes_and_others_another_number(stacks: Path) -> None:
    for name in ("one", "two"):
        assert sbom("--output", name).exit_code == 0
    one = Path("one").read_bytes()
    assert one == Path("two").read_bytes()
    document = json.loads(one)
    assert_valid(document)
    assert "timestamp" not in document["metadata"]
    tool = document["metadata"]["tools"]["components"][0]
    assert (tool["name"], bool(tool["version"])) == ("stackc", True)
    assert {"stack:coder-5090", "stack:tiny-cpu"} <= {each["bom-ref"] for each in document["components"]}
    sbom("stacks/tiny-cpu.yaml", "--output", "alone")
    alone = json.loads(Path("alone").read_text())
    assert alone["serialNumber"] != document["serialNumber"]
    assert alone["metadata"]["component"]["name"] == "tiny-cpu"
    assert str(stacks) not in one.decode()


def test_a_date_is_that_of_the_environment(stacks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    sbom("stacks/tiny-cpu.yaml", "--output", "bill")
    document = json.loads(Path("bill").read_text())
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert_valid(document)
    for wrong in ("-1", "x", "9" * 20, "1.5"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        assert sbom("stacks/tiny-cpu.yaml").exit_code == 2, wrong


def test_programs_get_it_as_json_too(stacks: Path) -> None:
    data = json.loads(sbom("stacks/tiny-cpu.yaml", "--format", "json").output)
    assert data["ok"]
    assert_valid(data["sbom"])


def test_a_stack_that_does_not_compile_has_no_bill(stacks: Path) -> None:
    spec = Path("stacks/tiny-cpu.yaml")
    spec.write_text(spec.read_text().replace("8GiB", "1GiB"))
    result = sbom(str(spec), "--output", "bill")
    assert result.exit_code == 1
    assert not Path("bill").exists()
    assert sbom("stacks/coder-5090.yaml", "--deny", "W0304", "--output", "bill").exit_code == 1
    assert not Path("bill").exists()


def test_a_place_that_cannot_be_written_is_told(stacks: Path) -> None:
    result = sbom("stacks/coder-5090.yaml", "--output", "none/bill")
    assert result.exit_code == 3
    assert "E0601" in result.output
