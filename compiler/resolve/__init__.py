"""The lock phase: ask the Hub, or read a folder, what the models of a spec are. The only phase that goes online."""
