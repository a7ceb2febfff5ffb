"""A file is read as a spec, and what is wrong with it is told with what was probably meant."""
