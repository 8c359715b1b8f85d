"""A box for code that reads what strangers wrote: a process that can compute and answer, and nothing else."""
