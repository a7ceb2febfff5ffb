"""What the tower of Ovis 2.5 takes while it runs: shares of a vocabulary for each token, and few frames of a video."""

from __future__ import annotations

from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.encoder_budget import EncoderShape, encoder_memory, largest_item
from tests.unit.test_engine_counts import CASES


def test_a_video_of_ovis_has_fewer_frames_than_its_tokens_would_allow() -> None:
    """Frames are counted by their patches, four of which become a token."""
    (encoder,) = read_architecture(CASES["Ovis2_5"]["config"]).encoders
    assert encoder.item.tokens[0] == 56 * 56
    frames = [largest_item(encoder, length)[0] // 56**2 for length in (2048, 2 * 112**2 - 1, 2 * 112**2, 65536)]
    assert frames == [1, 1, 2, 5]


def test_shares_of_ovis_s_vocabulary_are_whole_on_every_rank() -> None:
    """For a token two bytes of logits, four of shares and two of those rounded, for each of 65536 words."""
    architecture = read_architecture(CASES["Ovis2_5"]["config"])
    shape = EncoderShape(2048, 8, 2048, "bfloat16")
    alone, split = (encoder_memory(architecture, Parallelism(ranks), shape) for ranks in (1, 8))
    assert alone is not None
    assert alone == split
    assert alone.tower.expected > 56**2 * 65536 * (2 + 4 + 2)
