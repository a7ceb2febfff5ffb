"""What a node's disk takes up: each checkpoint once, whoever loads it, and nothing for folders."""

from __future__ import annotations

from dataclasses import replace

from compiler.engines.vllm.facts import COMPILED_BYTES
from compiler.ledger import Basis, RowKind
from compiler.plan.disk import disk_of
from compiler.plan.ir import ModelFile, Plan
from tests.unit.plan_samples import two_on_one_gpu, with_service


def sized(plan: Plan, name: str, size: int | None, **model: object) -> Plan:
    """The plan with another checkpoint of a service."""
    files = () if size is None else (ModelFile("model.safetensors", size, None),)
    served = replace(plan.service(name).model, weights_bytes=size, files=files, **model)  # type: ignore[arg-type]
    return with_service(plan, name, model=served)


def test_two_servers_of_one_checkpoint_download_it_once_and_compile_twice() -> None:
    plan = two_on_one_gpu()
    model = replace(plan.service("coder").model, weights_bytes=10_000)
    plan = with_service(with_service(plan, "coder", model=model), "general", model=model)
    disk = disk_of(plan)
    assert [(each.services, each.bytes) for each in disk.downloads] == [(("coder", "general"), 10_000)]
    assert disk.to_download == 10_000
    assert disk.compiled == 2 * COMPILED_BYTES
    assert disk.total == 10_000 + 2 * COMPILED_BYTES
    assert disk.basis is Basis.EXACT


def test_another_commit_of_a_repository_is_downloaded_too() -> None:
    plan = sized(sized(two_on_one_gpu(), "coder", 3, repository="a/b", commit="1" * 40), "general", 5)
    plan = sized(plan, "general", 5, repository="a/b", commit="2" * 40)
    assert disk_of(plan).to_download == 8


def test_a_size_that_the_hub_did_not_say_is_estimated_by_the_ledger() -> None:
    plan = sized(two_on_one_gpu(), "coder", None)
    disk = disk_of(plan)
    coder = next(each for each in disk.downloads if "coder" in each.services)
    rows = [
        row for ledger in plan.ledgers for server in ledger.servers if server.service == "coder" for row in server.rows
    ]
    assert coder.bytes == sum(row.bytes.expected for row in rows if row.kind is RowKind.WEIGHTS) > 0
    assert coder.basis is disk.basis is Basis.ESTIMATE


def test_a_folder_lies_there_already() -> None:
    plan = sized(two_on_one_gpu(), "coder", 9, repository=None, folder="/srv/coder")
    assert [each.services for each in disk_of(plan).downloads] == [("general",)]
