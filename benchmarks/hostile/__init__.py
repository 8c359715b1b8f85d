"""A corpus of hostile model files, and what scanners, loaders and mmbd do with them; see `__main__`.

Every payload does one and the same thing, which harms nobody: it creates an empty file, the canary, whose
path is in the environment variable MMBD_CANARY. Where that is not set, it fails.
"""
