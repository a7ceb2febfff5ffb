"""What GPUs and hosted models cost: dated prices as ranges, the user's own, and what follows from them."""
