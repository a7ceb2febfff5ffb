"""From the quantization block of a checkpoint to how each of its modules is stored."""
