"""The plan: every decision, in units, frozen. Targets read it and nothing else."""
