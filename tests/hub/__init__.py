"""A Hub on this machine that replays recorded facts."""
