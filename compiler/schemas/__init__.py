"""JSON Schema of the files that stackc reads and writes, made from the types that read and write them."""
