"""Plans of llama.cpp written by hand, as those of plan_samples.py are."""

from __future__ import annotations

from dataclasses import replace

from compiler.engines.interface.launch import Argument, Placeholder
from compiler.engines.llama_cpp.host.facts import host_facts
from compiler.engines.llama_cpp.releases import release_named
from compiler.plan.ir import Engine, ModelFile, Plan, ServedModel
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, with_service

BUILD = "b10434"
PARTS = tuple(ModelFile(f"Q8_0/big-Q8_0-0000{n}-of-00002.gguf", 4096, str(n) * 64) for n in (1, 2))


def llama_cpp(*, on_gpu: bool) -> Engine:
    """A build, with everything where stackc has it."""
    host = host_facts(release_named(BUILD), on_gpu=on_gpu)
    return Engine(BUILD, host.container.image, host.program.path, host)


def _gguf(model: ServedModel) -> ServedModel:
    return replace(model, file=PARTS[0].path, files=PARTS, weights_bytes=8192, quantization="Q8_0")


def on_llama_cpp(plan: Plan, name: str, *, on_gpu: bool = True) -> Plan:
    """The plan with a service on llama.cpp, which loads a model of two files."""
    service = plan.service(name)
    return with_service(
        replace(plan, engines={**plan.engines, "llama.cpp": llama_cpp(on_gpu=on_gpu)}),
        name,
        engine="llama.cpp",
        model=_gguf(service.model),
        words=("--model", Placeholder.MODEL),
        arguments=(
            Argument("--alias", name, "spec"),
            Argument("--host", service.host, "spec"),
            Argument("--port", str(service.port), "spec"),
            Argument("--no-ui", None, "clients ask the API"),
        ),
        environment=(("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "0"),),
        figures={"gpu_layers": 49, "layers": 49},
        measures=False,
    )


def beside_vllm() -> Plan:
    """`coder` on vLLM and `general` on llama.cpp, on one GPU."""
    return on_llama_cpp(two_on_one_gpu(), "general")


def alone_on_cpu() -> Plan:
    """llama.cpp alone on a CPU node, its model in a folder."""
    plan = on_llama_cpp(one_on_cpu(), "tiny", on_gpu=False)
    return replace(plan, engines={"llama.cpp": plan.engines["llama.cpp"]})
