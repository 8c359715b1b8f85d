"""The figures of the documents, made again: a script each, run as `python -m benchmarks.NAME`."""
