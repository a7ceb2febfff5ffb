"""Parts of `benchmarks.speed_model`: its cases, and how the constants are fitted to them."""
