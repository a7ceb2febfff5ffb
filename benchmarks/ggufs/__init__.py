"""Parts of `benchmarks.gguf` and `benchmarks.gguf_fit`: shapes of models, rows of answers, and verdicts."""
