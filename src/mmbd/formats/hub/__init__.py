"""What the folders of the Hugging Face hub say of a classifier: JSON that is checked, and nothing that runs."""
