"""The engines that serve models, each in a package of its own."""
