"""How fast a server answers: estimates with intervals, from what a model is, what a card does and what is asked."""
