"""Bytes that vLLM 0.33.0 gives LoRA adapters in a model, without a GPU. Runs inside `.engine/`.

Reads a JSON list of questions from stdin: the `config` map, and the `arguments` of `vllm serve`. Each model is built on
torch's meta device and its layers are wrapped by the engine's own manager. Prints a JSON list: bytes by the last part
of the modules' names, or the error.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tests.engine import planner_oracle

_SHOWN = 300


def main() -> None:
    """Answer all questions, one after the other, as each is read."""
    planner_oracle.CARD.update(capability=(9, 0), memory=80 * 2**30)
    planner_oracle.pose_as_gpu()
    registry = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda look: look()  # type: ignore[attr-defined]
    # Indices of tokens need Triton, and are none of a layer's slots.
    manager = importlib.import_module("vllm.lora.model_manager")
    manager.get_punica_wrapper = lambda *_, **__: planner_oracle.Answering("indices")  # type: ignore[attr-defined]
    _without_kernels()
    ranks: list[Any] = []
    answers = [_answer(question, ranks) for question in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(answers) + "\n")


def _without_kernels() -> None:
    """Kernels of experts are chosen when weights are loaded, which nobody does here; their slots need none."""
    module = importlib.import_module("vllm.lora.layers.fused_moe")

    def wrap(self: Any, base_layer: Any) -> None:
        torch.nn.Module.__init__(self)
        self.base_layer, self.moe_config = base_layer, base_layer.moe_config
        ranks = self.moe_config.moe_parallel_config
        self.tp_size, self.tp_rank, self.device = ranks.tp_size, ranks.tp_rank, torch.device("meta")
        self._shared_experts = base_layer._shared_experts
        self._w13_slices = 2 if self.moe_config.is_act_and_mul else 1
        self.enable_moe_shared_loras = False
        self.n_slices = self.local_num_experts * (self._w13_slices + 1)

    module.FusedMoEWithLoRA.__init__ = wrap
    module.FusedMoEWithLoRA.set_mapping = lambda *_: None
    three = module.FusedMoE3DWithLoRA

    def wrap_joined(self: Any, base_layer: Any) -> None:
        wrap(self, base_layer)
        self._w13_slices = 1

    three.__init__ = wrap_joined
    three.set_mapping = lambda *_: None


def _answer(question: dict[str, Any], ranks: list[Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(question["config"]))
        try:
            return {"bytes": _slots(folder, question["arguments"], ranks)}
        except Exception as error:  # whatever it ends with is the answer
            return {"error": f"{type(error).__name__}: {error}"[:_SHOWN]}


def _slots(folder: str, arguments: list[str], ranks: list[Any]) -> dict[str, int]:
    config = planner_oracle.engine_config(folder, ["--enable-lora", *arguments])
    with importlib.import_module("vllm.config").set_current_vllm_config(config):
        if not ranks:
            planner_oracle.answer_for_kernels()
            ranks.append(planner_oracle.initialize_ranks())
            importlib.import_module("vllm.distributed.parallel_state")._EP = ranks[0]
        model = planner_oracle.build_model(config, ranks[0])
        manager = importlib.import_module("vllm.lora.model_manager").create_lora_manager(
            model,
            max_num_seqs=config.scheduler_config.max_num_seqs,
            max_num_batched_tokens=config.scheduler_config.max_num_batched_tokens,
            vocab_size=config.model_config.get_vocab_size(),
            lora_config=config.lora_config,
            device=torch.device("meta"),
            vllm_config=config,
        )
    found: Counter[str] = Counter()
    for name, module in manager.modules.items():
        found[name.rpartition(".")[2]] += sum(tensor.nbytes for tensor in _tensors(module))
    return dict(found)


def _tensors(module: Any) -> list[torch.Tensor]:
    """Those that a wrapper makes for itself, each once: views of another one are none of their own."""
    found: dict[int, torch.Tensor] = {}
    for name, value in vars(module).items():
        is_own = "lora_" in name or name in ("adapter_enabled", "sharded_to_full_mapping_gpu") or "full_" in name
        for each in (value if isinstance(value, tuple | list) else (value,)) if is_own else ():
            if isinstance(each, torch.Tensor) and each._base is None:
                found[id(each)] = each
    return list(found.values())


if __name__ == "__main__":
    main()
