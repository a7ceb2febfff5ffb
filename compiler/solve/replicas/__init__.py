"""Services of which several servers run: how many, and that they are alike."""
