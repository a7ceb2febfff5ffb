"""What solver and engines say to each other."""
