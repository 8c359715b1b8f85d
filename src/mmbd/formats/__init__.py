"""Files to classifiers and back; nothing in a file is ever run."""
