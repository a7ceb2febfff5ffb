"""`stackc fit`: whether a model runs on a card, or on each of many."""
