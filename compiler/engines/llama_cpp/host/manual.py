"""What operators are told of `llama-server`, b10434.

Exit codes and signals were seen (tests/engines/llama_cpp/server/test_ending.py); words of its log are those of
src/llama-model-loader.cpp, ggml/src/ggml-backend.cpp and ggml/src/ggml-cuda/ggml-cuda.cu.
"""

from __future__ import annotations

from compiler.engines.interface.manual import Manual

_NO_MEMORY = (
    "stop what else holds the memory, as preflight lists it; if only planned servers run there, the ledger is wrong: "
    "please report it with the log"
)

MANUAL = Manual(
    exit_codes=(
        (
            1,
            "the start failed: the file is missing or cut, the port is taken, an option is refused, or memory was not "
            "given",
            "its last lines say which: `error loading model`, `couldn't bind`, `error: invalid argument`, "
            "`failed to allocate buffer`",
        ),
        (
            134,
            "an assertion of its own failed: `GGML_ASSERT` in the log",
            "a fault of this build with this model: go back, and report it upstream with the log",
        ),
        (143, "it was told to stop while it was loading", "nothing: after its load a stop ends with 0"),
    ),
    symptoms=(
        ("a server's log has `out of memory` or `failed to allocate buffer`", _NO_MEMORY),
        ("`/health` answers 503 `Loading model`", "wait: it reads its file, and ends by itself if it cannot"),
    ),
    steps={
        "ServerUnreachable": (
            "llama-server answers for its metrics between two batches: on a slow machine a long prompt keeps it from "
            "that, although `/health` answers. Then lower `max_num_batched_tokens`.",
        ),
        "ServerRestarts": (
            "llama-server does not say when it started: a restart is seen by counters that begin again, and only where "
            "there were requests before.",
        ),
    },
    # tools/server/server.cpp: SIGTERM ends the loop that computes; who waits for an answer keeps the process.
    finishes_requests=False,
)
