"""What knows nothing of models: errors, text, files, schemas, workers and the machine."""
