"""stackc: compile a spec of an LLM serving stack into artifacts that start.

Phases, one package each, lower layers first: source, spec, lock, memory, solve, plan, render, targets, emit.
`resolve` is the only one that goes online. `pipeline` owns their order, `cli` prints.
"""

__version__ = "0.1.0"
