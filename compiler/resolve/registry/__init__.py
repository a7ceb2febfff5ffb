"""Container registries, asked for the digests of tags: the distribution API of the Open Container Initiative, v2."""
