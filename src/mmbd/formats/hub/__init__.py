"""What folders of the Hugging Face hub say of a classifier: checked JSON, and nothing that runs."""
