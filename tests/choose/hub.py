"""Repositories of a loopback Hub as the registry describes them, with headers that hold what their configs imply."""

from __future__ import annotations

import json
import math
from collections import Counter

from compiler.checkpoints.parameters.header_totals import ContradictionError
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.choose.recommend.candidates import Checkpoint
from compiler.lock.quantization import checkpoint_format
from compiler.resolve.limits import MAX_HEADER
from tests.hub.builders import header, repository
from tests.hub.recordings import Recording


class UnrecordedError(Exception):
    """Headers of a checkpoint that cannot be made from its config: the engine holds what it stores in another form."""


def recording_of(checkpoint: Checkpoint) -> Recording:
    """What the Hub would say of a checkpoint, if the registry is right.

    Raises:
        UnrecordedError: it cannot be made up.
    """
    facts = checkpoint.facts
    if facts.in_own_format:
        raise UnrecordedError
    architecture = read_architecture(facts.config)
    quantization = (
        None
        if facts.quantization is None
        else read_quantization(checkpoint_format(facts), facts.quantization, facts.config)
    )
    kinds = expected_tensors(architecture, quantization)
    try:
        check_headers(architecture, quantization, kinds)
    except ContradictionError as error:
        raise UnrecordedError from error
    numbers: Counter[str] = Counter()
    each = {}
    for kind in kinds:
        # Tensors of one name may have several shapes.
        for _ in range(kind.count):
            name = kind.name.replace("*", str(numbers[kind.name]))
            numbers[kind.name] += 1
            each[name] = (kind.dtype, list(kind.shape), dtype_bytes(kind.dtype) * math.prod(kind.shape))
    data = header(each)
    if len(data) > MAX_HEADER:
        raise UnrecordedError
    files = {"config.json": dict(facts.config)}
    if facts.quantization is not None and facts.quantization_file not in (None, "config.json"):
        files[facts.quantization_file] = dict(facts.quantization)
    elif facts.quantization is not None:
        files["config.json"]["quantization_config"] = dict(facts.quantization)
    return repository(
        checkpoint.repository,
        contents={"model.safetensors": data, **{name: json.dumps(file).encode() for name, file in files.items()}},
        sizes={"model.safetensors": len(data) + sum(size for _, _, size in each.values())},
        license=checkpoint.entry.license.tag,
    )
