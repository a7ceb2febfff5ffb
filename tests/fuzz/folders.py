"""Model folders, start-up logs and calibrations that are not as their authors meant them."""

from __future__ import annotations

import copy
import random
from typing import Any

from ruamel.yaml import YAML

from tests.fuzz.case import Case
from tests.fuzz.inputs import odd_config, one_service
from tests.fuzz.mutation import mutated, mutated_text
from tests.fuzz.values import NUMBERS, odd
from tests.fuzz.writing import as_header, as_json, as_lock, as_yaml

LOG = b"""\
INFO 04-01 non-default args: {'gpu_memory_utilization': 0.9, 'max_num_seqs': 256}
INFO 04-01 Chunked prefill is enabled with max_num_batched_tokens=8192.
INFO 04-01 Initializing a V1 LLM engine (v0.19.0) with config: model='a/b', dtype=torch.bfloat16, max_seq_len=4096, \
tensor_parallel_size=1, pipeline_parallel_size=1, enforce_eager=False
DEBUG worker init memory snapshot: torch_peak=0.0GiB, free_memory=78.7GiB, total_memory=79.2GiB, cuda_memory=0.5GiB, \
torch_memory=0.0GiB, non_torch_memory=0.5GiB, timestamp=2.0
INFO 04-01 Model loading took 15.0 GiB memory and 10.0 seconds
INFO 04-01 Estimated CUDA graph memory: 0.8 GiB total
DEBUG Memory profiling takes 9.0 seconds. Total non KV cache memory: 17.5GiB; torch peak memory increase: 2.2GiB; \
non-torch forward increase memory: 0.3GiB; weights memory: 15.0GiB.
INFO 04-01 Available KV cache memory: 53.8 GiB
INFO 04-01 Graph capturing finished in 7 secs, took 0.9 GiB
"""
CALIBRATION = b"""\
engine: "0.33.0"
gpu: "rtx-pro-6000"
models: ["a/b"]
components:
  context_single: {low: 500000000, expected: 540000000, high: 600000000, count: 3}
  non_torch_single: {low: 200000000, expected: 260000000, high: 300000000, count: 3}
  activation_ratio: {low: 1000000, expected: 1040000, high: 1100000, count: 1}
  graphs: {low: 500000, expected: 600000, high: 700000, count: 2}
"""
LLAMA_LOG = b"""\
I common_params_print_info: build 1 (7e4c0a9) with GNU 11.4.0 for Linux x86_64
I llama_model_loader: loaded meta data with 23 key-value pairs and 39 tensors from a.gguf (version GGUF V3 (latest))
I print_info: general.name          = tiny
I load_tensors:        CUDA0 model buffer size =  4000.56 MiB
I llama_context: n_ctx_seq             = 4096
I llama_context: n_ubatch              = 512
I llama_kv_cache:      CUDA0 KV buffer size =   800.00 MiB
I sched_reserve:      CUDA0 compute buffer size =   200.04 MiB
I srv  llama_server: model loaded
I slot print_timing: id  1 | task 0 | prompt eval time =      19.15 ms /   600 tokens (    0.91 ms per token)
I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |
I common_memory_breakdown_print: |   - CUDA0 (H100)       | 81008 = 75608 + ( 5000 =  4000 +     800 +     200) +         400 |
I common_memory_breakdown_print: |   - Host               |                  262 =   246 +       0 +      16                |
"""  # noqa: E501  as it is printed
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors",
    "pytorch_model.bin",
    "model-00001-of-00002.safetensors",
    "model.pt",
)


def make_folder(case: Case) -> None:
    """A folder whose configuration and small files are off, read by `lock` and compiled."""
    rng = case.rng
    config = odd_config(rng, case.bases)
    text = as_json(config)
    if rng.random() < 0.3:
        text = mutated_text(rng, text, as_json(rng.choice(case.bases.configs)))
    case.write("model/config.json", text)
    tensors = {"model.norm.weight": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}
    case.write(f"model/{rng.choice(_WEIGHTS)}", as_header(tensors) + bytes(16))
    small = _small_files(rng)
    for name in rng.sample(sorted(small), rng.randrange(4)):
        content = as_json(small[name])
        case.write(f"model/{name}", mutated_text(rng, content, text) if rng.random() < 0.2 else content)
    case.what = str(config.get("architectures"))[:80]
    _lock_and_compile(case)


def _small_files(rng: random.Random) -> dict[str, Any]:
    dense = {"type": "sentence_transformers.models.Dense", "path": odd(rng)}
    return {
        "tokenizer_config.json": {
            "chat_template": odd(rng), "model_max_length": odd(rng),
            "tokenizer_class": odd(rng), "auto_map": rng.choice([odd(rng), {"AutoTokenizer": odd(rng)}]),
        },
        "preprocessor_config.json": {"processor_class": odd(rng), "auto_map": {"AutoProcessor": odd(rng)}},
        "tekken.json": odd(rng),
        "generation_config.json": {"temperature": odd(rng), "top_k": odd(rng), "max_new_tokens": odd(rng)},
        "quantize_config.json": {"bits": odd(rng), "group_size": odd(rng), "desc_act": odd(rng)},
        "quant_config.json": {"w_bit": odd(rng), "q_group_size": odd(rng), "version": odd(rng)},
        "hf_quant_config.json": {"quantization": {"quant_algo": odd(rng), "exclude_modules": odd(rng)}},
        "model.safetensors.index.json": {"weight_map": odd(rng)}, "modules.json": [dense, odd(rng)],
        "sentence_bert_config.json": {"max_seq_length": odd(rng)},
        "adapter_config.json": {"r": odd(rng), "target_modules": odd(rng)},
        "chat_template.json": {"chat_template": odd(rng)}, "params.json": {"dim": odd(rng)},
        "chat_template.jinja": odd(rng),
    }  # fmt: skip


def make_header(case: Case) -> None:
    """A folder whose safetensors header is off."""
    rng = case.rng
    case.write("model/config.json", as_json(rng.choice(case.bases.configs)))
    tensors = _tensors(rng)
    end = max((each["data_offsets"][1] for each in tensors.values() if "data_offsets" in each), default=0)
    known = {"dtype": ["BF16"], "shape": [[0], [-1], [2**63], [2**40] * 2], "data_offsets": [[0, 0], [5, 1], [-1, 3]]}
    content = as_header(mutated(rng, tensors, [tensors], known, rng.choice((0, 1, 1, 2)))) + bytes(min(end, 4096))
    how = rng.random()
    if how < 0.2:
        torn = (content[:-3], content[:11], b"", b"\0" * 7)
        content = rng.choice((*torn, (2**63).to_bytes(8, "little"), (10**8).to_bytes(8, "little") + b"{"))
    elif how < 0.4:
        content = content[:8] + mutated_text(rng, content[8:], content[8:])
    case.write("model/model.safetensors", content)
    _lock_and_compile(case)


def _tensors(rng: random.Random) -> dict[str, Any]:
    tensors: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for index in range(rng.randrange(1, 6)):
        size = rng.choice((0, 2, 16, 1024))
        name = rng.choice(
            ("model.embed_tokens.weight", "lm_head.weight", f"model.layers.{index}.mlp.up_proj.weight", f"t{index}")
        )
        dtype = rng.choice(("BF16", "F16", "U8", "F8_E4M3", "F4", "ZZ"))
        tensors[name] = {"dtype": dtype, "shape": [size // 2], "data_offsets": [end, end + size]}
        end += size
    return tensors


def _lock_and_compile(case: Case) -> None:
    case.write("stacks/x.yaml", as_json(one_service(case.rng, str(case.folder / "model"))))
    case.commands = [("lock",), case.often_json("compile")]


def make_calibration(case: Case) -> None:
    """A calibration that is off, named by a spec."""
    rng = case.rng
    pair = case.bases.stack("team-96gb")
    spec = copy.deepcopy(pair.spec)
    spec["engine"]["calibration"] = "cal.yaml"
    if rng.random() < 0.6:
        good = CALIBRATION.decode()
        data = YAML(typ="safe", pure=True).load(rng.choice((good, good.replace('"0.33.0"', '{vllm: "0.33.0"}'))))
        known = {"low": NUMBERS, "high": NUMBERS, "expected": NUMBERS, "count": NUMBERS}
        text = as_yaml(rng, mutated(rng, data, [data], known, rng.choice((1, 1, 2, 3)))).encode(
            "utf-8", "surrogatepass"
        )
    else:
        text = mutated_text(rng, CALIBRATION, LOG)
    case.write("stacks/cal.yaml", text)
    case.pair(pair.name, as_json(spec), as_lock(rng, pair.lock))
    case.commands = [case.often_json("compile", f"stacks/{pair.name}.yaml")]


def make_log(case: Case) -> None:
    """A log of a start-up that is torn or of something else."""
    rng = case.rng
    case.write("server.log", mutated_text(rng, rng.choice((LOG, LLAMA_LOG)), CALIBRATION, rng.choice((1, 1, 2, 4))))
    case.has_places = False
    words = ["calibrate", "server.log", "--gpu", "h100-80gb"]
    if rng.random() < 0.6:
        config = as_json(odd_config(rng, case.bases))
        case.write("config.json", mutated_text(rng, config, config) if rng.random() < 0.3 else config)
        words += ["--config", "config.json"]
    if rng.random() < 0.5:
        words += ["--out", rng.choice(("out.yaml", "out.yaml/x", "."))]
    case.commands = [case.often_json(*words)]
