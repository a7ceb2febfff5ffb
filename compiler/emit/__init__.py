"""Write a generated tree in one step, or compare it with what is committed."""
