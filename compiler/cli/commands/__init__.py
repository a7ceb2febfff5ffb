"""What each command takes and what its help says. What it does is imported as it runs, so that help is at once."""
