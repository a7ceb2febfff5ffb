"""Bounds on what is read from outside: generous for any real model, and finite.

Together they keep `stackc lock` below 300 MB of memory, whatever a repository holds.
"""

# How long.

# Seconds without a byte before a request is given up.
TIMEOUT = 10.0
# Tries of a request that a server or the network failed, and the seconds before the second one.
TRIES = 3
PAUSE = 0.5
# Seconds that one answer may take in all, however steadily it drips: connecting, redirects and tries included.
SLOWEST = 120.0
# Seconds that a run waits, in all, for a Hub that limits the rate of requests.
LONGEST_WAIT = 60.0
# Seconds that a run asks in all, waits included. A hundred models take one or two minutes.
LONGEST_RUN = 1800.0
# The Hub needs two.
MAX_REDIRECTS = 10

# How much of one answer, in bytes.

# A model that the Hub lists with 12,000 files has an answer of 3 MB.
MAX_ABOUT = 3 << 20
# One page of a listing: a thousand entries of one or two KB.
MAX_LISTING = 6 << 20
# The longest configuration seen, one of 128 experts in NVFP4, has 3.1 MB and 67,000 values.
MAX_CONFIG = 6 << 20
# Characters of one text in it.
MAX_CONFIG_TEXT = 1 << 16
# Tokenizers with thousands of added tokens have 1 to 2 MB.
MAX_TOKENIZER = 8 << 20
# The index of the largest mixture-of-experts models is some 20 MB.
MAX_INDEX = 32 << 20
# A shard's header has some KB; of a model in one file, with 40,000 tensors, it has 5 MB.
MAX_HEADER = 10 << 20
# All other small files that are read: lists of modules, sampling parameters, a template.
MAX_SMALL_FILE = 1 << 20
# A GGUF file's header in pieces: of a vocabulary of 150,000 tokens and its merges it has some 6 MB.
GGUF_PIECE = 1 << 20
# By how much the next piece is larger, and the largest.
GGUF_GROWTH = 4
MAX_GGUF_PIECE = 8 << 20
# What is read of an answer that is an error or a redirect.
MAX_WORDS = 1 << 16

# How many.

# Values of one JSON document.
MAX_VALUES = 300_000
# And of one header, where a tensor has eight or more.
MAX_HEADER_VALUES = 600_000
MAX_FILES = 12_000
# The most shards of a model seen are some 770; a thousand of the usual 5 GB are 5 TB of weights.
MAX_SHARDS = 1024
# The most tensors seen are some 210,000, of 384 experts in 60 layers.
MAX_TENSORS = 400_000
# The most kinds of them seen are some hundreds.
MAX_TENSOR_KINDS = 4096
# Repositories and branches that are read as variants of one service's model.
MAX_CANDIDATES = 64
# Models in GGUF files of one repository that are read; publishers of them offer 25 to 40.
MAX_SETS = 64
# Branches of one repository that are read beside `main`.
BRANCHES = 8
# One page of a listing.
LISTING = 1000

# How much at once.

# Requests that are under way at once: the connections that the HTTP library keeps open.
REQUESTS_AT_ONCE = 20
# Repositories that are read at once.
REPOSITORIES_AT_ONCE = 12
# Files of one repository that are read at once.
FILES_AT_ONCE = 8
# Headers of GGUF files that are read at once; each holds one piece.
GGUF_HEADERS_AT_ONCE = 4
# Bytes that a repository may take before it has to wait until no other one takes more than this.
LIGHT = 2 << 20
# Bytes that it may take in all: those of its small files, of their values, and of its headers.
MAX_TAKEN = 128 << 20
# Bytes of the facts of all models of a lock.
MAX_FACTS = 32 << 20


def most_of(path: str) -> int:
    """The most bytes that are read of one of a repository's small files."""
    return _MOST.get(path, MAX_SMALL_FILE)


_MOST = {
    "config.json": MAX_CONFIG,
    "hf_quant_config.json": MAX_CONFIG,
    "quant_config.json": MAX_CONFIG,
    "quantize_config.json": MAX_CONFIG,
    "tokenizer_config.json": MAX_TOKENIZER,
    "model.safetensors.index.json": MAX_INDEX,
    "consolidated.safetensors.index.json": MAX_INDEX,
}
