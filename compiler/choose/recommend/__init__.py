"""Which models serve a wish best on which cards: constraints first, then a proof of fit, then grade, speed and cost."""
