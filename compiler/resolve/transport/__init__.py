"""How the Hub is asked: clients, patience, and what an answer costs."""
