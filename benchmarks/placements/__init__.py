"""Parts of `benchmarks.packing` and `benchmarks.fleet`: an exhaustive search, and specs of fleets."""
