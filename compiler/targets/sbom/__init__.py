"""What a stack is made of, as a CycloneDX document: images, packages and models, with what of them is not confirmed.

Written as plain data: the document is small, its schema is fixed, and a library for it would be five packages more in
a program that people run beside their secrets. Tests validate it against the official schema.
"""
