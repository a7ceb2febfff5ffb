"""`engine_args` of a service: every key must be an option of the pinned engine, and none that stackc decides.

An option that changes memory in a way the ledger does not follow is refused too: passing it through would turn a proof
into a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.catalog.flags import Flag, FlagCatalog, check_value, load_flags
from compiler.catalog.gpus import GPUS
from compiler.catalog.releases import RELEASES
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.load import SpecFile
from compiler.units import format_gib


@dataclass(frozen=True, slots=True)
class Decided:
    """Why an option is not the user's: `key` is where the spec says it instead, if anywhere."""

    why: str
    key: str | None = None


_BUDGET = Decided("it is an output: the ledger decides it for each server")
_SPLIT = Decided("the ledger is worked out for tensor parallelism on one node only")
_MEMORY = Decided("it can change memory in a way that the ledger does not follow")
_PROBES = Decided("the probes and the smoke test expect plain HTTP on the service's port")
_SECRET = Decided("a secret on the command line shows in `ps`", "secrets")
_FACTS = Decided("the model's facts come from the lock")

DECIDED = {
    "--api-key": _SECRET,
    "--attention-backend": _MEMORY,
    "--block-size": _MEMORY,
    "--code-revision": _FACTS,
    "--compilation-config": _MEMORY,
    "--config": Decided("the options of a server stand in its launch script, nowhere else"),
    "--convert": _MEMORY,
    "--cpu-offload-gb": _MEMORY,
    "--cudagraph-capture-sizes": _MEMORY,
    "--data-parallel-size": _SPLIT,
    "--decode-context-parallel-size": _SPLIT,
    "--device-ids": Decided("GPUs are chosen by the placement", "gpus"),
    "--disable-hybrid-kv-cache-manager": _MEMORY,
    "--distributed-executor-backend": _SPLIT,
    "--download-dir": Decided("the server reads the snapshot that bin/prefetch fetched"),
    "--dtype": Decided("it follows from the checkpoint and the GPU"),
    "--enable-expert-parallel": Decided("it decides which weights a GPU holds", "expert_parallel"),
    "--enable-lora": _MEMORY,
    "--enable-sleep-mode": _MEMORY,
    "--gpu-memory-utilization": _BUDGET,
    "--grpc": _PROBES,
    "--grpc-port": _PROBES,
    "--headless": _SPLIT,
    "--hf-config-path": _FACTS,
    "--hf-overrides": _FACTS,
    "--hf-token": _SECRET,
    "--host": Decided("the probes and the compose file need it too", "host"),
    "--lora-modules": _MEMORY,
    "--enable-scale-out": _SPLIT,
    "--api-server-count": _SPLIT,
    "--tokens-only": _PROBES,
    "--ssl-cert-reqs": _PROBES,
    "--ssl-ciphers": _PROBES,
    "--enable-ssl-refresh": _PROBES,
    "--kv-cache-dtype": Decided("it decides the bytes of every block", "kv_cache_dtype"),
    "--kv-cache-memory-bytes": _BUDGET,
    "--kv-offloading-size": _MEMORY,
    "--kv-transfer-config": _MEMORY,
    "--max-cudagraph-capture-size": _MEMORY,
    "--max-model-len": Decided("it is what the KV cache is sized for", "context"),
    "--max-num-batched-tokens": Decided("it decides the activation peak", "max_num_batched_tokens"),
    "--max-num-seqs": Decided("it decides the sampler's memory", "max_num_seqs"),
    "--model": Decided("the lock pins it", "model"),
    "--nnodes": _SPLIT,
    "--node-rank": _SPLIT,
    "--num-gpu-blocks-override": _BUDGET,
    "--pipeline-parallel-size": Decided("it follows from the placement", "pipeline_parallel_size"),
    "--port": Decided("the probes and the compose file need it too", "port"),
    "--prefill-context-parallel-size": _SPLIT,
    "--quantization": Decided("the checkpoint's own quantization is served", "quantization"),
    "--revision": _FACTS,
    "--root-path": _PROBES,
    "--runner": _MEMORY,
    "--served-model-name": Decided("clients and the smoke test need it too", "served_name"),
    "--shutdown-timeout": Decided("the units' stop timeouts follow from it"),
    "--skip-mm-profiling": _MEMORY,
    "--speculative-config": _MEMORY,
    "--ssl-ca-certs": _PROBES,
    "--ssl-certfile": _PROBES,
    "--ssl-keyfile": _PROBES,
    "--tensor-parallel-size": Decided("it follows from the placement", "tensor_parallel_size"),
    "--tokenizer": _FACTS,
    "--tokenizer-revision": _FACTS,
    "--trust-remote-code": Decided("the policy decides it", "policy.trust_remote_code"),
    "--uds": _PROBES,
}


# vLLM's configuration classes whose options can change memory, the split, or what the server is. Of these, only what is
# listed as harmless passes: an option that is new in a release is refused until somebody has looked at it.
_GUARDED_GROUPS = {
    "CacheConfig",
    "KernelConfig",
    "LoRAConfig",
    "MambaConfig",
    "ModelConfig",
    "MultiModalConfig",
    "OffloadConfig",
    "ParallelConfig",
    "SchedulerConfig",
    "VllmConfig",
}
_HARMLESS = {
    "--allowed-local-media-path",
    "--allowed-media-domains",
    "--async-scheduling",
    "--disable-cascade-attn",
    "--disable-custom-all-reduce",
    "--enable-prefix-caching",
    "--enforce-eager",
    "--generation-config",
    "--logprobs-mode",
    "--long-prefill-token-threshold",
    "--max-num-queued-reqs",
    "--max-num-queued-tokens",
    "--numa-bind",
    "--numa-bind-cpus",
    "--numa-bind-nodes",
    "--override-generation-config",
    "--prefix-caching-hash-algo",
    "--scheduling-policy",
    "--seed",
    "--stream-interval",
    "--structured-outputs-config",
    "--tokenizer-mode",
}


HOST_FILE_OPTIONS = (
    "--allowed-local-media-path",
    "--chat-template",
    "--generation-config",
    "--log-config-file",
    "--reasoning-parser-plugin",
    "--tool-parser-plugin",
)
"""Options that may name a file or folder of the host, which a container must be given to see it (0.33.0 and 0.32.0)."""


def decided(flag: Flag) -> Decided | None:
    """Why an option is not the user's to set; None if it is."""
    if flag.name in DECIDED:
        return DECIDED[flag.name]
    return _MEMORY if flag.group in _GUARDED_GROUPS and flag.name not in _HARMLESS else None


@dataclass(frozen=True, slots=True)
class _Given:
    """One key of one service's engine_args."""

    file: SpecFile
    service: str
    key: str
    value: object

    @property
    def path(self) -> tuple[str, ...]:
        return ("services", self.service, "engine_args", self.key)

    @property
    def remove(self) -> Help:
        return Help(f"remove `{self.key}`", (Edit(self.path, None),))


def check_engine_args(file: SpecFile) -> Iterator[Diagnostic]:
    """Each key exists in the pinned release, is the user's to set, and takes the value that it is given."""
    if file.spec.engine.vllm not in RELEASES:
        return
    catalog = load_flags(file.spec.engine.vllm)
    for service, spec in file.spec.services.items():
        seen: dict[str, str] = {}
        for key, value in spec.engine_args.items():
            yield from _check_one(_Given(file, service, key, value), catalog, seen)


def _check_one(given: _Given, catalog: FlagCatalog, seen: dict[str, str]) -> Iterator[Diagnostic]:
    key, label = given.key, given.file.at_key(*given.path)
    flag = catalog.find(key)
    if flag is None:
        yield _unknown(given, catalog)
        return
    if (why := decided(flag)) is not None:
        yield _decided(given, flag, why)
    elif flag.name in seen:
        message = f"`{key}` is the same option as `{seen[flag.name]}`"
        yield Diagnostic("E0503", message, label, helps=(given.remove,))
    elif (reason := check_value(flag, given.value) or _unmet(given, flag, catalog)) is not None:
        message = f"`{key}` does not take this value: {reason}"
        yield Diagnostic("E0503", message, given.file.at(*given.path), helps=(given.remove,))
    seen.setdefault(flag.name, key)


# What vLLM checks beyond its parser (vllm/entrypoints/common/cli_args.py:validate_parsed_serve_args, 0.33.0).
# Parsers of tool calls and reasoning depend on the model: compiler/solve/parsers.py.
_REQUIRES = {"--enable-log-outputs": "--enable-log-requests"}


def _unmet(given: _Given, flag: Flag, catalog: FlagCatalog) -> str | None:
    """Why a value that the parser takes would still keep the server from starting."""
    arguments = given.file.spec.services[given.service].engine_args
    others = {found.name for key in arguments if (found := catalog.find(key)) is not None}
    needed = _REQUIRES.get(flag.name)
    if needed is not None and given.value is True and needed not in others:
        return f"it needs `{_key(needed)}` too"
    return None


def _unknown(given: _Given, catalog: FlagCatalog) -> Diagnostic:
    nearest = [flag for name in catalog.nearest(given.key) if (flag := catalog.find(name)) is not None]
    usable = [flag.name for flag in nearest if decided(flag) is None]
    hint = catalog.hint(given.key)
    notes = [hint] if hint else []
    notes += [
        f"the nearest that exists is `{_key(flag.name)}`, which is not to be given: {why.why}"
        for flag in nearest
        if (why := decided(flag)) is not None
    ]
    helps = [Help(f"did you mean `{_key(name)}`?") for name in usable]
    message = f"vLLM {catalog.version} has no option `{given.key}`"
    label = given.file.at_key(*given.path)
    return Diagnostic("E0502", message, label, tuple(notes), (*helps, given.remove))


def _key(name: str) -> str:
    return name.removeprefix("--")


def _decided(given: _Given, flag: Flag, decided: Decided) -> Diagnostic:
    budget = flag.name == "--gpu-memory-utilization"
    notes = tuple(_utilization_notes(given.file, given.key)) if budget else ()
    instead = (Help(f"say it with `{decided.key}`"),) if decided.key is not None else ()
    message = f"`{given.key}` is not to be given: {decided.why}"
    return Diagnostic("E0501", message, given.file.at_key(*given.path), notes, (given.remove, *instead))


def _utilization_notes(file: SpecFile, key: str) -> Iterator[str]:
    """What the shares that the user wrote would come to on one GPU."""
    *others, node = file.spec.nodes.values()
    gpus = node.gpus if not others else None  # which of several nodes they share is not known yet
    shares = [spec.engine_args.get(key) for spec in file.spec.services.values()]
    given = [share for share in shares if isinstance(share, int | float) and not isinstance(share, bool)]
    if gpus is None or gpus.count > 1 or len(given) < 2:  # noqa: PLR2004
        return
    memory = gpus.memory or (GPUS[gpus.model].memory if gpus.model in GPUS else 0)
    if not memory or sum(given) <= 1:
        return
    sizes = [int(memory * share) for share in given]
    asked = " + ".join(f"{share} × {format_gib(memory)}" for share in given)
    yield f"{asked} = {format_gib(sum(sizes))} GiB of one GPU, {format_gib(sum(sizes) - memory)} GiB more than it has"
    yield (
        f"vLLM wants its whole share free when it starts: the second server would find {format_gib(memory - sizes[0])} "
        f"of the {format_gib(sizes[1])} GiB that it asks for"
    )
