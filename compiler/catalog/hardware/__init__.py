"""Cards, their slices, and what CUDA reports of them."""
